"""What a run says at its end: counts, how many kills hit an open transaction, stalls, and times to caught up."""

from collections import Counter
from collections.abc import Sequence

from tests.torture.rig import BEHIND_S, DETECTION_BEHIND_S, Done, Report, Rig
from tests.torture.watch import Look

KILLS = {"kill", "kill two"}
MEASURED = {"match", "detect", "notify", "sink"}


def figures(rig: Rig, seed: int) -> dict[str, object]:
    """Return the last line of a run."""
    report = rig.report
    kills = [each for each in report.done if each.fault.kind in KILLS]
    hit = [each for each in report.done if each.hits]
    killed = Counter(target.partition("-")[0] for each in kills for target in each.fault.targets)
    return {
        "seed": seed,
        "faults": len(report.done),
        "by kind": dict(Counter(each.fault.kind for each in report.done)),
        "killed": dict(killed),
        "by SIGKILL": _killed(rig),
        "parts claimed": rig.claimed,
        "kills that hit an open transaction": len([each for each in hit if each.fault.kind in KILLS]),
        "zombies with an open transaction": len([each for each in hit if each.fault.kind == "zombie"]),
        "pending inserts repeated": rig.team.repeats,
        "restarts after which the broker forgot commits": rig.forgets,
        "ended by themselves": _ends(rig),
        "tracebacks": [f"{end.instance}: {end.said}" for end in rig.team.ends if end.has_traceback],
        "longest detection stall s": round(max((look.behind_s for look in report.looks), default=0.0), 1),
        "longest by kind s": longest_stalls(report),
        "caught up s": caught_up(report),
        **report.findings.counts(),
    }


def _killed(rig: Rig) -> dict[str, int]:
    """Return how often what was ended by SIGKILL, whatever the fault was."""
    found = Counter[str]()
    for member in rig.team:
        found[member.role] += member.kills
    kinds = Counter(each.fault.kind for each in rig.report.done)
    found["broker"], found["clickhouse"] = kinds["broker"], kinds["clickhouse"] + kinds["claim"]
    return {what: count for what, count in sorted(found.items()) if count}


def _ends(rig: Rig) -> dict[str, int]:
    """Return how often roles ended by themselves, by role, exit code and the first words of why."""
    return dict(Counter(f"{e.instance.partition('-')[0]} {e.code}: {_words(e.said)}" for e in rig.team.ends))


def _words(said: str) -> str:
    return " ".join(word for word in said.split() if not any(letter.isdigit() for letter in word))[:90]


def longest_stalls(report: Report) -> dict[str, float]:
    """Return by kind of fault how far detection fell behind until the next fault."""
    longest: dict[str, float] = {}
    for done, until_s in _with_next(report):
        after = [look.behind_s for look in report.looks if done.at_s < look.at_s <= until_s]
        longest[done.fault.kind] = round(max([longest.get(done.fault.kind, 0.0), *after]), 1)
    return longest


def caught_up(report: Report) -> dict[str, object]:
    """Return, by the role that was killed, the seconds from SIGKILL until nothing was behind any more.

    Only kills after which everything was left alone until it had caught up: the others are counted as `disturbed`.
    """
    took: dict[str, list[float]] = {}
    disturbed = 0
    for done, until_s in _with_next(report):
        if done.fault.kind != "kill" or (role := done.fault.targets[0].partition("-")[0]) not in MEASURED:
            continue
        looks = [look for look in report.looks if done.until_s < look.at_s <= until_s]
        if not looks or _is_behind(looks[-1]):
            disturbed += 1
            continue
        behind = [look.at_s for look in looks if _is_behind(look)]
        took.setdefault(role, []).append(round(behind[-1] - done.until_s, 1) if behind else 0.0)
    return {**{role: _spread(found) for role, found in sorted(took.items())}, "disturbed": disturbed}


def _spread(found: Sequence[float]) -> dict[str, float]:
    ordered = sorted(found)
    return {
        "kills": len(ordered),
        "median": ordered[len(ordered) // 2],
        "p90": ordered[len(ordered) * 9 // 10],
        "max": ordered[-1],
    }


def _is_behind(look: Look) -> bool:
    return look.behind_s > DETECTION_BEHIND_S or any(lag > BEHIND_S[role] for role, lag in look.lag_s.items())


def _with_next(report: Report) -> list[tuple[Done, float]]:
    nexts = [each.at_s for each in report.done[1:]] + [report.ended_s]
    return list(zip(report.done, nexts, strict=True))
