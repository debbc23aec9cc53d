"""The file of hooks: what webhooks of other programs become. As YAML, pure.

    hooks:
      - name: github                             # POST /v1/hooks/github
        tenant: acme
        verify: {by: github, secret: {env: GITHUB_SECRET}}
        id: {header: X-GitHub-Delivery}          # what is the same when it is sent again
        ignore: zen                              # JMESPath: where it finds something, nothing is made of it
        events:                                  # the first whose `when` finds something makes the event
          - when: workflow_run
            event: join('.', ['github.workflow_run', action])
            kind: flow-run
            flow: workflow_run.name
            run: workflow_run.id
            state: {from: workflow_run.conclusion, words: {success: completed, failure: failed}}

A value is a JMESPath expression on the body, or `{header: NAME}`. Expressions are the operator's and trusted to be of a
sane size; what they are asked about is anybody's.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

import jmespath
from jmespath import exceptions, functions
from jmespath.parser import ParsedResult
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from flowgauge.schemas.errors import InvalidRules, Problem
from flowgauge.schemas.event import NAME_MAX, Kind, State
from flowgauge.schemas.plain_yaml import Path
from flowgauge.schemas.setting_parts import SecretFromEnv, SecretFromFile, SecretRef
from flowgauge.schemas.yaml_places import Document, problems_of, read_yaml

HOOKS_MAX = 200  # a file for each team's tools; more is a program's work
EVENTS_MAX = 20  # forms of one hook, looked at one after the other for each webhook
WORDS_MAX = 100
FIELDS_MAX = 50  # of a payload, or roles of related things
SECRETS_MAX = 4  # the new one and the old one, twice
EXPRESSION_CHARS_MAX = 1_000

By: TypeAlias = Literal["token", "github", "gitlab", "standard_webhooks", "hmac_sha256", "header", "none"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FUNCTIONS: Final = frozenset(cast("Mapping[str, object]", functions.Functions.FUNCTION_TABLE))


@lru_cache(maxsize=8_192)  # all expressions of a large file
def compiled(expression: str) -> ParsedResult:
    """Return the expression, read once."""
    return jmespath.compile(expression)


def _expression_form(text: str) -> str:
    try:
        return _checked(text)
    except RecursionError:
        raise ValueError("JMESPath nested too deep: write it flatter") from None


def _checked(text: str) -> str:
    try:
        parsed = compiled(text).parsed
    except exceptions.JMESPathError as error:
        raise ValueError(f"not JMESPath: {_one_line(error)}") from None
    unknown = next((name for name in _function_names(parsed) if name not in _FUNCTIONS), None)
    if unknown is not None:
        raise ValueError(f"JMESPath has no function {unknown!r}: known are {', '.join(sorted(_FUNCTIONS))}")
    try:
        compiled(text).search(None)
    except exceptions.ArityError as error:
        raise ValueError(f"not JMESPath: {_one_line(error)}") from None
    except exceptions.JMESPathError:
        pass  # of a body that says something it may be right
    return text


def _name_form(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("expected small letters, digits, - and _, such as github-actions")
    return text


def _field_or_header(value: object) -> str:
    return "(header)" if isinstance(value, dict) else "(expression)"


def _words_or_expression(value: object) -> str:
    return "(words)" if isinstance(value, dict) else "(expression)"


def _one_or_more(value: object) -> object:
    listed: list[object] = cast("list[object]", value) if isinstance(value, list) else [value]
    if any(isinstance(each, str) for each in listed):
        raise ValueError("a secret does not stand in the file: write {env: VARIABLE} or {file: PATH}")
    return listed


def _at_least_one(events: tuple["EventForm", ...]) -> tuple["EventForm", ...]:
    if not events:  # pydantic's own bound would count a form with a mistake as none
        raise ValueError("expected at least one form of an event, got none")
    return events


def _env_or_file(value: object) -> str:
    return "(file)" if isinstance(value, dict) and "file" in value else "(env)"


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Header(_Written):
    """A value that stands in a header."""

    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]


Expression: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=EXPRESSION_CHARS_MAX), AfterValidator(_expression_form)
]
Value: TypeAlias = Annotated[
    Annotated[Expression, Tag("(expression)")] | Annotated[Header, Tag("(header)")], Discriminator(_field_or_header)
]
_Secret: TypeAlias = Annotated[
    Annotated[SecretFromEnv, Tag("(env)")] | Annotated[SecretFromFile, Tag("(file)")], Discriminator(_env_or_file)
]
_Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)]


class Words(_Written):
    """A state by the sender's words; null is an event without a state."""

    from_: Annotated[Value, Field(alias="from")]
    words: Annotated[dict[_Text, State | None], Field(min_length=1, max_length=WORDS_MAX)]


