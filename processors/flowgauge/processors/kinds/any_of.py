"""`any_of`: fires while at least N of several conditions hold for the same key. The time line is that of `compound`."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from flowgauge.processors.kinds.compound import Compound
from flowgauge.schemas.rule import IN_DIGITS


class AnyOf(Compound):
    """The fields of `any_of`."""

    name: ClassVar[str] = "any_of"

    at_least: Annotated[int, Field(ge=1), IN_DIGITS] = 1

    @model_validator(mode="after")
    def _possible(self) -> "AnyOf":
        if self.at_least > len(self.conditions):
            raise ValueError("`at_least` is more than there are conditions, it could never fire: write less")
        return self

    @property
    def needed(self) -> int:
        """At least so many."""
        return self.at_least
