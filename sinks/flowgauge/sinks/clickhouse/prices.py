"""Prices: what an hour of a run costs where its events do not say it, and whose runs are whose. As YAML, pure.

    currency: EUR
    prices:                       # the first that fits a run is its price
      - work_pool: gpu
        per_hour: 3.20
      - flow: "train-*"           # a glob; tags and work pools go by their names
        tag: spot                 # all that a price names must hold
        per_hour: 0.90
      - per_hour: 0.08            # names nothing: every other run
    teams:                        # for runs whose events name no related thing of the role `team`
      - team: data-science
        flow: "train-*"

An entry is every tenant's unless it names one (`tenant: acme`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Annotated, Final, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from flowgauge.schemas.errors import InvalidRules, Problem
from flowgauge.schemas.event import NAME_MAX
from flowgauge.schemas.plain_yaml import Path
from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.schemas.yaml_places import Document, problems_of, read_yaml

# Prices, and teams, of one tenant. Each is looked at for each run: 100 globs take half a second of CPU of 100,000 runs,
# and a question may take ten.
ENTRIES_MAX = 100
NAME_CHARS_MAX = 200
PER_HOUR_MAX = 1_000_000  # what no machine costs

_Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]
_BRACKETS = re.compile(r"\[(!?+)(\][^\]]*|[^\]]+)\]")
_FLOWS = ("price_flows", "team_flows")  # columns of PriceList
_CURRENCY = re.compile(r"[A-Za-z]{1,16}")


def _currency_form(text: str) -> str:
    if not _CURRENCY.fullmatch(text):
        raise ValueError("expected a currency of 1 to 16 letters, such as EUR")
    return text.upper()


def _glob_form(text: str) -> str:
    try:
        re.compile(glob_expression(text))
    except re.error:
        raise ValueError(f"expected a glob such as train-*, got {text!r}: its brackets hold no range") from None
    return text


_Currency = Annotated[str, AfterValidator(_currency_form)]


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Entry(_Written):
    """Which runs an entry is about: all that it names must hold."""

    flow: Annotated[_Name, AfterValidator(_glob_form)] | None = None
    tag: _Name | None = None
    work_pool: _Name | None = None
    tenant: Annotated[str, Field(min_length=1, max_length=NAME_MAX)] = ANY_TENANT

    @property
    def fits_all(self) -> bool:
        """Whether it fits every run of its tenant."""
        return not (self.flow or self.tag or self.work_pool)


class Price(_Entry):
    """What an hour of the runs that fit costs."""

    per_hour: Annotated[float, Field(ge=0, le=PER_HOUR_MAX)]
    currency: _Currency | None = None


class Team(_Entry):
    """Whose the runs that fit are."""

    team: _Name


class PriceFile(_Written):
    """The whole file."""

    currency: _Currency | None = None
    prices: tuple[Price, ...] = Field(default=(), strict=False)
    teams: tuple[Team, ...] = Field(default=(), strict=False)


# What a run that told no costs cost, by currency: by the first price that fits it, else that is not known.
_COSTS_BY_PRICE: Final = """[(
    if(isNull(seconds), '', {price_currencies:Array(String)}[price]),
    CAST(
        round(
            toDecimal128OrNull({prices_per_hour:Array(String)}[price], 9)
            * dateDiff('microsecond', started, ended) / 3600000000,
            6
        ),
        'Nullable(Decimal(38, 6))'
    )
)]"""
_FIRST_FIT: Final = """arrayFirstIndex(
    (fits_flow, a_tag, a_pool) ->
        fits_flow AND (a_tag = '' OR has(tags, a_tag)) AND (a_pool = '' OR a_pool = work_pool),
    [<fits>], {<what>_tags:Array(String)}, {<what>_work_pools:Array(String)}
)"""
_UNKNOWN_COSTS: Final = "[('', CAST(NULL, 'Nullable(Decimal(38, 6))'))]"

_AnEntry = TypeVar("_AnEntry", bound=_Entry)


@dataclass(frozen=True, slots=True)
class PriceList:
    """One tenant's prices and teams, column by column as questions bind them; an empty name fits every run.

    Flows are regular expressions, each a parameter of its own: of those in an array ClickHouse compiles any two that
    share a place in its cache anew for each run. An hour's price is decimal text.
    """

    price_flows: tuple[str, ...] = ()
    price_tags: tuple[str, ...] = ()
    price_work_pools: tuple[str, ...] = ()
    prices_per_hour: tuple[str, ...] = ()
    price_currencies: tuple[str, ...] = ()
    team_flows: tuple[str, ...] = ()
    team_tags: tuple[str, ...] = ()
    team_work_pools: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()

    def parameters(self) -> dict[str, object]:
        """Return the columns, and of flows their places, by the names of a question's parameters."""
        columns: dict[str, tuple[str, ...]] = asdict(self)
        places = {f"{name}_{at}": flow for name in _FLOWS for at, flow in enumerate(columns.pop(name))}
        return {**places, **{name: list(column) for name, column in columns.items()}}

    def in_question(self, sql: str) -> str:
        """Return `sql` with a run's `<price>`, what it is `<priced>` at, and its `<team>`, by these entries.

        What no entry decides is left out: prices would take a third of the time of a question, for nothing.
        """
        priced, price = (_COSTS_BY_PRICE, self._first_fit("price")) if self.prices_per_hour else (_UNKNOWN_COSTS, "0")
        named = f"if(told_team = '', {{teams:Array(String)}}[{self._first_fit('team')}], told_team)"
        team = named if self.teams else "told_team"
        return sql.replace("<price>", price).replace("<priced>", priced).replace("<team>", team)

    def _first_fit(self, what: str) -> str:
        """Return, in SQL, the place of the first entry that fits a run, from 1; 0 where none does."""
        flows: tuple[str, ...] = getattr(self, f"{what}_flows")
        fits = ", ".join(f"match(flow, {{{what}_flows_{at}:String}})" if flow else "1" for at, flow in enumerate(flows))
        return _FIRST_FIT.replace("<fits>", fits).replace("<what>", what)


