"""Exit with 0 when a role says that it is ready, else with 1 and what it waits for.

python -I ready.py http://127.0.0.1:4292/readyz

The health check of the image. It needs nothing but the standard library, so the image needs no curl.
"""

import sys
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

TIMEOUT_S = 5
BYTES_MAX = 4_096  # a role that waits says so in a few sentences


def main(url: str) -> int:
    """Ask `url` once; print what it says and return the exit code."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=TIMEOUT_S) as answer:
            print(answer.read(BYTES_MAX).decode(errors="replace"))
            return 0
    except HTTPError as error:  # it answers, and is not ready
        print(error.read(BYTES_MAX).decode(errors="replace"))
    except OSError as error:
        print(f"no answer: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
