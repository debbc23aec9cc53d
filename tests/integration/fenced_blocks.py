"""The fenced blocks of our documents, and the shell commands in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(?P<language>\S*)[ \t]*\n(?P<text>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_REMARK = re.compile(r"(^|\s+)#\s.*$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its document, the line it starts at, its language and its text."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path, language: str | None = None) -> list[Block]:
    """Return the blocks of a document, of one language or of all."""
    text = document.read_text(encoding="utf-8")
    found = [
        Block(document, text.count("\n", 0, fence.start()) + 1, fence["language"], fence["text"])
        for fence in _FENCE.finditer(text)
    ]
    return [block for block in found if language in (None, block.language)]


def prose(document: Path) -> str:
    """Return a document without its blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def commands(block: Block) -> list[str]:
    """Return the commands of a shell block: lines joined at backslashes, without remarks."""
    lines = (_REMARK.sub("", line).strip() for line in block.text.replace("\\\n", " ").splitlines())
    return [re.sub(r"\s{2,}", " ", line) for line in lines if line]


def exports(block: Block) -> dict[str, str]:
    """Return the variables that a shell block exports, by name."""
    lines = (command.removeprefix("export ") for command in commands(block) if command.startswith("export "))
    return dict(line.split("=", 1) for line in lines)
