"""What `up` says once it answers: where the console is, what runs there, and what to mend. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from flowgauge.console.rule_folder import Written
from flowgauge.schemas.settings import SETTINGS_FILE, Settings

WARNINGS_TOLD_MAX = 5  # lines; the health banner and the log hold the rest


@dataclass(frozen=True, slots=True)
class Started:
    """A server that answers at `url`."""

    url: str
    settings: Settings
    rules_folder: str
    written: Written

    def lines(self) -> Iterator[str]:
        """Yield what people want to know, the address first."""
        yield f"flowgauge: console at {self.url}"
        yield f"  settings  {self.settings.file or f'defaults: no {SETTINGS_FILE} here'}"
        yield f"  data      {self.settings.data}"
        yield f"  rules     {self._rules()}"
        warnings = self.written.warnings
        yield from (f"  warning   {warning}" for warning in warnings[:WARNINGS_TOLD_MAX])
        if (more := len(warnings) - WARNINGS_TOLD_MAX) > 0:
            yield f"  warning   and {more} more: see `flowgauge rules validate {self.rules_folder}`"

    def _rules(self) -> str:
        if self.written.ruleset.rules:
            return f"{self.written} from {self.rules_folder}"
        if self.settings.rules:
            remedy = "write NAME.yaml files there, they apply at once"
        else:
            remedy = "put some in force with `flowgauge rules apply FILE`"
        return f"none in {self.rules_folder}, so nobody is told of anything: {remedy}"
