"""How much a sender may bring in: accounts that fill with time. Pure: the caller brings the time.

    requests_per_second  bytes_per_second   of each token: what one sender costs this process
    events_per_second    events_per_day     of each tenant, all its tokens together: what it costs log and ClickHouse

A request is let in while no account of its sender is overdrawn; what it brings is then charged, however much. So a
batch that is larger than all an account can hold passes too, and is paid back by waiting. Over any time t, at most
`rate * (burst + t)` and one request come in: doors ask before a body is read, charge the length that it announces, and
ask again before its events are taken. Bodies that announce no length and come at the same moment count as one. Between
processes nothing is shared: of n gateways each lets in as much.

The package `limits` does not fit: there a hit of more than the bound never passes, several bounds are not taken
together, time is the wall clock, which jumps, and a thread of its own wakes every 10 ms.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from flowgauge.producers.tokens import Sender
from flowgauge.schemas.setting_parts import LimitSettings, TenantLimits
from flowgauge.schemas.times import parse_duration_ms

KEYS_MAX = 10_000  # tokens and tenants with accounts; those of more than any settings file, the oldest go first
DAY_MS: Final = 86_400_000

LimitName: TypeAlias = Literal["requests_per_second", "bytes_per_second", "events_per_second", "events_per_day"]
_OF_TOKEN: Final[tuple[LimitName, ...]] = ("requests_per_second", "bytes_per_second")
_OF_TENANT: Final[tuple[LimitName, ...]] = ("events_per_second", "events_per_day")
_WORDS: Final[Mapping[LimitName, str]] = {
    "requests_per_second": "requests a second with this token",
    "bytes_per_second": "bytes a second with this token",
    "events_per_second": "events a second of this tenant",
    "events_per_day": "events a day (UTC) of this tenant",
}


@dataclass(frozen=True, slots=True)
class Over:
    """The bound that a sender is over, and in how many ms it is so no more."""

    limit: LimitName
    bound: int
    wait_ms: int

    def __str__(self) -> str:
        """Return the sentence that the sender is told."""
        return f"more than {self.bound} {_WORDS[self.limit]} ({self.limit})"


class Account(Protocol):
    """What may be brought in of one thing."""

    def wait_ms(self, now_ms: int) -> int:
        """Return in how many ms more may come; 0: now."""
        ...

    def charge(self, amount: int, now_ms: int) -> None:
        """Take `amount` off, even where the account is overdrawn by that; a negative one is given back."""
        ...


class Rate:
    """Fills by `per_s` a second, up to what fills in `burst_ms`. A clock that steps back fills nothing."""

    __slots__ = ("_at_ms", "_balance", "_full", "_per_s")

    def __init__(self, per_s: int, burst_ms: int) -> None:
        self._per_s = per_s
        self._full = self._balance = per_s * burst_ms  # in thousandths, so that whole numbers are exact
        self._at_ms: int | None = None

    def wait_ms(self, now_ms: int) -> int:
        """Do as Account says."""
        self._fill(now_ms)
        return 0 if self._balance > 0 else -self._balance // self._per_s + 1

    def charge(self, amount: int, now_ms: int) -> None:
        """Do as Account says."""
        self._fill(now_ms)
        self._balance = min(self._balance - 1_000 * amount, self._full)

    def _fill(self, now_ms: int) -> None:
        passed_ms = max(now_ms - self._at_ms, 0) if self._at_ms is not None else 0
        self._balance = min(self._balance + passed_ms * self._per_s, self._full)
        self._at_ms = now_ms


class Quota:
    """Holds `per_day` anew with each day of UTC."""

    __slots__ = ("_day", "_per_day", "_used")

    def __init__(self, per_day: int) -> None:
        self._per_day = per_day
        self._used = self._day = 0

    def wait_ms(self, now_ms: int) -> int:
        """Do as Account says."""
        self._turn(now_ms)
        return 0 if self._used < self._per_day else DAY_MS - now_ms % DAY_MS

    def charge(self, amount: int, now_ms: int) -> None:
        """Do as Account says."""
        self._turn(now_ms)
        self._used = max(self._used + amount, 0)

    def _turn(self, now_ms: int) -> None:
        if (day := now_ms // DAY_MS) != self._day:
            self._day, self._used = day, 0


class Limits:
    """The accounts of all senders of a process: every way in asks and charges here.

    `everybody` holds for each tenant and token, except for what `tenants` says of one.
    """

    def __init__(
        self, everybody: LimitSettings, tenants: Mapping[str, TenantLimits], now_ms: Callable[[], int]
    ) -> None:
        self._everybody = everybody
        self._tenants = tenants
        self._burst_ms = parse_duration_ms(everybody.burst)
        self._now_ms = now_ms
        self._accounts: dict[str | Sender, dict[LimitName, Account]] = {}

    def admit(self, sender: Sender) -> Over | None:
        """Let a request in and charge it as one; return what it is over instead, the longest wait, where it is."""
        over = self.over(sender)
        if over is None:
            self._charge(sender, "requests_per_second", 1)
        return over

    def over(self, sender: Sender) -> Over | None:
        """Return what `sender` is over, the longest wait, None while it may bring in more."""
        return self._over(sender.tenant, sender, sender.tenant)

    def events_over(self, tenant: str) -> Over | None:
        """Return the same of the bounds that all tokens of `tenant` share."""
        return self._over(tenant, tenant)

    def _over(self, tenant: str, *keys: str | Sender) -> Over | None:
        accounts = [each for key in keys for each in self._of(key).items()]
        now_ms = self._now_ms() if accounts else 0
        found: Over | None = None
        for limit, account in accounts:
            wait_ms = account.wait_ms(now_ms)
            if wait_ms > (found.wait_ms if found else 0):
                found = Over(limit, self._bound(tenant, limit), wait_ms)
        return found

    def bytes_came(self, sender: Sender, count: int) -> None:
        """Charge bytes as they came over the wire."""
        self._charge(sender, "bytes_per_second", count)

    def events_came(self, tenant: str, count: int) -> None:
        """Charge events; a negative count gives back those that were told to come again."""
        for limit in _OF_TENANT:
            self._charge(tenant, limit, count)

    def _charge(self, key: str | Sender, limit: LimitName, amount: int) -> None:
        if account := self._of(key).get(limit):
            account.charge(amount, self._now_ms())

    def _of(self, key: str | Sender) -> dict[LimitName, Account]:
        if key not in self._accounts:
            if len(self._accounts) >= KEYS_MAX:
                del self._accounts[next(iter(self._accounts))]
            self._accounts[key] = self._opened(key)
        return self._accounts[key]

    def _opened(self, key: str | Sender) -> dict[LimitName, Account]:
        tenant = key if isinstance(key, str) else key.tenant
        names: tuple[LimitName, ...] = _OF_TENANT if isinstance(key, str) else _OF_TOKEN
        return {limit: self._account(limit, bound) for limit in names if (bound := self._bound(tenant, limit))}

    def _bound(self, tenant: str, limit: LimitName) -> int:
        own = getattr(self._tenants.get(tenant), limit, None)
        bound: int = getattr(self._everybody, limit) if own is None else own
        return bound

    def _account(self, limit: LimitName, bound: int) -> Account:
        return Quota(bound) if limit == "events_per_day" else Rate(bound, self._burst_ms)


def no_limits() -> Limits:
    """Return limits that bound nothing."""
    nothing = LimitSettings(requests_per_second=0, bytes_per_second=0, events_per_second=0)
    return Limits(nothing, {}, lambda: 0)
