"""What a sink only measures never ends it."""

from typing import Any

from tests.clickhouse.running_sink import Tenant, new_log, running_sink, stored, until

from flowgauge.schemas.errors import Transient
from flowgauge.sinks.clickhouse.store import ClickHouseStore


class WithoutEnds:
    """A log that cannot say where it ends, for a while."""

    def __init__(self, log: Any, times: int) -> None:
        self._log = log
        self.left = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def ends(self, topic: str) -> Any:
        if self.left:
            self.left -= 1
            raise Transient("the broker is away; trying again")
        return await self._log.ends(topic)


async def test_a_log_that_cannot_say_where_it_ends_does_not_end_the_sink(store: ClickHouseStore, tmp_path: Any) -> None:
    async with new_log(tmp_path / "log") as log:
        tenant = Tenant(log)
        await tenant.publish(100)
        without: Any = WithoutEnds(log, times=5)

        async with running_sink(without, store) as health:
            await until(lambda: health.sink_behind == 0)

        assert without.left == 0
        assert await stored(store, tenant.name) == (100,) * 4
