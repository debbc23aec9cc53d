"""`all_of`: fires while all of several conditions hold for the same key. The time line is that of `compound`."""

from typing import ClassVar

from flowgauge.processors.kinds.compound import Compound


class AllOf(Compound):
    """The fields of `all_of`."""

    name: ClassVar[str] = "all_of"

    @property
    def needed(self) -> int:
        """All of them."""
        return len(self.conditions)
