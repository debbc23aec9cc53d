"""What runs cost, counted in plain Python from the events, and what is true of groups of them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal, localcontext
from fnmatch import fnmatchcase
from typing import Any, cast

from tests.clickhouse.run_oracle import BEFORE, SINCE, UNTIL, Event, Run, bucket_of, fold, quantile

from flowgauge.sinks.clickhouse.prices import PriceFile

MICRO = Decimal("0.000001")
NANO = Decimal("0.000000001")
FOUR_WEEKS = timedelta(days=28)
Row = tuple[Any, ...]


@dataclass
class Used:
    """What the events of one run say that it used."""

    costs: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    bytes: int | None = None
    rows: int | None = None
    cpu: list[float] = field(default_factory=list[float])
    gpu: list[float] = field(default_factory=list[float])
    team: str = ""


@dataclass
class Costed:
    """A run in one currency; `currency` is empty where no cost is known."""

    run: Run
    currency: str
    cost: Decimal | None
    bytes: int | None
    rows: int | None
    used: Used
    team: str

    def groups(self, per: str) -> list[str]:
        """Return where it counts when runs are grouped by `per`."""
        return [self.team] if per == "team" else self.run.groups(per)


def amount_of(payload: dict[str, Any]) -> tuple[str, Decimal] | None:
    """Return the currency and amount that a payload tells, None where it is none."""
    cost = payload.get("cost")
    told = cast("dict[str, Any]", cost if isinstance(cost, dict) else {})
    amount, currency = told.get("amount"), told.get("currency")
    if not isinstance(currency, str) or not re.fullmatch("[A-Za-z]{1,16}", currency) or isinstance(amount, bool):
        return None
    text = repr(amount) if isinstance(amount, int | float) else amount
    if not isinstance(text, str) or not re.fullmatch(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", text):
        return None
    value = Decimal(text)
    if not 0 <= value < 10**13:
        return None
    with localcontext() as exact:
        exact.prec = 40  # 13 digits and 18 decimals are more than the usual 28
        value = value.quantize(Decimal(10) ** -18, ROUND_DOWN).quantize(MICRO, ROUND_HALF_UP)
    return (currency.upper(), value) if value < 10**12 else None


def whole(value: object) -> int | None:
    """Return a number of bytes or rows, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return None
    return int(value) if 0 <= value <= 2**53 else None


def share(value: object) -> list[float]:
    """Return a utilisation as a list of one, none where it is none."""
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 else []


def used_by(events: Iterable[Event]) -> dict[str, Used]:
    """Return what each run used; an event that is told twice counts once."""
    found: dict[str, Used] = {}
    for event in {event["id"]: event for event in events}.values():
        payload = event.get("payload", {})
        used = found.setdefault(event["run"], Used())
        if told := amount_of(payload):
            used.costs[told[0]] = used.costs.get(told[0], Decimal(0)) + told[1]
        for name in ("bytes", "rows"):
            if (value := whole(payload.get(name))) is not None:
                setattr(used, name, (getattr(used, name) or 0) + value)
        used.cpu += share(payload.get("cpu_utilization"))
        used.gpu += share(payload.get("gpu_utilization"))
        used.team = max([used.team, *(thing["name"] for thing in event["related"] if thing["role"] == "team")])
    return found


def costed(events: Sequence[Event], prices: PriceFile) -> list[Costed]:
    """Return what each run that `events` tell of cost, once for each currency."""
    used = used_by(events)
    found: list[Costed] = []
    for run in fold(events):
        told = used.get(run.run, Used())
        costs: list[tuple[str, Decimal | None]] = sorted(told.costs.items()) or [_estimate(run, prices)]
        team = told.team or next((entry.team for entry in prices.teams if fits(entry, run)), "")
        for place, (currency, cost) in enumerate(costs):
            moved = (told.bytes, told.rows) if place == 0 else (None, None)
            found.append(Costed(run, currency, cost, *moved, told, team))
    return found


def fits(entry: Any, run: Run) -> bool:
    """Tell whether a price or team is about `run`."""
    return (
        entry.tenant == "*"
        and (entry.flow is None or fnmatchcase(run.flow, entry.flow))
        and (entry.tag is None or entry.tag in run.tags)
        and (entry.work_pool is None or entry.work_pool == run.work_pool)
    )


def _estimate(run: Run, prices: PriceFile) -> tuple[str, Decimal | None]:
    price = next((price for price in prices.prices if fits(price, run)), None)
    if price is None or run.started is None or run.ended is None:
        return "", None
    micros = (run.ended - run.started) // timedelta(microseconds=1)
    exact = (Decimal(repr(price.per_hour)) * micros / 3_600_000_000).quantize(NANO, ROUND_DOWN)
    return (price.currency or prices.currency or "").upper(), exact.quantize(MICRO, ROUND_HALF_UP)


Key = tuple[datetime | None, str, str | None]


def grouped(
    runs: Iterable[Costed],
    per: str,
    size: timedelta | None,
    *,
    since: datetime = SINCE,
    until: datetime = UNTIL,
) -> dict[Key, list[Costed]]:
    """Return the runs that ended in [since, until) by bucket, group and currency."""
    found: dict[Key, list[Costed]] = {}
    for each in runs:
        if each.run.ended is not None and since <= each.run.ended < until:
            for group in each.groups(per):
                found.setdefault((bucket_of(each.run.ended, size), group, each.currency or None), []).append(each)
    return found


def money(runs: Iterable[Costed]) -> Decimal:
    """Return the sum of what is known."""
    return sum((each.cost or Decimal(0) for each in runs), Decimal(0))


