"""The description of the API is true: each route stands in it, and real ones answer each example as it says."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import httpx2
import msgspec
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.clickhouse.test_asked_at_a_time import ONE_AT_A_TIME
from tests.clickhouse.test_clickhouse_tenancy import HOLDS, write_all_tables
from tests.integration.fenced_blocks import blocks

from flowgauge.console.kafka_rules import put_in_force
from flowgauge.console.readiness import Readiness
from flowgauge.console.rule_folder import Applied
from flowgauge.console.web.acts import EXAMPLES
from flowgauge.console.web.answers import Answers
from flowgauge.console.web.api_operations import api_operations
from flowgauge.console.web.app import web_app
from flowgauge.console.web.channel_trials import ChannelTrials
from flowgauge.console.web.delivery_operations import DELIVERY_ID
from flowgauge.console.web.intake_operation import intake_operations
from flowgauge.console.web.metric_operations import METRIC_ROUTE, TENANT
from flowgauge.console.web.openapi import DESCRIPTION, Operation
from flowgauge.console.web.probes import intake_app
from flowgauge.console.web.silences import EXAMPLE_ID
from flowgauge.producers.gateway import gateway_routes
from flowgauge.producers.gateway.limits import Limits
from flowgauge.producers.hook_book import hook_book
from flowgauge.producers.tokens import TokenTable
from flowgauge.schemas.control import Silence, Silenced, encode_control
from flowgauge.schemas.setting_parts import LimitSettings
from flowgauge.schemas.settings import Settings
from flowgauge.schemas.topics import CONTROLS, DLQ, EVENTS, RULES
from flowgauge.schemas.yaml_places import read_yaml
from flowgauge.sinks.clickhouse.metrics import CHOICES, METRICS
from flowgauge.sinks.clickhouse.rows import row
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.attempt import Sender, Wording
from flowgauge.sinks.webhooks.channels import parse_channels
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.transport.control_book import ControlBook
from flowgauge.transport.health import Health
from flowgauge.transport.local import LocalLog, open_local_log
from flowgauge.transport.log import Outgoing
from flowgauge.transport.wall_clock import now_ms

WHO = str(TENANT.example)
# Its secret is not there: a trial says so, and nothing goes out.
NOWHERE = """
channels:
  - name: data-oncall
    webhook: {url: "https://alerts.example.com/x", secret: {env: NOT_SET_ANYWHERE}}