class Verify(_Written):
    """How it is known who sent a webhook."""

    by: By
    secret: Annotated[
        tuple[_Secret, ...], BeforeValidator(_one_or_more), Field(max_length=SECRETS_MAX, strict=False)
    ] = ()
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] | None = None
    prefix: Annotated[str, Field(max_length=100)] = ""  # of what stands in the header

    @model_validator(mode="after")
    def _fits(self) -> "Verify":
        needs_secret = self.by not in ("token", "none")
        if needs_secret and not self.secret:
            raise ValueError(f"`secret` is missing: {self.by} needs one: write secret: {{env: VARIABLE}}")
        if not needs_secret and self.secret:
            raise ValueError(f"`secret` is of no use with {self.by}: remove it")
        has_header = self.by in ("hmac_sha256", "header")
        if has_header and self.header is None:
            raise ValueError(f"`header` is missing: {self.by} needs the name of the header to look at")
        if not has_header and (self.header is not None or self.prefix):
            raise ValueError(f"`header` and `prefix` are of no use with {self.by}: remove them")
        return self

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """Where the secrets are found."""
        return self.secret


BY_TOKEN: Final = Verify(by="token")


class EventForm(_Written):
    """What a webhook becomes."""

    when: Expression | None = None
    event: Value
    kind: Kind = "other"
    flow: Value | None = None
    run: Value | None = None
    task: Value | None = None
    state: (
        Annotated[
            Annotated[Words, Tag("(words)")] | Annotated[Expression, Tag("(expression)")],
            Discriminator(_words_or_expression),
        ]
        | None
    ) = None
    occurred: Value | None = None
    scheduled_for: Value | None = None
    resource: Value | None = None
    related: Annotated[dict[Annotated[_Text, AfterValidator(_name_form)], Value], Field(max_length=FIELDS_MAX)] = {}
    payload: Annotated[dict[_Text, Value], Field(max_length=FIELDS_MAX)] = {}

    @model_validator(mode="after")
    def _is_about_something(self) -> "EventForm":
        if self.resource is None and not (self.run if self.kind == "flow-run" else self.task):
            needed = {"flow-run": "run", "task-run": "task"}.get(self.kind)
            remedy = f"write `{needed}:`, or `resource:`" if needed else "write `resource:`, such as runner.name"
            raise ValueError(f"`kind` {self.kind} without what it happened to: {remedy}")
        return self


class Hook(_Written):
    """One webhook that comes in: POST /v1/hooks/NAME."""

    name: Annotated[str, AfterValidator(_name_form)]
    tenant: Annotated[str, Field(min_length=1, max_length=NAME_MAX)] | None = None  # None: the token's
    verify: Verify = BY_TOKEN
    id: Value | None = None  # None: the whole body
    ignore: Expression | None = None
    events: Annotated[tuple[EventForm, ...], Field(max_length=EVENTS_MAX, strict=False), AfterValidator(_at_least_one)]

    @model_validator(mode="after")
    def _is_somebodys(self) -> "Hook":
        if self.verify.by == "token" and self.tenant is not None:
            raise ValueError("`tenant` is the token's: remove it, or say how the sender is known: verify: {by: …}")
        if self.verify.by != "token" and self.tenant is None:
            raise ValueError("`tenant` is missing: whose events are they (`default` where no tenants are configured)")
        return self


class HookFile(_Written):
    """The whole file."""

    hooks: Annotated[tuple[Hook, ...], Field(max_length=HOOKS_MAX, strict=False)]


def parse_hooks(file: str, text: str) -> HookFile:
    """Return the hooks in `text`, told of as `file`; raise InvalidRules with every mistake."""
    return hooks_of(read_yaml(file, text))


def hooks_of(document: Document) -> HookFile:
    """Return the hooks of `document`; raise InvalidRules with every mistake."""
    try:
        written = HookFile.model_validate({"hooks": []} if document.data is None else document.data)
    except ValidationError as error:
        raise InvalidRules(problems_of(error, document, (), _fields_at)) from None
    problems = [*_named_twice(written, document), *_out_of_reach(written, document)]
    if problems:
        raise InvalidRules(tuple(problems))
    return written


def _fields_at(path: Path) -> tuple[str, ...]:
    """Return what an unknown field at `path` may have been meant as."""
    steps = [step for step in path[:-1] if isinstance(step, str)]
    if steps[-1:] == ["verify"]:
        return tuple(Verify.model_fields)
    if steps[-1:] == ["state"]:
        return "from", "words"
    if steps[-1:] == ["secret"]:
        return "env", "file"
    models: dict[str, type[BaseModel]] = {"hooks": Hook, "events": EventForm}
    model = models.get(steps[-1], Header) if steps else HookFile
    return tuple(model.model_fields)


def _named_twice(written: HookFile, document: Document) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, hook in enumerate(written.hooks):
        if hook.name in seen:
            yield document.problem(("hooks", index, "name"), f"another hook is called {hook.name}", "name it otherwise")
        seen.add(hook.name)


def _out_of_reach(written: HookFile, document: Document) -> Iterator[Problem]:
    for index, hook in enumerate(written.hooks):
        for place, form in enumerate(hook.events[:-1]):
            if form.when is None:
                message = "has no `when`, so those after it are never reached"
                yield document.problem(("hooks", index, "events", place), message, "put it last, or write `when:`")


def _function_names(node: Any) -> Iterator[str]:
    """Yield the functions that a read expression calls."""
    if node["type"] == "function_expression":
        yield str(node["value"])
    for child in node["children"]:
        if isinstance(child, dict):
            yield from _function_names(child)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
