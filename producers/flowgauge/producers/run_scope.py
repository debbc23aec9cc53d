"""What a flow run and its tasks say about themselves: the events of one `with publisher.run(…)`. Does no I/O.

    with publisher.run("nightly-etl", scheduled_for=slot) as run:      flow-run.running
        run.log("INFO", "42 rows")                                     log.write
        run.used(cost="0.31", currency="EUR", rows=42)                 run.used
                                                                       flow-run.heartbeat, while it lasts
        with run.task("extract"):                                      task-run.running, task-run.completed
            ...
                                                                       flow-run.completed, or failed with the exception

An exception goes on as if the scope were not there. What ends a run how:

    no exception, SystemExit without a code       completed
    KeyboardInterrupt, a cancelled task, closing  cancelled
    any other                                     failed
    what `run.ends` said, whatever happens        that
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Literal, cast

NAME_CHARS_MAX = 1_024  # what the server accepts as a flow's name and a run's id
MESSAGE_CHARS_MAX = 8_192  # of an exception or a log line; the rest is cut, so that no line costs an event
PAYLOAD_DEPTH_MAX = 16  # how deep strings are cleaned: a payload that holds itself has no end
TAGS_MAX = 90  # an event has room for 100 related things

Emit = Callable[[Mapping[str, object]], bool]

State = Literal["completed", "failed", "crashed", "cancelled"]  # how a run may end

_ORDER: Final = (
    "occurred",
    "event",
    "kind",
    "flow",
    "run",
    "task",
    "state",
    "scheduled_for",
    "resource",
    "related",
    "payload",
)
_CANCELLATIONS: Final = (KeyboardInterrupt, GeneratorExit)
_CANCELLATION_NAMES: Final = frozenset({"CancelledError", "Cancelled"})  # asyncio's and trio's, without importing them


class RunScope:
    """One flow run. `run` is its id; `log`, `used` and `task` say what happens in it. Nothing here raises."""

    def __init__(
        self,
        emit: Emit,
        new_id: Callable[[], str],
        flow: str,
        *,
        run: str | None = None,
        scheduled_for: datetime | str | None = None,
        tags: Sequence[str] = (),
        team: str = "",
    ) -> None:
        self.flow = as_text(flow, NAME_CHARS_MAX)
        self.run = as_text(run or new_id(), NAME_CHARS_MAX)
        self._end: tuple[State, dict[str, object]] | None = None
        self._emit = emit
        self._new_id = new_id
        self._scheduled_for = _aware(scheduled_for)
        self._related = [{"id": f"flow.{self.flow}", "role": "flow", "name": self.flow}]
        for tag in tags[:TAGS_MAX]:
            name = as_text(tag, NAME_CHARS_MAX)
            self._related.append({"id": f"tag.{name}", "role": "tag", "name": name})
        if team:
            name = as_text(team, NAME_CHARS_MAX)
            self._related.append({"id": f"team.{name}", "role": "team", "name": name})

    def log(
        self,
        level: str,
        message: str,
        logger: str = "",
        *,
        exception: Mapping[str, str] | None = None,
        occurred: datetime | None = None,
    ) -> bool:
        """Say a log line of this run, of now unless `occurred` says else. Returns whether it was taken.

        `exception` may have `type`, `message` and `traceback`.
        """
        payload: dict[str, object] = {
            "level": as_text(level, NAME_CHARS_MAX).upper(),
            "logger": as_text(logger, NAME_CHARS_MAX),
            "message": as_text(message, MESSAGE_CHARS_MAX),
        }
        if exception:
            payload["exception"] = _cleaned(exception)
        return self._say("log.write", kind="log", resource=self._resource(), payload=payload, occurred=occurred)

    def used(
        self,
        *,
        cost: float | str | Decimal | None = None,
        currency: str = "",
        bytes: int | None = None,  # noqa: A002  # the field's name
        rows: int | None = None,
        cpu_utilization: float | None = None,
        gpu_utilization: float | None = None,
    ) -> bool:
        """Say what this run used since it last said so: sums add up. Returns whether it was taken.

        `cost` is money in `currency` (EUR, or a unit such as DBU), utilisations are shares from 0 to 1.
        """
        told = {"bytes": bytes, "rows": rows, "cpu_utilization": cpu_utilization, "gpu_utilization": gpu_utilization}
        payload: dict[str, object] = {name: value for name, value in told.items() if value is not None}
        if cost is not None:
            payload["cost"] = {"amount": str(cost) if isinstance(cost, Decimal) else cost, "currency": currency}
        return self._say("run.used", kind="other", resource=self._resource(), payload=payload)

    def heartbeat(self) -> bool:
        """Say that this run still goes on. Returns whether it was taken."""
        return self._say("flow-run.heartbeat", kind="flow-run", resource=self._resource())

    def ends(self, state: State, payload: Mapping[str, object] | None = None) -> None:
        """Let the run end as `state`, with `payload`, whatever ends the block: for work that fails without raising."""
        self._end = state, {str(_cleaned(name)): _cleaned(value) for name, value in (payload or {}).items()}

    @contextmanager
    def task(self, name: str) -> Generator[str, None, None]:
        """Say that a task of this run is running and how it ended; yields the task-run id."""
        task = self._new_id()
        resource = {"id": f"task-run.{task}", "name": as_text(name, NAME_CHARS_MAX)}
        related = [{**self._resource(), "role": "flow-run"}, *self._related]

        def say(state: str, payload: dict[str, object]) -> None:
            self._say(
                f"task-run.{state}",
                kind="task-run",
                task=task,
                state=state,
                resource=resource,
                related=related,
                payload=payload,
            )

        with _told(say):
            yield task

    @contextmanager
    def told(self) -> Generator["RunScope", None, None]:
        """Say that the run is running and how it ended."""
        with _told(self._say_state):
            yield self

    def _say_state(self, state: str, payload: dict[str, object]) -> None:
        if state != "running" and self._end is not None:
            state, payload = self._end
        self._say(f"flow-run.{state}", kind="flow-run", state=state, resource=self._resource(), payload=payload)

    def _say(self, event: str, **fields: object) -> bool:
        said = {"event": event, "flow": self.flow, "run": self.run, "related": self._related, **fields}
        if said["kind"] == "flow-run":
            said["scheduled_for"] = self._scheduled_for
        # In the order in which the log keeps them: such a record needs no second look at the gateway.
        return self._emit({name: said[name] for name in _ORDER if said.get(name)})

    def _resource(self) -> dict[str, str]:
        return {"id": f"flow-run.{self.run}", "name": self.flow}


@contextmanager
def _told(say: Callable[[str, dict[str, object]], None]) -> Generator[None, None, None]:
    say("running", {})
    try:
        yield
    except BaseException as exception:
        state = _state_after(exception)
        say(state, {} if state == "completed" else {"exception": _described(exception)})
        raise
    say("completed", {})


def _state_after(exception: BaseException) -> str:
    if isinstance(exception, SystemExit) and not exception.code:
        return "completed"
    cancelled = isinstance(exception, _CANCELLATIONS) or type(exception).__name__ in _CANCELLATION_NAMES
    return "cancelled" if cancelled else "failed"


def _described(exception: BaseException) -> dict[str, str]:
    return {"type": type(exception).__qualname__, "message": as_text(exception, MESSAGE_CHARS_MAX)}


def as_text(value: object, chars_max: int) -> str:
    """Return the first `chars_max` characters of `value`, or the name of its type where it cannot be told.

    Halves of surrogate pairs, which stand for bytes of file names that are no UTF-8, become `?`: no JSON holds them.
    """
    try:
        text = str(value)[:chars_max]
        return text if text.isascii() else text.encode(errors="replace").decode()
    except Exception:  # noqa: BLE001  # a __str__ of the work's own may fail; the work must still go on
        return f"<{type(value).__qualname__}>"


def _cleaned(value: object, depth: int = PAYLOAD_DEPTH_MAX) -> object:
    """Return `value` with its strings as `as_text` has them, uncut."""
    match value:
        case str():
            return as_text(value, len(value))
        case Mapping() if depth:
            return {
                _cleaned(name): _cleaned(each, depth - 1)
                for name, each in cast("Mapping[object, object]", value).items()
            }
        case list() | tuple() if depth:
            return [_cleaned(each, depth - 1) for each in cast("Sequence[object]", value)]
        case _:
            return value


def _aware(moment: datetime | str | None) -> datetime | str | None:
    """Return `moment` with a zone: a naive one counts as UTC, as everywhere here."""
    if isinstance(moment, datetime) and moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment
