"""OpenLineage's events as events of ours. Pure.

    RunEvent        of a job without a parent   flow-run    flow, run: the job's name and runId
                    of a job with one           task-run    flow, run: the root's, else the parent's; task: its runId
                    that completed              and for each output dataset one `asset.materialized`
    DatasetEvent    asset                       resource: the dataset
    JobEvent        other                       resource: the job

An OpenLineage event has no id. The id here is made of what tells it apart, so that a repeat is the same event.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from flowgauge.producers.stable_id import stable_id
from flowgauge.producers.state_table import StateTable
from flowgauge.schemas.check import decode_json
from flowgauge.schemas.errors import InvalidEvent
from flowgauge.schemas.event import NAME_MAX, RELATED_MAX

STATES: Final = StateTable(
    orchestrator="OpenLineage",
    page="connect-openlineage.md",
    runs=(
        _WORDS := {
            "START": "running",
            "RUNNING": None,  # said as often as one likes, after START: each would count as an attempt
            "COMPLETE": "completed",
            "FAIL": "failed",
            "ABORT": "cancelled",
            "OTHER": None,
        }
    ),
    tasks=_WORDS,
    scheduled_for="The `nominalTime` facet of a job without a parent: `nominalStartTime`; of Airflow's scheduled runs "
    "`nominalEndTime`, the end of the data interval, which is when Airflow means to start them.",
    occurred="`eventTime`; one without a zone counts as UTC.",
    cannot_tell=(
        "That a run waits, is late, paused, or tried again: a new attempt is a run of its own.",
        "That a run began whose sender tells no `START`: it is there once it ends.",
        "Its logs; of what failed only the message and the stack trace.",
        "The run of a job whose parent sends no events of its own: its parts are seen, and no end of the whole.",
    ),
)

LINEAGE_BYTES_MAX = 16 * 1_048_576  # of one event as it comes: Spark's plans are large, and are not kept
KEPT_BYTES_MAX = 32_768  # of an event as it came, kept beside what was understood; larger ones are not
MESSAGE_CHARS_MAX = 8_192
STACK_CHARS_MAX = 32_768
SQL_CHARS_MAX = 16_384
ASSETS_MAX = 100  # events of output datasets that one event of a run makes; the rest is counted in the payload
TIME_CHARS_MAX = 64  # each asset repeats it, and a fraction of a second may have any number of digits
COUNT_MAX = 2**53  # of rows and bytes: what every reader of JSON holds exactly

Made: TypeAlias = list[bytes]

_NAMESPACE: Final = uuid.UUID("0a6c4b5e-6f57-4d0e-9a35-0d2c9f1e7b64")  # random, fixed: of ids made here
_ENDS: Final = frozenset({"COMPLETE", "FAIL", "ABORT"})
_TEAM: Final = "team:"
_Facets: TypeAlias = dict[str, msgspec.Raw] | None
_T = TypeVar("_T")
_encode = msgspec.json.Encoder().encode


class _Named(msgspec.Struct, gc=False):
    namespace: str
    name: str
    facets: _Facets = None


class _Dataset(_Named, gc=False):
    inputFacets: _Facets = None  # noqa: N815  # OpenLineage's word, as all below
    outputFacets: _Facets = None  # noqa: N815


class _Run(msgspec.Struct, gc=False):
    runId: str  # noqa: N815
    facets: _Facets = None


class _Lineage(msgspec.Struct):
    eventTime: str  # noqa: N815
    eventType: str | None = None  # noqa: N815
    producer: str = ""
    run: _Run | None = None
    job: _Named | None = None
    dataset: _Dataset | None = None
    inputs: list[_Dataset] | None = None
    outputs: list[_Dataset] | None = None


class _Of(msgspec.Struct, gc=False):
    """A run and its job, as the facet `parent` names them."""

    run: _Run
    job: _Named


class _Parent(_Of, gc=False):
    root: _Of | None = None


class _NominalTime(msgspec.Struct, gc=False):
    nominalStartTime: str = ""  # noqa: N815
    nominalEndTime: str | None = None  # noqa: N815


class _DagRun(msgspec.Struct, gc=False):
    run_type: str = "scheduled"


class _AirflowRun(msgspec.Struct, gc=False):
    dagRun: _DagRun  # noqa: N815


class _ErrorMessage(msgspec.Struct, gc=False):
    message: str
    stackTrace: str | None = None  # noqa: N815


class _Sql(msgspec.Struct, gc=False):
    query: str


class _Statistics(msgspec.Struct, gc=False):
    rowCount: int | None = None  # noqa: N815
    size: int | None = None
    bytes: int | None = None  # as older facets call the size


class _Tag(msgspec.Struct, gc=False):
    key: str
    value: str = ""


class _Tags(msgspec.Struct, gc=False):
    tags: list[_Tag]


class _Owner(msgspec.Struct, gc=False):
    name: str


class _Owners(msgspec.Struct, gc=False):
    owners: list[_Owner]


class _Outputs(msgspec.Struct):
    """What tells how many events one makes."""

    eventType: str | None = None  # noqa: N815
    outputs: list[msgspec.Raw] | None = None


_decode_outputs = msgspec.json.Decoder(_Outputs).decode
_decode_lineage = msgspec.json.Decoder(_Lineage).decode
_FACETS: Final[dict[type[Any], msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (_Parent, _NominalTime, _AirflowRun, _ErrorMessage, _Sql, _Statistics, _Tags, _Owners)
}


def made_of(raw: bytes) -> Made:
    """Return the events, as JSON, that one OpenLineage event becomes: itself first, then assets that it made.

    Raises InvalidEvent for what is none. A facet that is not as its schema says counts as absent.
    """
    lineage = decode_json(raw, _decode_lineage, bytes_max=LINEAGE_BYTES_MAX)
    if lineage.run is not None and lineage.job is not None:
        return list(_of_run(raw, lineage, lineage.run, lineage.job))
    if lineage.dataset is not None:
        return [_of_dataset(raw, lineage, lineage.dataset)]
    if lineage.job is not None:
        return [_of_job(raw, lineage, lineage.job)]
    raise InvalidEvent("wrong field", "expected `run` and `job`, or `dataset`, or `job`, as OpenLineage's events have")


def makes(raw: bytes) -> int:
    """Return how many events `made_of` makes of `raw` at the most, of which it makes none."""
    try:
        found = decode_json(raw, _decode_outputs, bytes_max=LINEAGE_BYTES_MAX)
    except InvalidEvent:
        return 1
    return 1 + (min(len(found.outputs or ()), ASSETS_MAX) if found.eventType == "COMPLETE" else 0)


def _of_run(raw: bytes, lineage: _Lineage, run: _Run, job: _Named) -> Iterator[bytes]:
    word = lineage.eventType or "OTHER"
    if word not in _WORDS:
        raise InvalidEvent("wrong field", f"`eventType`: got {word[:40]!r}: expected one of {', '.join(_WORDS)}")
    parent = _facet(run.facets, "parent", _Parent)
    whole = (parent.root or parent) if parent else None
    flow, run_id = (whole.job.name, whole.run.runId) if whole else (job.name, run.runId)
    for field, name in (("flow", flow), ("run", run_id), ("task", run.runId)):  # before each asset repeats them
        if len(name) > NAME_MAX:
            raise InvalidEvent("wrong field", f"`{field}`: {len(name)} characters, at most {NAME_MAX}")
    of_whole = {"id": f"flow-run.{run_id}", "role": "flow-run", "name": flow}
    event: dict[str, object] = {
        "id": _id("run", run.runId, word, lineage.eventTime, job.namespace, job.name),
        "occurred": _time("eventTime", lineage.eventTime),
        "event": f"openlineage.run.{word}",
        "kind": "task-run" if whole else "flow-run",
        "flow": flow,
        "run": run_id,
    }
    if whole:
        event["task"] = run.runId
    if (state := _WORDS[word]) is not None:
        event["state"] = state
    if not whole and (scheduled_for := _scheduled_for(lineage, run)):
        event["scheduled_for"] = scheduled_for
    event["resource"] = {
        "id": f"task-run.{run.runId}" if whole else f"flow-run.{run.runId}",
        "name": job.name,
        "namespace": job.namespace,
    }
    about = _of_what(flow, whole.job if whole else job, run, job)
    event["related"], left_out = _related([of_whole] if whole else [], about, lineage)
    payload = _payload(raw, lineage, run, job, is_end=word in _ENDS)
    if left_out:
        payload["related_left_out"] = left_out
    assets = lineage.outputs or [] if word == "COMPLETE" else []
    if len(assets) > ASSETS_MAX:
        payload["assets_left_out"] = len(assets) - ASSETS_MAX
    event["payload"] = payload
    yield _encode(event)
    for number, dataset in enumerate(assets[:ASSETS_MAX]):
        yield _asset(event, number, dataset, of_whole)


def _asset(event: dict[str, object], number: int, dataset: _Dataset, of_whole: dict[str, str]) -> bytes:
    """Return that a run made a dataset. It names its run as related only: else rows and bytes would count twice."""
    statistics = _statistics(dataset.outputFacets, ("outputStatistics",))
    return _encode(
        {
            "id": _id("asset", str(event["id"]), str(number), dataset.namespace, dataset.name),
            "occurred": event["occurred"],
            "event": "asset.materialized",
            "kind": "asset",
            "flow": event["flow"],
            "resource": _resource(dataset),
            "related": [of_whole],
            "payload": {name: value for name, value in statistics.items() if value is not None},
            "follows": event["id"],
        }
    )


def _of_dataset(raw: bytes, lineage: _Lineage, dataset: _Dataset) -> bytes:
    return _encode(
        {
            "id": _id("dataset", lineage.eventTime, dataset.namespace, dataset.name),
            "occurred": _time("eventTime", lineage.eventTime),
            "event": "openlineage.dataset",
            "kind": "asset",
            "resource": _resource(dataset),
            "payload": _kept(raw, lineage),
        }
    )


def _of_job(raw: bytes, lineage: _Lineage, job: _Named) -> bytes:
    related, _ = _related((), _of_what(job.name, job, None, job), lineage)
    return _encode(
        {
            "id": _id("job", lineage.eventTime, job.namespace, job.name),
            "occurred": _time("eventTime", lineage.eventTime),
            "event": "openlineage.job",
            "flow": job.name,
            "resource": {"id": f"job.{job.namespace}.{job.name}", "name": job.name, "namespace": job.namespace},
            "related": related,
            "payload": _kept(raw, lineage),
        }
    )


def _of_what(flow: str, whole: _Named, run: _Run | None, job: _Named) -> Iterator[dict[str, str]]:
    """Yield the flow, its deployment (the namespace), the teams that own the job, and its tags."""
    yield {"id": f"flow.{flow}", "role": "flow", "name": flow}
    yield {"id": f"deployment.{whole.namespace}.{flow}", "role": "deployment", "name": whole.namespace}
    owners = _facet(job.facets, "ownership", _Owners)
    for owner in owners.owners if owners else ():
        if owner.name.startswith(_TEAM) and (team := owner.name.removeprefix(_TEAM)):
            yield {"id": f"team.{team}", "role": "team", "name": team}
    for facets in (job.facets, run.facets if run else None):
        tags = _facet(facets, "tags", _Tags)
        for tag in tags.tags if tags else ():
            name = tag.key if tag.value in ("", "true", tag.key) else f"{tag.key}:{tag.value}"
            yield {"id": f"tag.{name}", "role": "tag", "name": name}


def _payload(raw: bytes, lineage: _Lineage, run: _Run, job: _Named, *, is_end: bool) -> dict[str, object]:
    """Return what is kept; rows and bytes stand in it only when a run ends, since questions add up what they read."""
    payload: dict[str, object] = {}
    if error := _facet(run.facets, "errorMessage", _ErrorMessage):
        payload["message"] = error.message[:MESSAGE_CHARS_MAX]
        if error.stackTrace:
            payload["stack_trace"] = error.stackTrace[:STACK_CHARS_MAX]
    if sql := _facet(job.facets, "sql", _Sql):
        payload["sql"] = sql.query[:SQL_CHARS_MAX]
    read = _sum(_statistics(one.inputFacets, ("inputStatistics", "dataQualityMetrics")) for one in lineage.inputs or ())
    written = _sum(_statistics(one.outputFacets, ("outputStatistics",)) for one in lineage.outputs or ())
    moved = {**read, **written}  # what was written; where that is not told, what was read
    if moved:
        payload["read"], payload["written"] = read, written
        if is_end:
            payload |= moved
    return payload | _kept(raw, lineage)


def _kept(raw: bytes, lineage: _Lineage) -> dict[str, object]:
    if len(raw) <= KEPT_BYTES_MAX:
        return {"openlineage": msgspec.Raw(raw)}
    return {"producer": lineage.producer[:MESSAGE_CHARS_MAX], "openlineage_bytes": len(raw)}


def _scheduled_for(lineage: _Lineage, run: _Run) -> str | None:
    nominal = _facet(run.facets, "nominalTime", _NominalTime)
    if nominal is None:
        return None
    text: str | None = nominal.nominalStartTime
    if "/apache/airflow/" in lineage.producer:
        known = (_facet(run.facets, name, _AirflowRun) for name in ("airflowDagRun", "airflow"))
        started = next((each.dagRun.run_type for each in known if each), "scheduled")
        text = nominal.nominalEndTime if started == "scheduled" else None
    try:
        return _time("nominalTime", text) if text else None
    except InvalidEvent:
        return None


def _related(
    whole: Iterable[dict[str, str]], about: Iterable[dict[str, str]], lineage: _Lineage
) -> tuple[list[dict[str, str]], int]:
    """Return what an event has room for, and how many it has none for, of which no more than one is held at a time."""
    related: list[dict[str, str]] = []
    left_out = 0
    for each in chain(whole, about, _roles("input", lineage.inputs), _roles("output", lineage.outputs)):
        if len(related) < RELATED_MAX:
            related.append(each)
        else:
            left_out += 1
    return related, left_out


def _roles(role: str, datasets: Sequence[_Dataset] | None) -> Iterator[dict[str, str]]:
    for dataset in datasets or ():
        yield {"id": _resource_id(dataset), "role": role, "name": dataset.name}


def _resource(dataset: _Dataset) -> dict[str, str]:
    return {"id": _resource_id(dataset), "name": dataset.name, "namespace": dataset.namespace}


def _resource_id(dataset: _Dataset) -> str:
    return f"{dataset.namespace}/{dataset.name.removeprefix('/')}"


def _statistics(facets: _Facets, names: Sequence[str]) -> dict[str, int | None]:
    for name in names:
        if found := _facet(facets, name, _Statistics):
            return {"rows": found.rowCount, "bytes": found.size if found.size is not None else found.bytes}
    return {}


def _sum(statistics: Iterator[dict[str, int | None]]) -> dict[str, int]:
    """Return the sums of what is told; a number that cannot be one is as if it were not told."""
    sums: dict[str, int] = {}
    for each in statistics:
        for name, value in each.items():
            if value is not None and 0 <= value <= COUNT_MAX:
                sums[name] = min(sums.get(name, 0) + value, COUNT_MAX)
    return sums


def _facet(facets: _Facets, name: str, kind: type[_T]) -> _T | None:
    raw = facets.get(name) if facets else None
    if raw is None:
        return None
    try:
        found: _T = _FACETS[kind].decode(raw)
    except msgspec.MsgspecError:
        return None
    return found


def _time(field: str, text: str) -> str:
    """Return a time with its zone: a naive one counts as UTC, as everywhere here."""
    try:
        moment = msgspec.convert(text if len(text) <= TIME_CHARS_MAX else "", datetime)
    except msgspec.ValidationError:
        raise InvalidEvent("wrong field", f"`{field}`: got {text[:40]!r}: expected a time in ISO 8601") from None
    return text if moment.tzinfo is not None else moment.replace(tzinfo=UTC).isoformat()


def _id(*parts: str) -> str:
    return stable_id(_NAMESPACE, *parts)
