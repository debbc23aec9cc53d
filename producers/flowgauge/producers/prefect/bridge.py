"""The bridge: what a Prefect server or Prefect Cloud tells its readers, to a flowgauge gateway. No plugin is needed.

    WS /events/out ───────┐ drops what is not read in time       thread "stream"
    POST /events/filter ──┼─► Inbox (bounded) ─► main thread: map, send, and when the gateway has answered: Cursor
    POST /logs/filter ────┘ compares, and reads what is missing  threads "events", "logs"

At least once: nothing is passed over before the gateway has answered for it, and ids are Prefect's, so that what is
sent again is one event in every answer. What Prefect's stream lost is found by comparing (`bridge_readers`); that an
interval was compared is noted behind all that was found in it. While flowgauge is away the inbox fills, and the
comparison finds later what had no room. A kill at any moment costs nothing: what was not answered is read again.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from flowgauge.producers import metrics
from flowgauge.producers.blocking_sender import BlockingSender
from flowgauge.producers.connector_event import EventJson
from flowgauge.producers.prefect.api import Credentials, PrefectApi
from flowgauge.producers.prefect.bridge_inbox import Compared, Inbox, Told, What
from flowgauge.producers.prefect.bridge_readers import Progress, Readers, id_in
from flowgauge.producers.prefect.cursor import Cursor, Durable, furthest_us
from flowgauge.producers.prefect.look_back import Json, decode_object, moment_us
from flowgauge.producers.prefect.mapping import Unmappable, map_event, map_log, run_of_log
from flowgauge.producers.prefect.run_lookup import RunLookup
from flowgauge.producers.sender import backoff_ms
from flowgauge.schemas.errors import BadEnvironment, BadInput, ServerAway
from flowgauge.schemas.event import EVENT_BYTES_MAX

TRY_MS = 1_000  # then it is said that nobody answers
LOOK_UP_S_MAX = 5.0  # events go on without what Prefect does not tell by then
COMPARE_MS = 5 * 60_000
GAP_MAX_MS: Final = 7 * 86_400_000  # Prefect deletes events that are older, unless told otherwise

_encode = msgspec.json.Encoder().encode
log = structlog.get_logger("flowgauge.bridge")


class _Frame(msgspec.Struct):
    """One message of the stream."""

    type: str
    event: Json = {}


_decode_frame = msgspec.json.Decoder(_Frame).decode


@dataclass(frozen=True, slots=True)
class Bridging:
    """From where to where, and how. `state` is the folder of the cursors."""

    api_url: str
    credentials: Credentials
    url: str
    token: str | None
    state: Path
    compare_ms: int = COMPARE_MS
    gap_max_ms: int = GAP_MAX_MS
    logs: bool = True
    scheduled_for: bool = True


class _New(NamedTuple):
    """What was told and is not durable yet, and how that is noted."""

    told: Told
    fields: Json
    note: Durable


class _Ready(NamedTuple):
    """What is sent of it."""

    new: _New
    value: bytes


def run_bridge(bridging: Bridging, stop: threading.Event) -> Counter[str]:
    """Bridge until `stop`; return what was counted.

    Raises DataFolderLocked and BadEnvironment where `state` cannot be used, and what a reader fails with.
    """
    bridge = _Bridge(bridging, stop)
    try:
        return bridge.run()
    finally:
        bridge.close()


class _Bridge:
    def __init__(self, bridging: Bridging, stop: threading.Event) -> None:
        self._bridging = bridging
        self._stop = stop
        self._api = PrefectApi(bridging.api_url, bridging.credentials, stop=stop)
        self._inbox = Inbox(stop)
        self._progress = Progress()
        self._lookup = RunLookup(PrefectApi(bridging.api_url, bridging.credentials, wait_s=LOOK_UP_S_MAX, stop=stop))
        self._sender = BlockingSender(bridging.url, bridging.token, wait_ms=TRY_MS, say=lambda _: None)
        kinds: list[What] = ["events", "logs"] if bridging.logs else ["events"]
        self._cursors = {what: self._cursor(what) for what in kinds}
        self._counts: Counter[str] = Counter()
        self._failed: BaseException | None = None
        self._said = ""

    def run(self) -> Counter[str]:
        readers = Readers(
            self._api,
            self._bridging.credentials,
            self._inbox,
            self._progress,
            self._stop,
            self._bridging.compare_ms / 1000,
            self._bridging.gap_max_ms * 1000,
        )
        self._start("stream", readers.read_live)
        self._start("events", lambda: readers.compare_events(self._cursors["events"]))
        if self._bridging.logs:
            self._start("logs", lambda: readers.read_logs(self._cursors["logs"]))
        while not self._stop.is_set():
            batch, compared = self._inbox.take()
            if batch:
                self._send(batch)
            if compared and not self._stop.is_set():
                self._advance(compared)
        if self._failed is not None:
            raise self._failed
        self._tell("the bridge ends")
        return self._counts

    def close(self) -> None:
        for cursor in self._cursors.values():
            cursor.close()

    def _start(self, name: str, read: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                read()
            except BaseException as error:  # noqa: BLE001  # raised by the main thread, which ends the process
                self._failed = error
                self._stop.set()

        threading.Thread(target=guarded, name=f"bridge {name}", daemon=True).start()

    def _cursor(self, what: What) -> Cursor:
        """Return how far it came with this gateway as this tenant, whose token may have changed.

        A new one begins where those of the same Prefect in this folder are: so a new token skips nothing.
        """
        of, folder = self._bridging, self._bridging.state
        prefect, gateway = _digest(of.api_url), _digest(f"{of.url.rstrip('/')}\n{of.token or ''}")
        begin_us = furthest_us(folder.glob(f"{what}-{prefect}*.cursor")) or self._api.now_ms() * 1000
        return Cursor(folder / f"{what}-{prefect}-{gateway}.cursor", begin_us=begin_us)

    def _advance(self, compared: Compared) -> None:
        cursor = self._cursors[compared.what]
        if compared.until_us <= cursor.checked_us:
            return  # once more, for what came late
        if compared.is_gone:
            unknown_us = compared.until_us - cursor.checked_us
            log.warning("too long away: not known what happened", of=compared.what, seconds=unknown_us // 1_000_000)
            metrics.BRIDGE_UNKNOWN_SECONDS.inc(unknown_us / 1_000_000)
            self._counts["unknown seconds"] += unknown_us // 1_000_000
        cursor.advance(compared.until_us)
        metrics.BRIDGE_COMPARED.labels(compared.what).set(cursor.checked_us / 1_000_000)
        if compared.what == "events":
            self._tell("compared with prefect")

    def _tell(self, phrase: str) -> None:
        counts = {name.replace(" ", "_"): count for name, count in sorted(self._counts.items())}
        progress = self._progress
        noted = {"passed_over": progress.passed_over, "not_kept_by_prefect": progress.not_kept}
        log.info(phrase, connections=progress.connections, **noted, **counts)

    def _send(self, batch: Sequence[Told]) -> None:
        """Send what of the batch is not durable yet; return when the gateway has answered, or the bridge stops."""
        new = list(self._new(batch))
        self._look_up(new)
        waiting: Sequence[_Ready] = list(self._ready(new))
        attempt = 0
        while waiting and not self._stop.is_set():
            waiting, wait_ms = self._try(waiting)
            if waiting:
                self._stop.wait(max(backoff_ms(attempt), wait_ms) / 1000)
                attempt += 1

    def _new(self, batch: Sequence[Told]) -> Iterator[_New]:
        met: set[bytes] = set()
        for told in batch:
            try:
                fields = _decode_frame(told.json).event if told.live else decode_object(told.json)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self._pass_over("unmappable", f"no message of Prefect's: {error}")
                continue
            event_id = id_in(fields)
            if event_id in met or self._cursors[told.what].knows(event_id):
                self._count("repeated")
                continue
            met.add(event_id)
            at = fields.get("occurred" if told.what == "events" else "timestamp")
            yield _New(told, fields, Durable(moment_us(at, 0), event_id))

    def _look_up(self, new: Sequence[_New]) -> None:
        """Ask Prefect about the runs of logs, and of runs that a deployment made."""
        runs = {run for each in new if (run := self._run_to_look_up(each))}
        try:
            self._lookup.learn(runs)
        except (ServerAway, BadEnvironment) as error:
            self._pass_over("not_looked_up", str(error), len(runs))

    def _run_to_look_up(self, new: _New) -> str | None:
        if new.told.what == "logs":
            return run_of_log(new.fields)
        return run_of_deployment(new.fields) if self._bridging.scheduled_for else None

    def _ready(self, new: Sequence[_New]) -> Iterator[_Ready]:
        for each in new:
            mapped = self._mapped(each)
            value = b"" if isinstance(mapped, Unmappable) else _encode(mapped)
            if isinstance(mapped, Unmappable):
                self._pass_over("unmappable", mapped.reason)
            elif len(value) > EVENT_BYTES_MAX:
                self._pass_over("refused", f"an event has {len(value)} bytes, at most {EVENT_BYTES_MAX} are accepted")
            else:
                yield _Ready(each, value)
                continue
            self._note([each])

    def _mapped(self, new: _New) -> EventJson | Unmappable:
        if new.told.what == "logs":
            return map_log(new.fields, self._lookup.seen(run_of_log(new.fields)))
        mapped = map_event(new.fields)
        if not isinstance(mapped, Unmappable):
            self._lookup.complete(mapped)
        return mapped

    def _try(self, waiting: Sequence[_Ready]) -> tuple[Sequence[_Ready], int]:
        """Send what waits once; return what still waits, and how many ms the gateway asks it to."""
        done, wait_ms = 0, 0
        try:
            for settled in self._sender.send([each.value for each in waiting]):
                part = waiting[done : done + settled.count]
                for index, reason in settled.refused.items():
                    self._pass_over("refused", f"event {part[index].new.fields.get('id')}: {reason}")
                if settled.unlisted:
                    self._pass_over("refused", "more than the answer lists", settled.unlisted)
                self._note([each.new for each in part])
                for each in part:
                    self._count(self._how(each.new))
                done += settled.count
            self._say("")
        except (ServerAway, BadInput) as error:
            self._say(str(error))
            wait_ms = error.wait_ms if isinstance(error, ServerAway) else 0
        return waiting[done:], wait_ms

    def _how(self, new: _New) -> str:
        if new.told.what == "logs":
            return "logs"
        if new.told.live:
            return "streamed"
        connected_us = self._progress.connected_us
        return "recovered" if 0 < connected_us <= new.note.at_us else "caught_up"

    def _note(self, settled: Sequence[_New]) -> None:
        for what, cursor in self._cursors.items():
            cursor.add(each.note for each in settled if each.told.what == what and each.note.id)

    def _pass_over(self, cause: str, reason: str, number: int = 1) -> None:
        """Count what is not bridged as it is, and say it at the first, tenth, hundredth … of a cause."""
        before = self._counts[cause]
        self._count(cause, number)
        if len(str(self._counts[cause])) > len(str(before)) or not before:
            log.warning("not bridged as it is", cause=cause, so_far=self._counts[cause], the_last=reason[:300])

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self._said:
            log.warning("flowgauge does not take events, and is asked again", reason=trouble)
        elif self._said and not trouble:
            log.info("flowgauge takes events again")
        self._said = trouble

    def _count(self, what: str, number: int = 1) -> None:
        self._counts[what] += number
        metrics.BRIDGED.labels(what).inc(number)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def run_of_deployment(event: Json) -> str | None:
    """Return the run that an event of Prefect's is about, where a deployment made it."""
    try:
        resource_id, related = event["resource"]["prefect.resource.id"], event["related"]
        if any(each["prefect.resource.role"] == "deployment" for each in related):
            _, is_of_run, run = str(resource_id).partition("prefect.flow-run.")
            return run if is_of_run else None
    except (KeyError, TypeError):
        return None  # `map_event` says what is wrong with it
    return None
