"""The description of the API: the OpenAPI 3.1 document of the routes that an application has. Pure.

    routes of the application ─┐
    Operation, one a route or  ├──► document
    one a question             ┘

A route without an Operation is an error, so nothing is answered that stands nowhere; an Operation whose route the
application has not is left out, so each role tells of its own. Schemas of records are msgspec's.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

OPENAPI = "3.1.0"
ABOUT = (
    "Metrics, incidents and health of workflow runs, and the door for events and rules. Times in answers are RFC 3339 "
    "in UTC. An error is one sentence. Probes (`/healthz`, `/livez`, `/readyz`) and measurements (`/metrics`) stand "
    "beside this API."
)
TOKEN = "token"  # noqa: S105  # the name of the scheme
TOKEN_ABOUT = "A tenant's token. Where no tokens are configured, none is needed."  # noqa: S105  # a sentence
REFUSALS: Mapping[int, str] = {
    400: "It cannot be done as asked: which field, what is expected and what came",
    401: "No token that is known",
    403: "Not with this token, or not from this host or origin",
    404: "There is nothing of that name",
    408: "The body did not come in time",
    409: "It does not stand so that this could be done",
    413: "The body is too large",
    415: "The body is of another type",
    422: "The rules are wrong: `problems` are all mistakes, each with its place",
    429: "The tenant asks or sends more at a time than it may: again after `Retry-After`",
    503: "Not now: the same again after `Retry-After`",
}
QUIET = 204
COME_AGAIN = frozenset({429, 503})
OF_QUESTIONS = (400, 401, 403, 429, 503)

Schema = Mapping[str, object]
Shape = type | Schema
TEXT: Schema = {"type": "string"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter in the query, or in the path where that has its name. `example` is one that is answered 200."""

    name: str
    about: str
    example: str | int
    schema: Schema = field(default_factory=lambda: TEXT)
    required: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """A body of one media type. `example` is one that is answered `status`: 200, or 204 where nothing is said."""

    shape: Shape
    example: object
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method of one path does. `path` is what programs ask; `route` what answers it, where that is another."""

    method: str
    path: str
    title: str
    answer: Shape
    about: str = ""
    route: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Content] | None = None
    refusals: tuple[int, ...] = OF_QUESTIONS
    for_all: bool = False  # asks for no token
    schemas: Mapping[str, Schema] | None = None  # that a shape names

    @property
    def known(self) -> frozenset[str]:
        """The names of what may stand in the query."""
        return frozenset(each.name for each in self.parameters if not _is_in_path(self.path, each.name))


class Refusal(msgspec.Struct):
    """Why it was refused, in one sentence. `problems` are told of rules that are wrong."""

    error: str
    problems: list[str] | msgspec.UnsetType = msgspec.UNSET


DESCRIPTION = Operation(
    method="GET",
    path="/v1/openapi.json",
    title="This description",
    answer={"type": "object"},
    refusals=(400, 403),
    for_all=True,
)


def openapi(routes: Iterable[tuple[str, str]], operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """Return the document of `routes`, each a method and a path; its own is told too.

    Raises LookupError for a route that no operation tells.
    """
    by_route: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in (DESCRIPTION, *operations):
        by_route[operation.method, operation.route or operation.path].append(operation)
    found: list[Operation] = []
    for route in routes:
        if route not in by_route:
            raise LookupError(f"{' '.join(route)} is not described: give it an Operation")
        found += by_route[route]
    written = _Writer(found)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in found:
        paths[operation.path][operation.method.lower()] = written.operation(operation)
    return {
        "openapi": OPENAPI,
        "info": {"title": "flowgauge", "version": version, "description": ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": written.schemas,
            "responses": {str(status): _refusal(status) for status in _statuses(found)},
            "securitySchemes": {TOKEN: {"type": "http", "scheme": "bearer", "description": TOKEN_ABOUT}},
        },
    }


class _Writer:
    """Writes operations with references to the schemas of the records that they name."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        shapes = [shape for each in operations for shape in _shapes(each)]
        records = list({shape: None for shape in [Refusal, *shapes] if isinstance(shape, type)})
        references, schemas = msgspec.json.schema_components(records, ref_template="#/components/schemas/{name}")
        self._references = dict(zip(records, references, strict=True))
        self.schemas: dict[str, Any] = {**schemas}
        for each in operations:
            self.schemas |= each.schemas or {}

    def operation(self, operation: Operation) -> dict[str, Any]:
        answer = {"description": "The answer", "content": {"application/json": {"schema": self._of(operation.answer)}}}
        refused = {str(status): {"$ref": f"#/components/responses/{status}"} for status in operation.refusals}
        return {
            "operationId": _words(operation.method.lower() + operation.path.removeprefix("/v1")),
            "tags": [operation.path.split("/")[2]],
            "summary": operation.title,
            **({"description": operation.about} if operation.about else {}),
            "security": [] if operation.for_all else [{TOKEN: []}],
            "parameters": [_parameter(operation, each) for each in operation.parameters],
            **({"requestBody": self._body(operation.body)} if operation.body else {}),
            "responses": {"200": answer, **_quiet(operation), **refused},
        }

    def _body(self, body: Mapping[str, Content]) -> dict[str, Any]:
        content = {
            media_type: {"schema": self._of(each.shape), "example": each.example} for media_type, each in body.items()
        }
        return {"required": True, "content": content}

    def _of(self, shape: Shape) -> Schema:
        return self._references[shape] if isinstance(shape, type) else shape


def _parameter(operation: Operation, parameter: Parameter) -> dict[str, Any]:
    is_in_path = _is_in_path(operation.path, parameter.name)
    return {
        "name": parameter.name,
        "in": "path" if is_in_path else "query",
        "required": is_in_path or parameter.required,
        "description": parameter.about,
        "schema": parameter.schema,
        "example": parameter.example,
    }


def _quiet(operation: Operation) -> dict[str, Any]:
    is_there = any(each.status == QUIET for each in (operation.body or {}).values())
    return {str(QUIET): {"description": "It is done, and there is nothing to say"}} if is_there else {}


def _refusal(status: int) -> dict[str, Any]:
    seconds = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}}
    return {
        "description": REFUSALS[status],
        **({"headers": seconds} if status in COME_AGAIN else {}),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
    }


def _statuses(operations: Iterable[Operation]) -> list[int]:
    return sorted({status for each in operations for status in each.refusals})


def _shapes(operation: Operation) -> list[Shape]:
    return [operation.answer, *(each.shape for each in (operation.body or {}).values())]


def _is_in_path(path: str, name: str) -> bool:
    return f"{{{name}}}" in path


def _words(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_")
