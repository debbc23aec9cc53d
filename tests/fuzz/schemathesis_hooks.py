"""What schemathesis is told of our media types."""

import json
from typing import Any, cast

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/ndjson")
def ndjson(_context: Any, value: object) -> bytes:
    """Send one value a line."""
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in values).encode()
