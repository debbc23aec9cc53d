"""A question that fails amid its answer leaves nothing of it to the next one, which may be another tenant's."""

import pytest

from flowgauge.sinks.clickhouse.errors import EngineTrouble
from flowgauge.sinks.clickhouse.store import ClickHouseStore
from flowgauge.sinks.clickhouse.tenancy import only

# Streams what it has until a row cannot be: what was written by then is some blocks.
BREAKS = """
SELECT concat('secret of acme ', toString(number)) AS told, throwIf(number = 300000, 'as the test wishes')
FROM system.numbers LIMIT 400000 SETTINGS max_block_size = 1000, max_result_rows = 0
"""


async def test_an_answer_that_breaks_off_is_not_the_begin_of_the_next(embedded: ClickHouseStore) -> None:
    for _ in range(3):
        with pytest.raises(EngineTrouble):
            await embedded.query(BREAKS, seen=only("acme"))
        assert (await embedded.query("SELECT 1 AS told", seen=only("globex"))).rows == [(1,)]

        with pytest.raises(EngineTrouble):
            await embedded.lines(BREAKS, {}, seen=only("acme"))
        assert (await embedded.lines("SELECT 1 AS told", {}, seen=only("globex"))).splitlines() == [b'{"told":1}']
        assert not any("secret" in tenant for tenant in await embedded.erased())
