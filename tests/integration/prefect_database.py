"""The empty database of a Prefect server, migrated once an environment and copied from then on.

The migrations are more than half of what a server's start costs, and none of what these tests ask.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.integration.peer_environment import ROOT

VENV = ROOT / ".cache" / "prefect-venv"
MIGRATE_S_MAX = 300.0  # its first start compiles all of Prefect


def environment_of(home: Path, database: Path) -> dict[str, str]:
    """Return what every program of Prefect's is told that lives in `home` and has that database."""
    return {
        "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
        "HOME": str(home),
        "PREFECT_HOME": str(home),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        "DO_NOT_TRACK": "1",
    }


def prepare_database(database: Path) -> None:
    """Put a migrated database with nothing in it there, unless another server's is there already."""
    if not database.exists():
        shutil.copyfile(_migrated(), database)


def _migrated() -> Path:
    """Return the database that is copied; what another process makes at the same time is the same."""
    made_from = (VENV / ".made-from").read_text().strip()
    ready = VENV / f"migrated-{made_from[:16]}.db"
    if not ready.exists():
        with tempfile.TemporaryDirectory(dir=VENV) as folder:
            _migrate(Path(folder)).replace(ready)
    return ready


def _migrate(home: Path) -> Path:
    """Let Prefect make a database in `home`; return it, whole in one file."""
    database = home / "prefect.db"
    done = subprocess.run(
        [VENV / "bin" / "prefect", "server", "database", "upgrade", "--yes"],
        cwd=home,
        env=environment_of(home, database),
        capture_output=True,
        text=True,
        timeout=MIGRATE_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not database.with_name("prefect.db-wal").exists(), "a part of the database is beside it"
    return database
