"""compose/compose.yaml as data, and its services as processes of this machine.

    file = read_compose()
    process = file.process("match-1", places)     the same command and variables, with addresses and folders replaced

What a container is given by mounts and secrets lies in a folder here: `Places.settle` copies it there.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from flowgauge.schemas.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
FILE = COMPOSE / "compose.yaml"
IMAGE_FOLDER = "/etc/flowgauge"  # the image's working folder: its flowgauge.toml is read
SECRETS_FOLDER = "/run/secrets"
OURS = "flowgauge:"  # what the name of our image begins with

Service = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Process:
    """A service without its container: what is run, with which variables, and where."""

    arguments: Sequence[str]  # of the command flowgauge
    env: Mapping[str, str]
    folder: Path


@dataclass(frozen=True, slots=True)
class Places:
    """Where on this machine stands what a container finds elsewhere."""

    folder: Path
    addresses: Mapping[str, str]  # as the files write them → as they are here

    def here(self, text: str) -> str:
        """Return `text` with all places replaced."""
        replaced = {
            **self.addresses,
            IMAGE_FOLDER: str(self.folder / "settings"),
            SECRETS_FOLDER: str(self.folder / "secrets"),
        }
        for there, here in replaced.items():
            text = text.replace(there, here)
        return text

    def settle(self) -> None:
        """Copy the settings, the rules and the example secrets to their places, with the addresses of this machine."""
        shutil.copytree(COMPOSE / "secrets" / "example", self.folder / "secrets")
        for file in [COMPOSE / "flowgauge.toml", *sorted((COMPOSE / "rules").iterdir())]:
            copy = self.folder / "settings" / file.relative_to(COMPOSE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(self.here(file.read_text(encoding="utf-8")), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """The services, by name, in the order of the file."""

    services: Mapping[str, Service]
    whole: Mapping[str, Any]

    @property
    def ours(self) -> Mapping[str, Service]:
        """Those that run our image."""
        return {name: each for name, each in self.services.items() if str(each["image"]).startswith(OURS)}

    @property
    def once(self) -> Sequence[str]:
        """Those that end by themselves: others wait for their end."""
        waited = {
            name
            for each in self.services.values()
            for name, how in dict(each.get("depends_on", {})).items()
            if how["condition"] == "service_completed_successfully"
        }
        return [name for name in self.services if name in waited]

    def process(self, name: str, places: Places, **more: str) -> Process:
        """Return the service `name` as a process, with further variables."""
        service = self.services[name]
        env = {each: places.here(str(value)) for each, value in dict(service.get("environment", {})).items()}
        arguments = [places.here(str(each)) for each in service["command"]]
        return Process(arguments, {**env, **more}, places.folder / "settings")


def read_compose() -> ComposeFile:
    """Read the file; anchors and merges are resolved, variables of the shell are not."""
    whole: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return ComposeFile(whole["services"], whole)


def setting_variables() -> set[str]:
    """Return the names of all variables that are settings."""
    names: set[str] = set()
    for name, field in Settings.model_fields.items():
        part = field.annotation
        inner = part.model_fields if isinstance(part, type) and issubclass(part, BaseModel) else {}
        names |= {f"{name}_{each}" for each in inner} or {name}
    return {ENV_PREFIX + name.upper() for name in names}