"""
AUTHORIZATION = {"authorization": "Bearer of-the-operator"}
CONSOLE = Path(__file__).parents[2] / "docs" / "console.md"
INTAKE = intake_operations(now_ms())
OPERATIONS = [DESCRIPTION, *INTAKE, *api_operations()]
QUESTIONS = [each for each in OPERATIONS if each.route == METRIC_ROUTE]
ASKED = [each for each in OPERATIONS if each not in INTAKE]  # the gateway takes events under any query
(HOOKS,) = (block.text for block in blocks(CONSOLE.with_name("connect-webhooks.md"), "yaml"))
OPEN_HOOKS = hook_book(read_yaml("hooks.yaml", HOOKS), lambda _reference: "of-both", {"default"})
# No text goes unread there.
READ = {"after", "before", "bucket", "grace", "letter", "looks", "since", "source", "tz", "until"}
NAMES = {name for each in OPERATIONS for name in each.known} | {"unheard_of"}


PARTITIONS = {EVENTS: 1, DLQ: 1, RULES: 1, CONTROLS: 1}
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
START_MS = now_ms() - 2 * HOUR_MS
LINE = "orders-db refused the connection"
COSTS = {"cost": {"amount": 0.31, "currency": "EUR"}, "bytes": 10, "rows": 2, "cpu_utilization": 0.5}
EVENT: dict[str, object] = {
    "tenant": WHO,
    "event": "told",
    "kind": "flow-run",
    "flow": "nightly-etl",
    "scheduled_for": START_MS / 1000,
    "resource": {"id": "nightly-etl"},
    "related": [
        {"id": "d", "role": "deployment", "name": "prod"},
        {"id": "w", "role": "work-pool", "name": "k8s"},
        {"id": "t", "role": "tag", "name": "gpu"},
    ],
}

RUN, FAILING = {"run": "nightly-etl-42"}, {"run": "nightly-etl-43"}
TOLD: list[tuple[int, Mapping[str, object]]] = [
    (0, RUN | {"state": "scheduled"}),
    (90, RUN | {"state": "running"}),
    (100, RUN | {"state": "retrying", "payload": {"message": "try 2"}}),
    (110, RUN | {"state": "running"}),
    (130, RUN | {"kind": "log", "payload": {"level": "error", "logger": "etl", "message": LINE}}),
    (200, RUN | {"state": "completed", "payload": COSTS}),
    (300, FAILING | {"state": "running"}),
    (400, FAILING | {"state": "failed", "payload": {"message": "disk full"}}),
]  # seconds after the start


def of_path(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


async def write_rows(store: ClickHouseStore) -> None:
    """Write a row of every table, a run with a retry and a log line, one that failed, and a flow that fails at two."""
    await write_all_tables(store, WHO)
    today_ms = now_ms() // DAY_MS * DAY_MS
    told: list[tuple[int, Mapping[str, object]]] = [
        *((START_MS + after * 1000, more) for after, more in TOLD),
        *(
            (
                today_ms - day * DAY_MS + hour * HOUR_MS,
                {"flow": "hourly", "run": f"{day}-{hour}", "state": "failed" if hour == 2 else "completed"},
            )
            for day in range(1, 8)
            for hour in range(24)
        ),
    ]
    lines = [
        row(
            msgspec.json.encode(EVENT | {"id": str(uuid.uuid4()), "occurred": at_ms / 1000} | dict(more)),
            log_id="runs",
            partition=0,
            offset=offset,
            append_ms=at_ms,
        ).line
        for offset, (at_ms, more) in enumerate(told)
    ]
    await store.insert("flowgauge.events", b"\n".join(lines), f"runs-{uuid.uuid4()}")
    other = HOLDS["transitions"] | {"tenant": WHO, "transition_id": "u", "incident_id": EXAMPLES["merge"]["into"]}
    told_of = row(msgspec.json.encode(other), log_id="runs", partition=0, offset=0, append_ms=START_MS)
    await store.insert("flowgauge.transitions", told_of.line, f"other-{uuid.uuid4()}")
    lost = HOLDS["deliveries"] | {
        "tenant": WHO,
        "delivery_id": DELIVERY_ID.example,
        "outcome": "dead",
        "at_ms": START_MS,
    }
    line = row(msgspec.json.encode(lost), log_id="runs", partition=0, offset=0, append_ms=START_MS).line
    await store.insert("flowgauge.deliveries", line, f"lost-{uuid.uuid4()}")


@pytest.fixture(scope="module")
def filled(embedded: ClickHouseStore) -> ClickHouseStore:
    asyncio.run(write_rows(embedded))
    return embedded


@pytest.fixture
async def log(tmp_path: Path) -> AsyncGenerator[LocalLog]:
    opened = await open_local_log(tmp_path, partitions=PARTITIONS)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def egress() -> Egress:
    """Share what goes out: it loads the machine's certificates, and nothing goes out here."""
    return Egress(EgressPolicy())


@pytest.fixture
async def app(filled: ClickHouseStore, log: LocalLog, egress: Egress) -> Starlette:
    return await whole_app(filled, log, egress)


async def whole_app(filled: ClickHouseStore, log: LocalLog, egress: Egress) -> Starlette:
    health = Health()
    silence = Silence(silence_id=EXAMPLE_ID, matchers=[], starts_ms=0, ends_ms=now_ms() + HOUR_MS, reason="told")
    said = Silenced(control_id="s", tenant=WHO, at_ms=0, by="ann", silence=silence)
    await log.append(CONTROLS, [Outgoing(0, "s", encode_control(said))])
    tokens = TokenTable({"of-the-operator": WHO})

    async def apply_rules(texts: dict[str, str]) -> Applied:
        return await put_in_force(log, texts, Settings())

    book = parse_channels("channels.yaml", NOWHERE)
    trials = ChannelTrials(lambda: book, Sender(egress, {}, now_ms, Wording()), health)
    answers = Answers(filled, health, tokens, operator=WHO, controls=ControlBook(log, health), channels=trials)
    intake = gateway_routes(log, tokens=tokens, health=health, hook_of=OPEN_HOOKS.of)
    return web_app(answers, intake, apply_rules, only_loopback=True)


