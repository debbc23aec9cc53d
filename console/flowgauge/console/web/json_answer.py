"""Answers in JSON, and what is said of a path that there is not."""

from http import HTTPStatus

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from flowgauge.schemas.errors import BadInput
from flowgauge.sinks.clickhouse.call_settings import ANSWER_BYTES_MAX
from flowgauge.sinks.clickhouse.table import Table

UNAUTHORIZED = {"www-authenticate": 'Basic realm="flowgauge", charset="UTF-8"'}
PATH_CHARS_SHOWN = 80  # of a path that there is not

_encode = msgspec.json.Encoder(decimal_format="number").encode  # money


async def refused_path(request: Request, error: Exception) -> Response:
    """Answer a path or a method that there is not: programs in JSON, people in plain text."""
    found = error if isinstance(error, HTTPException) else HTTPException(500)
    path = request.url.path
    if path != "/v1" and not path.startswith("/v1/"):
        return PlainTextResponse(f"{found.detail}\n", found.status_code, headers=found.headers)
    there_are = "see `For programs` in docs/console.md"
    if found.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(sorted((found.headers or {}).get("Allow", "another method").split(", ")))
        there_are = f"expected {allowed}, got {request.method}"
    said = f"{path[:PATH_CHARS_SHOWN]}: {found.detail.lower()}: {there_are}"
    return json_answer({"error": said}, found.status_code, dict(found.headers or {}))


def token_needed(headers: Headers) -> str:
    """Say to whom no token lets in how to mend it."""
    if "authorization" not in headers:
        return "send a tenant's token: Authorization: Bearer TOKEN"
    return (
        "no tenant has this token: send `Authorization: Bearer TOKEN` with one that [tenants] in the server's settings "
        "names, and restart the server after a change there"
    )


def table_json(table: Table, *, hint: str = "", **names: str) -> bytes:
    """Return the answer that `table` is, `names` before it; for a thread of its own.

    Rows are encoded one by one: one call for all would keep every other thread waiting. Raises BadInput where the
    answer has more than ANSWER_BYTES_MAX bytes.
    """
    pieces = [_encode({**names, "columns": table.columns})[:-1], b',"rows":[']
    size = 0
    for number, values in enumerate(table.rows):
        row = _encode(dict(zip(table.columns, values, strict=True)))
        pieces += (b",", row) if number else (row,)
        size += len(row)
        if size > ANSWER_BYTES_MAX:
            most = f"{ANSWER_BYTES_MAX // 1_048_576} MiB"
            raise BadInput(f"the answer is over {most}: ask for fewer rows (limit) or a shorter time (since, until)")
    pieces += (b"],", _encode({"hint": hint})[1:]) if hint else (b"]}",)
    return b"".join((*pieces, b"\n"))


def json_bytes(body: bytes) -> Response:
    """Return `body`, which is JSON."""
    return Response(body, media_type="application/json")


def json_answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return `body` as JSON."""
    return Response(_encode(body) + b"\n", status, headers, "application/json")