def known(values: Iterable[int | None]) -> int | None:
    """Return the sum of the values that there are, None where there is none."""
    there = [value for value in values if value is not None]
    return sum(there) if there else None


def ratio(part: float | Decimal, of: float | Decimal | None) -> float | None:
    """Return the share, None of nothing."""
    return float(part) / float(of) if of else None


def costs(runs: Sequence[Costed], per: str, size: timedelta | None, grace_s: int) -> dict[Key, Row]:
    """Return the rest of each row of `costs` by bucket, group and currency."""
    totals = grouped(runs, "", size)
    before = grouped(runs, per, None, since=BEFORE, until=SINCE)
    found: dict[Key, Row] = {}
    for key, group in grouped(runs, per, size).items():
        bucket, name, currency = key
        moved = known(each.bytes for each in group), known(each.rows for each in group)
        if currency is None:
            found[key] = (len(group), *[None] * 9, *moved)
            continue
        cost = money(group)
        span = UNTIL - SINCE
        if bucket is not None and size is not None:
            span = min(UNTIL, bucket + size) - max(SINCE, bucket)
        earlier = before.get((None, name, currency))
        was = None
        if earlier is not None:
            millis = span // timedelta(milliseconds=1)
            was = (money(earlier) * millis / 2_419_200_000).quantize(MICRO, ROUND_DOWN)
        trend = ratio(cost, was)
        failed = money(each for each in group if each.run.state == "failed")
        crashed = money(each for each in group if each.run.state == "crashed")
        completed = [each for each in group if each.run.state == "completed"]
        again = sum((_repeated(each) for each in completed), Decimal(0))
        late = money(each for each in completed if (each.run.late_seconds or 0) > grace_s)
        of_total = ratio(cost, money(totals[bucket, "", currency]))
        changed = None if trend is None else trend - 1
        waste = (failed + crashed + again, failed, crashed, again, late)
        found[key] = (len(group), cost, of_total, was, changed, *waste, *moved)
    return found


def _repeated(each: Costed) -> Decimal:
    """Return the money in the attempts before the last."""
    attempts = each.run.attempts
    cost = each.cost or Decimal(0)
    return (cost * (attempts - 1) / attempts).quantize(MICRO, ROUND_DOWN) if attempts > 1 else Decimal(0)


def pipelines(runs: Sequence[Costed], per: str) -> dict[Key, Row]:
    """Return the rest of each row of `pipelines` by group and currency."""
    before = grouped(runs, per, None, since=BEFORE, until=SINCE)
    found: dict[Key, Row] = {}
    for key, group in grouped(runs, per, None).items():
        cost = money(group) if key[2] else None
        was = before.get(key, [])
        per_success, was_per_success = (_per_success(each) for each in (group, was))
        p50, p50_was = (_p50(each) for each in (group, was))
        work = [each.run.seconds for each in group if each.run.seconds is not None]
        wait = [each.run.wait_seconds for each in group if each.run.wait_seconds is not None]
        retries = sum(max(0, each.run.attempts - 1) for each in group)
        retried = sum(each.run.attempts > 1 for each in group)
        cost_change = ratio(per_success or 0, was_per_success) if key[2] and per_success is not None else None
        p50_change = ratio(p50, p50_was) if p50 is not None else None
        found[key] = (
            len(group),
            sum(each.run.state == "completed" for each in group),
            cost,
            per_success.quantize(MICRO, ROUND_DOWN) if key[2] and per_success is not None else None,
            None if cost_change is None else cost_change - 1,
            p50,
            None if p50_change is None else p50_change - 1,
            sum(work) if work else None,
            sum(wait) if wait else None,
            ratio(sum(wait), sum(wait) + sum(work)),
            retries,
            retried / len(group),
            *(_mean([value for each in group for value in values(each.used)]) for values in (_cpu, _gpu)),
        )
    return found


def _per_success(group: Sequence[Costed]) -> Decimal | None:
    completed = sum(each.run.state == "completed" for each in group)
    return money(group) / completed if completed else None


def _p50(group: Sequence[Costed]) -> float | None:
    ended = [each.run for each in group if each.run.state in ("completed", "failed", "crashed")]
    return quantile([run.seconds for run in ended if run.seconds is not None], 0.5)


def _cpu(used: Used) -> list[float]:
    return used.cpu


def _gpu(used: Used) -> list[float]:
    return used.gpu


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def cost_runs(runs: Sequence[Costed]) -> list[Row]:
    """Return the rows of `cost-runs`."""
    by_currency: dict[str, list[Costed]] = {}
    for each in runs:
        if each.run.ended is not None and SINCE <= each.run.ended < UNTIL:
            by_currency.setdefault(each.currency, []).append(each)
    found: list[Row] = []
    for currency, group in sorted(by_currency.items(), key=lambda item: (not item[0], -len(item[1]), item[0])):
        group.sort(key=lambda each: (-(each.cost or 0), each.run.run))
        total, so_far, vital = money(group), Decimal(0), 0
        rows: list[Row] = []
        for rank, each in enumerate(group, 1):
            vital += bool(currency) and so_far * 10 < total * 8
            so_far += each.cost or 0
            shares = (ratio(each.cost or 0, total), ratio(so_far, total)) if currency else (None, None)
            facts = (each.run.state, each.run.attempts, each.run.seconds)
            rows.append((each.run.run, each.run.flow, currency or None, each.cost, *shares, *facts, rank, len(group)))
        found += [(*row, vital) for row in rows]
    return found