NO_PRICES: Final = PriceList()


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All that a price file says."""

    written: PriceFile = field(default_factory=PriceFile)

    def of(self, tenant: str) -> PriceList:
        """Return what applies to `tenant`, in the order of the file."""
        prices = list(_of_tenant(self.written.prices, tenant))
        teams = list(_of_tenant(self.written.teams, tenant))
        return PriceList(
            price_flows=_flows(prices),
            price_tags=tuple(price.tag or "" for price in prices),
            price_work_pools=tuple(price.work_pool or "" for price in prices),
            prices_per_hour=tuple(format(Decimal(repr(price.per_hour)), "f") for price in prices),
            price_currencies=tuple(price.currency or self.written.currency or "" for price in prices),
            team_flows=_flows(teams),
            team_tags=tuple(team.tag or "" for team in teams),
            team_work_pools=tuple(team.work_pool or "" for team in teams),
            teams=tuple(team.team for team in teams),
        )


def parse_prices(file: str, text: str) -> PriceBook:
    """Return the prices in `text`, told of as `file`; raise InvalidRules with every mistake."""
    return prices_of(read_yaml(file, text))


def prices_of(document: Document) -> PriceBook:
    """Return the prices of `document`; raise InvalidRules with every mistake."""
    try:
        written = PriceFile.model_validate({} if document.data is None else document.data)
    except ValidationError as error:
        raise InvalidRules(problems_of(error, document, (), _fields_at)) from None
    problems = [
        *_without_currency(written, document),
        *_out_of_reach("prices", written.prices, document),
        *_out_of_reach("teams", written.teams, document),
        *_too_many("prices", written.prices, document),
        *_too_many("teams", written.teams, document),
    ]
    if problems:
        raise InvalidRules(tuple(problems))
    return PriceBook(written)


def glob_expression(glob: str) -> str:
    """Return the regular expression, as ClickHouse reads it, of a glob with `*`, `?` and `[…]`."""
    found, at = "", 0
    while at < len(glob):
        brackets = _BRACKETS.match(glob, at)
        if brackets:
            inner = brackets[2].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("^", "\\^")
            found += f"[{'^' if brackets[1] else ''}{inner}]"
            at = brackets.end()
        else:
            found += {"*": ".*", "?": "."}.get(glob[at]) or re.escape(glob[at])
            at += 1
    return f"(?s)^{found}$"


def _of_tenant(entries: Sequence[_AnEntry], tenant: str) -> Iterator[_AnEntry]:
    return (entry for entry in entries if entry.tenant in (tenant, ANY_TENANT))


def _flows(entries: Sequence[_Entry]) -> tuple[str, ...]:
    return tuple(glob_expression(entry.flow) if entry.flow else "" for entry in entries)


def _fields_at(path: Path) -> tuple[str, ...]:
    """Return what an unknown field at `path` may have been meant as."""
    model = {"prices": Price, "teams": Team}.get(str(path[0]), PriceFile) if len(path) > 1 else PriceFile
    return tuple(cast("type[BaseModel]", model).model_fields)


def _without_currency(written: PriceFile, document: Document) -> Iterator[Problem]:
    for index, price in enumerate(written.prices):
        if not (price.currency or written.currency):
            remedy = "write `currency: EUR` at the top of the file, or here"
            yield document.problem(("prices", index), "a price without a currency", remedy)


def _out_of_reach(name: str, entries: Sequence[_Entry], document: Document) -> Iterator[Problem]:
    """Find entries behind one that fits every run."""
    ended: set[str] = set()
    for index, entry in enumerate(entries):
        if ended & {entry.tenant, ANY_TENANT}:
            yield document.problem((name, index), "an entry before it fits every run already", "put that one last")
        elif entry.fits_all:
            ended.add(entry.tenant)


def _too_many(name: str, entries: Sequence[_Entry], document: Document) -> Iterator[Problem]:
    tenants = sorted({entry.tenant for entry in entries})
    for tenant in tenants:
        if (count := len(list(_of_tenant(entries, tenant)))) > ENTRIES_MAX:
            message = f"{count} entries apply to tenant {tenant}, at most {ENTRIES_MAX} are looked at"
            yield document.problem((name,), message, "let one glob or tag stand for several")
