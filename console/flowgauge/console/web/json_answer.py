"""Answers in JSON, and what is said of a path that there is not."""

from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

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


def json_answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return `body` as JSON."""
    return Response(_encode(body) + b"\n", status, headers, "application/json")
