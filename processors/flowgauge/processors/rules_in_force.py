"""Which rule set is in force, and which comes next: told by markers in the log, never by when they are read.

source 0   ……[marker 2]…………          version 2 is in force once every source has announced it,
source 1   …………………[marker 2]…         from the latest of these markers' clocks on
"""

from collections.abc import Mapping, Set

from flowgauge.processors.detector_state import PositionRecord, SourcePosition
from flowgauge.processors.rule_view import RuleView
from flowgauge.processors.ruleset import RuleSet

ENDED_MAX = 100  # sets that ended within the longest lateness: they stand in each position, and new keys look at them


class RulesInForce:
    """The rule sets of a log as one detector sees them. What it notes stands in the detector's position."""

    def __init__(self, rulesets: Mapping[int, RuleSet], position: PositionRecord) -> None:
        self._rulesets = rulesets
        self._position = position
        self._views: dict[int, RuleView] = {}
        self.active = self.view(position.active_version)

    def ruleset(self, version: int) -> RuleSet:
        """Return rule set `version`; 0 is the empty one before the first."""
        return self._rulesets[version] if version else RuleSet()

    def view(self, version: int) -> RuleView:
        """Return what the tenants see of rule set `version`."""
        view = self._views.get(version)
        if view is None:
            view = self._views[version] = RuleView(self.ruleset(version))
        return view

    def versions(self, after: int, until: int) -> list[int]:
        """Return the versions that there are in (after, until]."""
        return [version for version in range(after + 1, until + 1) if version in self._rulesets]

    def holds(self, uid: str, tenant: str, version: int) -> bool:
        """Tell whether a rule of set `version` sees this tenant in every set from the active one until then.

        Samples of such a rule are taken at once, because its panes go on over the switch. Others stand aside until
        their set is in force. Neither depends on how far the sources happen to have been read.
        """
        active = self.active.version
        return version <= active or (
            self.active.sees(uid, tenant)
            and all(self.view(between).sees(uid, tenant) for between in self.versions(active, version))
        )

    def note(self, source: int, position: SourcePosition, version: int, switched_ms: int) -> None:
        """Note that a source reached a version's marker; a version it skipped counts as reached there too."""
        if version <= position.rules_version:  # a matcher that lost its place begins again without one
            return
        for reached in self.versions(position.rules_version, version):
            self._position.switches.setdefault(reached, {})[source] = switched_ms
        position.rules_version = version

    def next_switch(self, finished: Set[int]) -> tuple[int, int] | None:
        """Return (time, version) of the next rule set, once every source has announced it or is `finished`."""
        if not self._position.switches:
            return None
        version = min(self._position.switches)
        for source, position in enumerate(self._position.sources):
            if position.rules_version < version and source not in finished:
                return None
        return max(self._position.switches[version].values()), version

    def began_ms(self, uid: str, tenant: str) -> int:
        """Return when the active rule `uid` began to see this tenant; 0 where that was with the first set, or long ago.

        Panes that end by then are those of the set before: what was opened in them is not opened once more.
        """
        for version, at_ms in reversed(self._position.ended):
            if not self.view(version).sees(uid, tenant):
                return at_ms
        return 0

    def activate(self, version: int, at_ms: int) -> None:
        """Put rule set `version` in force from `at_ms` on; forget what ended before any pane that can still come."""
        if self.active.version:
            lateness_ms = max((rule.lateness_ms for rule in self.ruleset(version).rules), default=0)
            recent = [each for each in self._position.ended if each[1] > at_ms - lateness_ms]
            self._position.ended = [*recent, (self.active.version, at_ms)][-ENDED_MAX:]
        del self._position.switches[version]
        self._position.active_version = version
        self.active = self.view(version)
