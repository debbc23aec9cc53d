"""Where tests keep compiled modules, whatever the environment says of bytecode.

The suite starts some hundred processes. Where PYTHONDONTWRITEBYTECODE is set, as in many images, each would compile
all it imports: half of the time that it takes to start.
"""

import os
import sys
from pathlib import Path

COMPILED = Path(sys.prefix) / "compiled"


def keep_bytecode() -> None:
    """Let this process and those that it starts keep what they compile in COMPILED."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(COMPILED)
    sys.dont_write_bytecode = False
