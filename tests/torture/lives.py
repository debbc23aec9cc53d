"""The lives of a process under torture, and which of their ends make a crash loop. Pure.

A crash loop is LOOP_ENDS ends in a row that nothing but the process itself explains: each a start that came to nothing.
The faults explain some ends, and these are no part of one:

    ended by us       SIGKILL, or told to end       it begins the row anew: it says nothing of how a start goes
    short of a broker exit code 3                   passed over: who starts while the broker is away may end so
    put out           frozen in this life, and said so    begins the row anew: another has what was its own, so the
                                                    former owner has to end, once; the next life is not frozen
    long              it lived for STEADY_S         begins the row anew, with itself as the first

An end that says "put out" without a freeze in that life counts: a start that its group puts out again and again is as
bad as any other that comes to nothing.
"""

import re
from dataclasses import dataclass

LOOP_ENDS = 4
STEADY_S = 15.0  # a process that lived so long did start well
ENVIRONMENT = 3  # the exit code of what the environment does not give
PUT_OUT = re.compile(r"another process (took|has taken) over|no longer ours")


@dataclass(frozen=True, slots=True)
class Life:
    """A life that has ended."""

    instance: str
    code: int
    said: str  # its last line
    lived_s: float
    was_frozen: bool = False
    by_us: bool = False  # its end
    has_traceback: bool = False

    @property
    def was_put_out(self) -> bool:
        """It ended because its group, or its transaction's coordinator, had given its place to another."""
        return self.code == 1 and PUT_OUT.search(self.said) is not None


def ends_in_a_row(before: int, life: Life) -> int:
    """Return how many ends in a row nothing but the process explains, after `life`; `before` were so before it."""
    if life.by_us or (life.was_frozen and life.was_put_out):
        return 0
    if life.code == ENVIRONMENT:
        return before
    return before + 1 if life.lived_s < STEADY_S else 1