@pytest.fixture(scope="module")
def document(filled: ClickHouseStore, egress: Egress, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Return what a whole console describes, told once: each of them describes the same."""

    async def tell() -> Mapping[str, Any]:
        log = await open_local_log(tmp_path_factory.mktemp("described"), partitions=PARTITIONS)
        async with client(await whole_app(filled, log, egress)) as http:
            told = await described(http)
        await log.close()
        return told

    return asyncio.run(tell())


@pytest.fixture
async def http(app: Starlette) -> AsyncGenerator[httpx2.AsyncClient]:
    async with client(app) as opened:
        yield opened


def client(app: Starlette) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=AUTHORIZATION)


async def described(http: httpx2.AsyncClient) -> dict[str, Any]:
    response = await http.get("/v1/openapi.json", headers={"authorization": ""})
    assert response.status_code == 200
    return cast("dict[str, Any]", response.json())


def v1_routes(app: Starlette) -> set[tuple[str, str]]:
    """Return what the application answers under /v1, each question by its own path."""
    routes = {
        (route.path, method) for route in app.routes if isinstance(route, Route) for method in route.methods or ()
    }
    questions = (
        {(METRIC_ROUTE.replace("{name}", name), "GET") for name in METRICS} if routes else set[tuple[str, str]]()
    )
    found = {(path, method) for path, method in routes if path.startswith("/v1") and method not in {"HEAD", "OPTIONS"}}
    return (found - {(METRIC_ROUTE, "GET")}) | (questions if (METRIC_ROUTE, "GET") in found else set())


def in_document(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}


def needed(operation: Operation) -> dict[str, str]:
    """Return the parameters without which nothing can be asked."""
    name = operation.path.rpartition("/")[2]
    one_of = METRICS[name].one_of[:1] if operation.route == METRIC_ROUTE else ()
    return {each.name: str(each.example) for each in operation.parameters if each.required or each.name in one_of}


def path_of(operation: Operation) -> str:
    path = operation.path
    for each in operation.parameters:
        path = path.replace(f"{{{each.name}}}", str(each.example))
    return path


async def ask(
    http: httpx2.AsyncClient, operation: Operation, parameters: Mapping[str, str], media_type: str = ""
) -> httpx2.Response:
    """Ask `operation` with its example body, where it has one."""
    if operation.body is None:
        return await http.request(operation.method, path_of(operation), params=dict(parameters))
    media_type = media_type or next(iter(operation.body))
    example = operation.body[media_type].example
    body = example.encode() if isinstance(example, str) else msgspec.json.encode(example)
    headers = {"content-type": media_type}
    return await http.request(
        operation.method, path_of(operation), params=dict(parameters), content=body, headers=headers
    )


def complaints(document: Mapping[str, Any], operation: Operation, response: httpx2.Response) -> list[str]:
    """Return what in `response` is not as `document` says."""
    told = document["paths"][operation.path][operation.method.lower()]["responses"]
    response_is = told[str(response.status_code)]
    if "content" not in response_is and not response.content:
        return []
    if "$ref" in response_is:
        response_is = document["components"]["responses"][response_is["$ref"].rpartition("/")[2]]
    schema = {**response_is["content"]["application/json"]["schema"], "components": document["components"]}
    return [str(error) for error in OAS31Validator(schema).iter_errors(response.json())]


def choices(operation: Operation) -> Iterator[tuple[str, str, bool]]:
    """Yield values of parameters at and beyond what their schemas allow, and whether they are answered."""
    for each in operation.parameters:
        schema: Mapping[str, Any] = each.schema
        for value in schema.get("enum", ()):
            yield each.name, value, True
        if "enum" in schema:
            yield each.name, "nonsense", False
        if schema.get("type") == "boolean":
            yield from ((each.name, value, value != "perhaps") for value in ("true", "false", "perhaps"))
        if "maximum" in schema:
            yield each.name, str(schema["minimum"]), True
            yield each.name, str(schema["maximum"]), True
            yield each.name, str(schema["maximum"] + 1), False
            yield each.name, str(schema["minimum"] - 1), False
        if "maxLength" in schema:
            yield each.name, "x" * schema["maxLength"], True
            yield each.name, "x" * (schema["maxLength"] + 1), False
        if each.name in READ:
            yield each.name, "no such thing", False
        if "default" in schema and schema.get("type") == "string":
            yield each.name, schema["default"], True


async def test_the_description_is_valid_and_needs_no_token(http: httpx2.AsyncClient) -> None:
    document = await described(http)

    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert all(
        operation["security"] == ([] if path == "/v1/openapi.json" else [{"token": []}])
        for path, methods in document["paths"].items()
        for operation in methods.values()
    )


async def test_every_route_is_described_and_nothing_else(app: Starlette, http: httpx2.AsyncClient) -> None:
    assert in_document(await described(http)) == v1_routes(app)


async def test_a_gateway_describes_its_own_routes(log: LocalLog) -> None:
    health, tokens = Health(), TokenTable()
    readiness = Readiness("gateway", "g", health, lambda _topic, _group: None, (), (), asyncio.Event())
    intake = gateway_routes(log, tokens=tokens, health=health)
    async with client(intake_app(readiness, intake, tokens, operator="", only_loopback=True)) as http:
        document = await described(http)

    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert in_document(document) == {
        ("/v1/events", "POST"),
        ("/v1/cloudevents", "POST"),
        ("/v1/hooks/{name}", "POST"),
        ("/v1/openapi.json", "GET"),
    }


async def forgotten(request: Request) -> Response:
    return Response(request.url.path)


async def test_a_route_that_nobody_described_is_an_error(app: Starlette, http: httpx2.AsyncClient) -> None:
    app.router.routes.append(Route("/v1/forgotten", forgotten, methods=["GET"]))

    with pytest.raises(LookupError, match=r"^GET /v1/forgotten is not described: give it an Operation$"):
        await described(http)


async def test_every_route_stands_in_the_reference(app: Starlette) -> None:
    text = CONSOLE.read_text(encoding="utf-8")
    written = {
        "{incident_id}": "ID",
        "{silence_id}": "ID",
        "{delivery_id}": "ID",
        "{table}": "events",
        "{name}": "NAME",
    }

    for path, method in v1_routes(app):
        place = METRIC_ROUTE if path.startswith("/v1/metrics/") else path
        for name, shown in written.items():
            place = place.replace(name, shown)
        assert f"`{method} {place}" in text


@pytest.mark.parametrize("operation", OPERATIONS, ids=of_path)
async def test_each_example_is_answered_as_the_description_says(
    http: httpx2.AsyncClient, operation: Operation, filled: ClickHouseStore, document: Mapping[str, Any]
) -> None:
    wanted = needed(operation)
    asked = [
        wanted,
        *({**wanted, each.name: str(each.example)} for each in operation.parameters if each.name in operation.known),
    ]

    for parameters in asked:
        for media_type in operation.body or ("",):
            response = await ask(http, operation, parameters, media_type)
            status = operation.body[media_type].status if operation.body else 200
            assert (response.status_code, complaints(document, operation, response)) == (status, []), parameters
            if operation in INTAKE and response.content:
                assert response.json() == {"accepted": 1, "rejected": 0, "errors": []}
    if operation.path == "/v1/tenant/erase":
        await write_rows(filled)  # for the others


@pytest.mark.parametrize("operation", ASKED, ids=of_path)
async def test_bounds_choices_and_defaults_are_those_of_the_route(
    http: httpx2.AsyncClient, operation: Operation, document: Mapping[str, Any]
) -> None:
    for name, value, is_answered in choices(operation):
        few = {"limit": "1"} if name == "context" else {}
        response = await ask(http, operation, {**needed(operation), **few, name: value})
        said = (name, value[:20], response.text[:200])

        assert response.status_code == (200 if is_answered else 400), said
        assert complaints(document, operation, response) == [], said
        assert is_answered or response.json()["error"].startswith(name), said


@pytest.mark.parametrize("operation", ASKED, ids=of_path)
async def test_what_is_not_described_said_twice_or_says_nothing_is_refused(
    http: httpx2.AsyncClient, operation: Operation, document: Mapping[str, Any]
) -> None:
    """One of two would be passed over, and who asks could not know which."""
    wanted = needed(operation)
    for name in sorted(NAMES - operation.known):
        response = await ask(http, operation, {**wanted, name: "1"})

        assert (response.status_code, complaints(document, operation, response)) == (400, [])
        assert response.json()["error"].startswith(f"{name}: ")

    examples = {each.name: str(each.example) for each in operation.parameters if each.name in operation.known}
    for name, example in examples.items():
        rest = {other: value for other, value in wanted.items() if other != name}
        response = await http.request(operation.method, path_of(operation), params={**rest, name: [example] * 2})

        said = f"{name}: expected once, got it 2 times"
        assert (response.status_code, response.json()) == (400, {"error": said})

    for name in operation.known:
        response = await ask(http, operation, {**wanted, name: ""})

        said = f"{name}: expected a value, got an empty one: fill it in, or leave {name} out"
        assert (response.status_code, response.json()) == (400, {"error": said})


@pytest.mark.parametrize(
    "operation", [each for each in ASKED if each not in QUESTIONS and "tenant" in each.known], ids=of_path
)
async def test_what_is_no_question_is_of_one_tenant(http: httpx2.AsyncClient, operation: Operation) -> None:
    response = await ask(http, operation, {**needed(operation), "tenant": "*"})

    assert (response.status_code, response.json()) == (
        400,
        {"error": "tenant: only questions (metrics) are of all tenants together: name one"},
    )


@pytest.mark.parametrize("operation", OPERATIONS, ids=of_path)
async def test_only_the_description_is_for_who_has_no_token(
    http: httpx2.AsyncClient, operation: Operation, document: Mapping[str, Any]
) -> None:
    http.headers["authorization"] = f"Bearer {uuid.uuid4()}"
    response = await ask(http, operation, needed(operation))

    assert response.status_code == (200 if operation.for_all else 401)
    assert complaints(document, operation, response) == []


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if 429 in each.refusals and each not in INTAKE], ids=of_path
)
async def test_who_asks_too_much_is_told_so_as_described(
    filled: ClickHouseStore, operation: Operation, document: Mapping[str, Any]
) -> None:
    answers = Answers(filled, Health(), TokenTable(), bounds=ONE_AT_A_TIME)
    async with client(web_app(answers, (), None, only_loopback=True)) as http, answers.turns.turn("default"):
        response = await ask(http, operation, needed(operation))

    assert (response.status_code, complaints(document, operation, response)) == (429, [])
    assert [name.lower() for name in document["components"]["responses"]["429"]["headers"]] == ["retry-after"]
    assert response.headers["retry-after"].isdecimal()


@pytest.mark.parametrize("operation", INTAKE, ids=of_path)
async def test_who_sends_too_much_is_told_so_as_described(
    filled: ClickHouseStore, log: LocalLog, operation: Operation, document: Mapping[str, Any]
) -> None:
    health, limits = Health(), Limits(LimitSettings(requests_per_second=1, burst="1s"), {}, lambda: 0)
    answers = Answers(filled, health, TokenTable())
    intake = gateway_routes(log, tokens=TokenTable(), health=health, limits=limits, hook_of=OPEN_HOOKS.of)
    async with client(web_app(answers, intake, None, only_loopback=True)) as http:
        first, second = [await ask(http, operation, {}) for _ in range(2)]

    assert first.status_code != 429
    assert (second.status_code, second.headers["retry-after"]) == (429, "1")
    assert complaints(document, operation, second) == []


def test_every_choice_has_its_words() -> None:
    known = {name for each in QUESTIONS for name in each.known}

    assert known == {"since", "until", "tenant", *CHOICES}


@pytest.mark.parametrize("operation", QUESTIONS, ids=of_path)
async def test_there_is_something_to_compare_with_each_description(
    http: httpx2.AsyncClient, operation: Operation
) -> None:
    answer = (await ask(http, operation, needed(operation))).json()

    assert answer["rows"]
    assert {name for each in answer["rows"] for name in each} == set(answer["columns"])


async def test_what_buckets_and_grace_may_be_is_what_a_refusal_says(http: httpx2.AsyncClient) -> None:
    words = {each.name: each.about for operation in QUESTIONS for each in operation.parameters}
    for name in ("bucket", "grace"):
        refused = await http.get("/v1/metrics/adherence", params={name: "400d"})
        bounds = refused.json()["error"].partition("expected ")[2].partition(",")[0]

        assert bounds
        assert bounds in words[name]


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.body and each not in INTAKE], ids=of_path)
async def test_a_body_that_is_nested_without_end_is_refused_as_described(
    http: httpx2.AsyncClient, operation: Operation, document: Mapping[str, Any]
) -> None:
    deep = b'{"a":' + b"[" * 2_000 + b"]" * 2_000 + b"}"  # deeper than Python's stack
    headers = {"content-type": next(iter(operation.body or {}))}
    response = await http.request(operation.method, path_of(operation), content=deep, headers=headers)

    assert response.status_code in {400, 413}
    assert complaints(document, operation, response) == []
