"""What schemathesis is told of our media types."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/ndjson")
def ndjson(_context: Any, value: Any) -> bytes:
    """Send one value a line."""
    lines: list[Any] = value if isinstance(value, list) else [value]
    return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines).encode()
