"""A Faust topic whose values are our records; what cannot be read is skipped and counted, and no agent dies of it.

Faust hands each record to the schema, which sees its headers, and what the schema refuses back to the topic. Read
`record_form` first: it decides what a record is.
"""

# ruff: noqa: ARG002  # Faust calls these methods with more than they need

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

import faust
from faust.exceptions import ValueDecodeError
from faust.types import AppT, Message

from flowgauge.schemas.errors import InvalidEvent
from flowgauge.transport.faust.record_form import Arrived, NotForAgents, RecordForm

R = TypeVar("R")

_log = logging.getLogger("flowgauge.faust")


class RecordSchema(faust.Schema[str, R]):
    """Reads and writes the records of one topic: keys are text, values what `form` says."""

    def __init__(self, form: RecordForm[R]) -> None:
        # Faust compares the types where two agents read one topic, and shares values of equal ones.
        cast("Any", super()).__init__(key_type=str, value_type=form.record_type)
        self.form = form
        self.skipped: Counter[str] = Counter()  # by SKIP_REASONS: as many entries as there are reasons

    def loads_key(self, app: AppT, message: Message, **_: object) -> str:
        """Return the record's key as text; nothing is refused for its key."""
        return (message.key or b"").decode(errors="replace")

    def loads_value(self, app: AppT, message: Message, **_: object) -> R:
        """Return the record's value. Raises ValueDecodeError, from the reason, for one that agents are not given."""
        headers = cast("Any", message.headers or ())
        arrived = Arrived(message.offset, round(message.timestamp * 1_000), message.key, message.value, headers)
        try:
            return self.form.read(arrived, f"{message.topic} partition {message.partition}")
        except (NotForAgents, InvalidEvent) as error:
            raise ValueDecodeError(str(error)) from error

    def dumps_key(self, app: AppT, key: Any, **more: Any) -> tuple[bytes | None, Any]:
        """Return the key as bytes, beside the headers as they were."""
        return (key.encode() if isinstance(key, str) else key), more["headers"]

    def dumps_value(self, app: AppT, value: Any, **more: Any) -> tuple[bytes | None, Any]:
        """Return the value as it stands in our topics: `group_by` writes it to a topic of the app's own."""
        return (self.form.encode(value) if isinstance(value, self.form.record_type) else value), more["headers"]

    def note_skipped(self, error: BaseException | None, message: Message) -> None:
        """Count a record that could not be read, and tell of the first one of each reason."""
        if not isinstance(error, InvalidEvent):
            return
        self.skipped[error.reason] += 1
        if self.skipped[error.reason] == 1:
            _log.warning(
                "record skipped: %s; others of this reason are counted only (topic=%s partition=%d offset=%d)",
                error, message.topic, message.partition, message.offset,
            )  # fmt: skip


class RecordTopic(faust.Topic, Generic[R]):
    """One of our topics. `@app.agent(topic)` gets a `faust.StreamT[R]`."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many records could not be read in this process, by reason."""
        return self._records.skipped

    async def on_value_decode_error(self, exc: Exception, message: Message) -> None:
        """Go on with the next record; Faust would throw the error into the agent."""
        self._records.note_skipped(exc.__cause__, message)

    @property
    def _records(self) -> RecordSchema[R]:
        return cast("RecordSchema[R]", self.schema)


def topic_of(app: AppT, name: str, form: RecordForm[R]) -> RecordTopic[R]:
    """Return the topic that is called `name` in Kafka; Faust never creates it."""
    make = cast("Callable[..., RecordTopic[R]]", RecordTopic)
    return make(app, topics=[name], schema=RecordSchema(form))
