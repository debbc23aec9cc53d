"""The watched file of prices and teams."""

from pathlib import Path

from flowgauge.console.watched_file import WatchedFile
from flowgauge.sinks.clickhouse.prices import PriceBook, PriceList, prices_of
from flowgauge.transport.health import Health

PART = "prices"


class WatchedPrices(WatchedFile[PriceBook]):
    """The prices in force; without a file, none."""

    def __init__(self, file: Path | None, health: Health) -> None:
        super().__init__(file, health, PART, read=prices_of, nothing=PriceBook())

    def of(self, tenant: str) -> PriceList:
        """Return what applies to `tenant` now."""
        return self.said.of(tenant)
