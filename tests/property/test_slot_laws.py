"""The laws of slots, against a slow oracle that walks each minute, and one library against the other."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

from croniter import croniter
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.processors.cron import DIALECTS, Dialect, parse_cron
from flowgauge.processors.slots import Schedule

# Changes of an hour by night, at midnight, of half an hour, of a whole day (2011-12-30 in Apia), and none.
ZONES = ("Europe/Riga", "America/New_York", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia", "UTC")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OFTEN: tuple[Dialect, ...] = ("debian", "dagster", "prefect", "croniter")


@st.composite
def fields(draw: st.DrawFn, *, hours: st.SearchStrategy[str] | None = None) -> str:
    """Draw an expression that every dialect reads alike: stars, numbers, lists, ranges and steps of a range."""

    def field(lowest: int, highest: int, stars: int) -> str:
        number = st.integers(lowest, highest)
        pair = st.tuples(number, number).map(sorted).filter(lambda ends: ends[0] < ends[1])
        one = st.one_of(
            number.map(str),
            pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
            st.tuples(pair, st.integers(1, 5)).map(lambda drawn: f"{drawn[0][0]}-{drawn[0][1]}/{drawn[1]}"),
        )
        several = st.lists(one, min_size=1, max_size=2).map(",".join)
        return draw(several if draw(st.integers(0, 9)) >= stars else st.just("*"))

    hour = draw(hours) if hours else field(0, 4, 4)
    return f"{field(0, 59, 1)} {hour} {field(1, 28, 8)} {field(1, 12, 9)} {field(0, 6, 8)}"


@st.composite
def moments(draw: st.DrawFn, zone: ZoneInfo) -> datetime:
    """Draw an instant, more often than not within a day of a change of the clock."""
    moment = datetime(draw(st.integers(2011, 2028)), draw(st.sampled_from((2, 3, 9, 10, 12))), 1, tzinfo=UTC)
    before = moment.astimezone(zone).utcoffset()
    days = range(80) if draw(st.integers(0, 4)) else ()
    changed = (day for day in days if (moment + day * DAY).astimezone(zone).utcoffset() != before)
    return moment + next(changed, draw(st.integers(0, 80))) * DAY + draw(st.integers(-60 * 24, 60 * 6)) * MINUTE


@st.composite
def asked(draw: st.DrawFn, dialects: tuple[Dialect, ...] = DIALECTS) -> tuple[Schedule, datetime]:
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    return Schedule(parse_cron(draw(fields()), draw(st.sampled_from(dialects))), zone), draw(moments(zone))


def first(schedule: Schedule, moment: datetime, count: int) -> list[datetime]:
    return list(islice(schedule.after(moment), count))


def is_near_a_change(moment: datetime, zone: ZoneInfo) -> bool:
    return len({(moment + days * DAY).astimezone(zone).utcoffset() for days in (-2, 0, 2)}) > 1


@given(asked())
def test_slots_grow_and_are_later_than_the_time_asked_from(drawn: tuple[Schedule, datetime]) -> None:
    schedule, moment = drawn

    slots = first(schedule, moment, 8)

    assert all(earlier < later for earlier, later in zip([moment, *slots], slots, strict=False))


@given(asked(), st.integers(0, 6), st.integers(0, 999))
def test_asking_from_any_time_between_two_slots_gives_the_later_one(
    drawn: tuple[Schedule, datetime], number: int, thousandths: int
) -> None:
    schedule, moment = drawn
    slots = first(schedule, moment, number + 2)

    between = slots[number] + (slots[number + 1] - slots[number]) * thousandths // 1000

    assert first(schedule, between, 1) == [slots[number + 1]]


@given(asked())
def test_as_many_slots_are_as_many_times_one(drawn: tuple[Schedule, datetime]) -> None:
    schedule, moment = drawn

    one_by_one: list[datetime] = []
    for _ in range(5):
        one_by_one += first(schedule, one_by_one[-1] if one_by_one else moment, 1)

    assert one_by_one == first(schedule, moment, 5)


@given(asked())
def test_a_slot_has_the_fields_in_local_time_unless_the_clock_changes(drawn: tuple[Schedule, datetime]) -> None:
    schedule, moment = drawn

    for before, slot in pairwise(first(schedule, moment, 8)):
        local = slot.astimezone(schedule.zone).replace(tzinfo=None)
        # Airflow adds to the slot before the time between the two local ones, also over a change in between.
        is_added = schedule.cron.dialect == "airflow" and schedule.cron.is_every_hour
        changes = before.astimezone(schedule.zone).utcoffset() != slot.astimezone(schedule.zone).utcoffset()
        assert (
            is_near_a_change(slot, schedule.zone)
            or (is_added and changes)
            or next(schedule.cron.walls(local - MINUTE)) == local
        )


@given(asked(OFTEN))
def test_a_skipped_or_repeated_time_becomes_what_the_dialect_makes_of_it(drawn: tuple[Schedule, datetime]) -> None:
    """The oracle takes all local times of some days, and of each asks the instants near it what the clock showed."""
    schedule, moment = drawn
    start = moment.astimezone(schedule.zone).replace(tzinfo=None) - 30 * HOUR
    walls = takewhile(lambda wall: wall < start + 66 * HOUR, schedule.cron.walls(start))
    found = {slot for wall in walls for slot in becomes(schedule, wall)}

    until = moment + 6 * HOUR
    expected = sorted(slot for slot in found if moment < slot <= until)
    assert expected == list(takewhile(lambda slot: slot <= until, schedule.after(moment)))


def becomes(schedule: Schedule, wall: datetime) -> set[datetime]:
    """Return the instants of a local time, found by asking each instant near it what the clock showed."""
    dialect, is_every_hour = schedule.cron.dialect, schedule.cron.is_every_hour
    offsets = {(wall.replace(tzinfo=UTC) + days * DAY).astimezone(schedule.zone).utcoffset() for days in (-2, 0, 2)}
    instants = sorted(wall.replace(tzinfo=UTC) - offset for offset in offsets if offset is not None)
    shown = [each for each in instants if each.astimezone(schedule.zone).replace(tzinfo=None) == wall]
    jump = instants[-1] - instants[0]
    if len(shown) == 1:
        return set(shown)
    is_large = dialect == "debian" and jump > timedelta(hours=3)
    if shown:
        corrected = wall.hour in {1, 2, 3} or not schedule.cron.is_once_a_day
        if dialect == "croniter" or (dialect != "prefect" and is_every_hour) or is_large:
            return set(shown)
        return {shown[-1] if dialect == "dagster" and corrected else shown[0]}
    shifted = instants[-1]  # by the offset before, which is the smaller one
    if dialect == "prefect" or (dialect == "dagster" and not is_every_hour and wall.hour not in {1, 2, 3}):
        return {shifted}
    if is_every_hour or is_large:
        return set()
    new = shifted.astimezone(schedule.zone).utcoffset()
    change = shifted
    while (change - timedelta(seconds=1)).astimezone(schedule.zone).utcoffset() == new:
        change -= timedelta(seconds=1)
    return {change}


@given(fields(), st.sampled_from(("Europe/Riga", "America/New_York", "UTC")), st.data())
def test_debian_is_as_cronsim_has_it(text: str, name: str, data: st.DataObject) -> None:
    """Where clocks change by whole hours and not at midnight: elsewhere cronsim goes by whole hours."""
    zone = ZoneInfo(name)
    moment = data.draw(moments(zone))

    slots = first(Schedule(parse_cron(text, "debian"), zone), moment, 6)

    simulated = (slot.astimezone(UTC) for slot in CronSim(text, moment.astimezone(zone)))
    assert slots == list(islice((slot for slot in simulated if slot > moment), 6))


@given(fields(), st.sampled_from(("*/2", "*/7", "*", "1-5")), st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1)))  # noqa: DTZ001  # local times
def test_the_two_libraries_read_the_fields_of_debian_alike(text: str, weekday: str, after: datetime) -> None:
    """What Debian does where a field begins with a star is implement_cron_bug of croniter."""
    after = after.replace(second=0, microsecond=0)
    text = f"{text.rsplit(' ', 1)[0]} {weekday}"

    walls = list(islice(parse_cron(text, "debian").walls(after), 6))

    other = croniter(text, after, ret_type=datetime, implement_cron_bug=True)
    assert walls == [other.get_next(datetime) for _ in range(6)]
