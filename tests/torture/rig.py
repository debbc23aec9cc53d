"""The rig: broker, ClickHouse's front, receiver, a team of roles, a load and a watch; and the faults done to them."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.clickhouse_front import Front
from tests.integration.role_processes import kafka_environment
from tests.integration.up_process import COMMAND
from tests.torture.checker import Findings, check
from tests.torture.claiming import pending_parts, remove, stop_merges
from tests.torture.faults import Fault
from tests.torture.hook import Hook
from tests.torture.lives import PUT_OUT
from tests.torture.load import Load
from tests.torture.team import Member, Team, planted_command
from tests.torture.watch import Look, Watch

from flowgauge.transport.kafka_client import Connection

PARTITIONS, SAMPLES_PARTITIONS = 4, 2
READY_S = 240.0
SETTLE_S = 240.0
SETTLE_S_MAX = 900.0  # while what is stored still grows: a machine that others share may be slow
STABLE_S = 60.0  # longer than the notifier's first waits
CLOCK_PAST_S = 22.0  # windows, lateness, timers and slots of the rules, and some pulses
CHECK_S_MAX = 600.0  # a long run has some 100,000 events
FRESH_S = 1.5  # after so long each partition has a new record, a pulse at least
AIM_PAUSE_S = 0.01
AIM_S_MAX = 5.0
CLAIM_S_MAX = 60.0  # until ClickHouse has said what is pending
CATCH_UP_S_MAX = 20.0  # an undisturbed process has caught up long before
BEHIND_S = {"match": 3.0, "detect": 3.0, "notify": 3.0, "sink": 5.0}  # a lag beyond it is a stall
QUIET_S = 13.0  # without a load: a sink commits pulses every ten seconds
DETECTION_BEHIND_S = 4.0  # likewise: one pulse a second, and a step or two of each stage
INSERT_FAULTS = ("cut after", "code 252", "error 500", "cut before", "cut after", "code 159")
INSERTS = "INSERT INTO flowgauge."
REFUSALS: dict[str, tuple[str, str]] = {  # what is refused: its fault, and which statements begin so
    "read-only": ("code 164", INSERTS),
    "too many parts": ("code 252", INSERTS),
    "memory": ("code 241", INSERTS),
    "full disk": ("code 243", INSERTS),
    "password": ("password", ""),  # questions too
}
REFUSED_MAX = 10_000  # more than are asked meanwhile
ROLES_OF_GROUPS = {"detect": ("detector", "samples"), "notify": ("notifier", "transitions")}

RULES = """
rules:
  - name: failing
    for_each: [flow]
    when: {{failure_rate: {{above: {above}%, within: 4s, min_samples: 4, clear_below: 30%}}}}
    for: 2s
    keep_firing_for: 3s
    allowed_lateness: 2s
    no_data: resolve
    notify: [ops]
  - name: each failure
    match: {{state: [failed, crashed]}}
    for_each: [flow]
    when: {{event: {{}}}}
  - name: each crash
    match: {{state: crashed}}
    for_each: [flow]
    when: {{event: {{}}}}
    notify: [ops]
  - name: not started
    for_each: [flow]
    when: {{late: {{after: 2s, at_least: 1, within: 8s}}}}
    allowed_lateness: 2s
    no_data: resolve
    notify: [ops]
"""
BURSTS = """
  - name: bursts
    match: {{state: [failed, crashed]}}
    for_each: [flow]
    when: {{event: {{times: {times}, within: 3s}}}}
    allowed_lateness: 2s
    no_data: resolve
    notify: [ops]
"""
RULE_SETS = (
    RULES.format(above=50) + BURSTS.format(times=3),
    RULES.format(above=40) + BURSTS.format(times=3),
    RULES.format(above=40),
    RULES.format(above=50) + BURSTS.format(times=4),
)
CHANNELS = """
channels:
  - {name: ops, retry: page, webhook: {url: "http://ADDRESS/hook", secret: {env: HOOK_SECRET}}}
"""


class Broker(Protocol):
    """Where the log is; the rig may kill it when nobody shares it."""

    bootstrap: str

    def start(self) -> None:
        """Start it and wait until it answers."""
        ...

    def kill(self) -> None:
        """Kill it and wait for its end."""
        ...


@dataclass(frozen=True, slots=True)
class Done:
    """A fault that was done."""

    fault: Fault
    at_s: float  # monotonic
    until_s: float
    hits: int = 0  # open transactions that it hit


@dataclass(slots=True)
class Report:
    """What a run did and found."""

    done: list[Done] = field(default_factory=list[Done])
    findings: Findings = field(default_factory=Findings)
    looks: list[Look] = field(default_factory=list[Look])
    ended_s: float = 0.0  # when the last fault and its catching up were over
    facts: dict[str, object] = field(default_factory=dict[str, object])


class Rig:
    """Everything that runs. `running` makes it."""

    def __init__(self, *, broker: Broker, team: Team, watch: Watch, load: Load, folder: Path, prefix: str) -> None:
        self.broker = broker
        self.team = team
        self.watch = watch
        self.load = load
        team.on_end = lambda life: self.say(
            f"     {life.instance} ended by itself with {life.code} after {life.lived_s:.1f} s: {life.said[:160]}"
        )
        self.hook: Hook | None = None
        self.front: Front | None = None
        self.report = Report()
        self._folder = folder
        self._prefix = prefix
        self._began_s = time.monotonic()
        self._rule_sets = 0
        self.problems: list[str] = []
        self.forgets = 0  # restarts after which the broker gave groups an older place; nothing may come of it
        self.claimed = 0  # parts that ClickHouse claimed to have

    def say(self, line: str) -> None:
        """Print a line of the timeline."""
        print(f"+{time.monotonic() - self._began_s:6.1f} s  {line}", flush=True)

    def apply_rules(self) -> None:
        """Put the next rule set in force; again while the broker is away."""
        (self._folder / "rules.yaml").write_text(RULE_SETS[self._rule_sets % len(RULE_SETS)], encoding="utf-8")
        self._rule_sets += 1
        deadline = time.monotonic() + READY_S
        while True:
            done = run_command(self.team, "rules", "apply", "rules.yaml")
            if done[0] == 0:
                return
            if done[0] != 3 or time.monotonic() > deadline:
                self.problems.append(f"rules apply: {done}")
                return

    def torture(self, faults: Sequence[Fault], *, for_s: float = float("inf")) -> None:
        """Do all of `faults`, one after the other; begin none after `for_s`."""
        until_s = time.monotonic() + for_s
        for number, fault in enumerate(faults, 1):
            if self.team.problem or time.monotonic() > until_s:
                self.say(f"stopped: {self.team.problem or 'the time is over'}")
                return
            if fault.waits_until_ready:
                self._wait_until_ready(fault.targets)
            began_s = time.monotonic()
            hits, detail = DOING[fault.kind](self, fault)
            self.report.done.append(Done(fault, began_s, time.monotonic(), hits))
            self.say(
                f"{number:4} {fault.kind} {' '.join(fault.targets)}{detail}{', hit an open transaction' * bool(hits)}"
            )
            if fault.is_patient:
                self._wait_until_caught_up(began_s)
            else:
                time.sleep(fault.pause_s)

    def settle(self, *, wait_s: float = SETTLE_S, stable_s: float = STABLE_S) -> None:
        """Let everything that begun end: every window closed, every message told, every row stored. Then compare.

        What is wrong is so for good when it stays the same for `stable_s`. That holds after a crash loop too: what is
        behind then is not lost, so what can still catch up is waited for.
        """
        self.report.ended_s = time.monotonic()
        for member in self.team:
            member.wake()
            member.come_back()
        self.load.finish()
        loaded_s = time.monotonic()
        self.say(f"the load has ended: {len(self.load.acked)} events acknowledged")
        while not self._is_quiet(loaded_s) and time.monotonic() < loaded_s + wait_s and not self.team.problem:
            time.sleep(1.0)
        self.report.findings = self._final_findings(loaded_s + SETTLE_S_MAX, stable_s)
        self._add_own_findings(self.report.findings)
        self.report.looks = self.watch.looks

    def _final_findings(self, deadline: float, stable_s: float) -> Findings:
        found, since_s = self._check(), time.monotonic()
        while not (found.are_none and not found.seen["open incidents"]):
            if time.monotonic() > since_s + stable_s:
                break
            if time.monotonic() > deadline:
                found.note("wrong", "catching up", [f"it still changed when {SETTLE_S_MAX:.0f} s were over"])
                break
            time.sleep(2.0)
            newer = self._check()
            if newer.counts() != found.counts():
                since_s = time.monotonic()
            found = newer
        return found

    def _add_own_findings(self, found: Findings) -> None:
        found.note("wrong", "open incidents", ["open"] * found.seen["open incidents"])
        found.note("wrong", "processes", [self.team.problem] * bool(self.team.problem))
        found.note("wrong", "answers", self.load.refused)
        found.note("wrong", "commands", self.problems)

    def _is_quiet(self, loaded_s: float) -> bool:
        looks = self.watch.looks
        if not looks or looks[-1].at_s < loaded_s:
            return False
        roles = {member.role for member in self.team}
        is_past = time.monotonic() - looks[-1].behind_s > loaded_s + CLOCK_PAST_S and looks[-1].behind_s > 0
        is_past |= "detect" not in roles and time.monotonic() > loaded_s + QUIET_S
        return is_past and all(lag_s < QUIET_S for role, lag_s in looks[-1].lag_s.items() if role in roles)

    def _check(self) -> Findings:
        told = self.hook.told if self.hook and self.team.of("notify") else None
        front = self.front if self.team.of("sink") else None
        detects = bool(self.team.of("detect"))
        acked = self.load.acked
        return self.watch.run(
            lambda: check(self.watch.log, acked=acked, told=told, front=front, detects=detects), CHECK_S_MAX
        )

    def _wait_until_caught_up(self, since_s: float, roles: Sequence[str] = tuple(BEHIND_S)) -> None:
        """Return when these roles had done by then what was in the log at `since_s`, or after CATCH_UP_S_MAX."""
        team = {member.role for member in self.team} & set(roles)
        deadline = time.monotonic() + CATCH_UP_S_MAX
        while time.monotonic() < deadline and not self.team.problem:
            last = self.watch.looks[-1] if self.watch.looks else None
            if last is not None and last.at_s > since_s + FRESH_S and self._is_caught_up(last, team):
                return
            time.sleep(0.1)

    def _wait_until_ready(self, instances: Sequence[str]) -> None:
        deadline = time.monotonic() + READY_S
        for member in map(self.team.__getitem__, instances):
            while not member.is_ready() and time.monotonic() < deadline and not self.team.problem:
                time.sleep(0.2)

    def _is_caught_up(self, look: Look, roles: Collection[str]) -> bool:
        is_late = look.behind_s > DETECTION_BEHIND_S and "detect" in roles
        return not is_late and all(lag_s < BEHIND_S[role] for role, lag_s in look.lag_s.items() if role in roles)

    # ── the faults: each returns the open transactions it hit, and what to say of it ──

    def kill(self, fault: Fault) -> tuple[int, str]:
        """Kill processes, aimed at an open transaction of the first or not."""
        time.sleep(fault.seconds)
        members = [self.team[each] for each in fault.targets]
        ids = self._transactions_of(members)
        self._aim(fault, members[0], self._transactions_of(members[:1]))
        for member in members:
            member.kill()
        hits = len(ids & self.watch.transactions.open()) if ids else 0
        return hits, " (aimed)" if fault.is_aimed else ""

    def freeze(self, fault: Fault) -> tuple[int, str]:
        """Freeze a process and wake it later."""
        member = self.team[fault.targets[0]]
        ids = self._transactions_of([member])
        self._aim(fault, member, ids)
        member.freeze()
        hits = len(ids & self.watch.transactions.open()) if ids else 0
        time.sleep(fault.seconds)
        if fault.kind == "zombie":  # it wakes when others have gone on with what it had
            self._wait_until_caught_up(time.monotonic() - FRESH_S, [member.role])
        member.wake()
        return hits, f" for {fault.seconds} s{' (aimed)' * fault.is_aimed}"

    def move(self, fault: Fault) -> tuple[int, str]:
        """Let one of two members leave in order, and come back."""
        member = self.team[fault.targets[0]]
        self._leave(member)
        time.sleep(fault.seconds)
        member.come_back()
        return 0, f" for {fault.seconds} s"

    def roll(self, fault: Fault) -> tuple[int, str]:  # noqa: ARG002  # it concerns all
        """Restart every process in order, the next once the one before is ready again."""
        for member in self.team:
            self._leave(member)
            member.come_back()
            self._wait_until_ready([member.instance])
        return 0, ""

    def restart_broker(self, fault: Fault) -> tuple[int, str]:
        """Kill the broker and start it again."""
        open_now = self.watch.transactions.open()
        before = self.watch.run(self.watch.committed)
        self.broker.kill()
        time.sleep(fault.seconds)
        self.broker.start()
        after = self.watch.run(self.watch.committed, READY_S)
        back = {role: (before[role], at) for role, at in after.items() if _went_back(before[role], at)}
        if back:
            self.forgets += 1
            self.say(f"     the broker forgot commits: {back}")
        return 0, f" away for {fault.seconds} s, {len(open_now)} transactions open just before"

    def switch_rules(self, fault: Fault) -> tuple[int, str]:  # noqa: ARG002  # it concerns all
        """Put another rule set in force."""
        self.apply_rules()
        return 0, f": set {self._rule_sets}"

    def restart_clickhouse(self, fault: Fault) -> tuple[int, str]:
        """Kill ClickHouse and start it again on its port."""
        if self.front is None:
            return 0, ": there is none"
        self.front.kill()
        time.sleep(fault.seconds)
        self.front = Front(self._folder / "clickhouse", self.front.port)
        return 0, f" away for {fault.seconds} s"

    def claim(self, fault: Fault) -> tuple[int, str]:  # noqa: ARG002  # it concerns ClickHouse and all sinks
        """Let ClickHouse claim to have rows that it has not; see `claiming`."""
        front = self.front
        if front is None:
            return 0, ": there is none"
        sinks = self.team.of("sink")
        self.watch.run(lambda: stop_merges(front), CLAIM_S_MAX)
        with front.faults("no answer", of=f"{INSERTS}events "):  # rows are there, and no sink knows of it yet
            self._wait_until_broken(front)
            for sink in sinks:
                sink.is_wanted = False
                sink.kill()
        parts = self.watch.run(lambda: pending_parts(self.watch.log, front), CLAIM_S_MAX)
        front.kill()
        remove(parts)
        self.claimed += len(parts)
        self.front = Front(self._folder / "clickhouse", front.port)
        for sink in sinks:
            sink.come_back()
        return 0, f": {len(parts)} parts"

    def break_inserts(self, fault: Fault) -> tuple[int, str]:
        """Break the next inserts."""
        if self.front is None:
            return 0, ": there is none"
        with self.front.faults(*INSERT_FAULTS, of=INSERTS):
            self._wait_until_broken(self.front)
            time.sleep(fault.seconds)
            broken = _broken(self.front)
        return 0, f" for {fault.seconds} s, {broken} times"

    def refuse(self, fault: Fault) -> tuple[int, str]:
        """Let ClickHouse refuse what it is asked, all the while: as one that is full, read-only or locked does."""
        if self.front is None:
            return 0, ": there is none"
        what, of = REFUSALS[fault.refusal]
        with self.front.faults(*[what] * REFUSED_MAX, of=of):
            self._wait_until_broken(self.front)
            time.sleep(fault.seconds)
            broken = _broken(self.front)
        return 0, f" as {fault.refusal} for {fault.seconds} s, {broken} times"

    def _wait_until_broken(self, front: Front) -> None:
        """Return when a statement was broken, and is over: a sink may be just starting."""
        deadline = time.monotonic() + CATCH_UP_S_MAX
        while not _broken(front) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _leave(self, member: Member) -> None:
        code = member.leave()
        was_former_owner = (
            member.was_frozen and code == 1 and PUT_OUT.search(member.process.text()[-600:])
        )  # see `lives`
        if code not in (0, -9, -15) and not was_former_owner:  # 15: it had just begun, and heard no signal yet
            self.problems.append(
                f"{member.instance} ended with {code} when it was told to: {member.process.text()[-300:]}"
            )

    def _transactions_of(self, members: Sequence[Member]) -> set[str]:
        """Return the names of the transactions that these processes may have open."""
        names: set[str] = set()
        for member in members:
            if member.role in ROLES_OF_GROUPS:
                group, topic = ROLES_OF_GROUPS[member.role]
                names |= {f"{self._prefix}.{group}.{topic}.{each}" for each in member.partitions(topic)}
        return names

    def _aim(self, fault: Fault, member: Member, ids: set[str]) -> None:
        """Return when one of the transactions is open: the process is stopped then, so it stays open."""
        if not fault.is_aimed or not ids:
            return
        deadline = time.monotonic() + AIM_S_MAX
        while time.monotonic() < deadline:
            member.freeze()
            if ids & self.watch.transactions.open():
                return
            member.wake()
            time.sleep(AIM_PAUSE_S)


def _broken(front: Front) -> int:
    return len([each for each in front.seen() if each["fault"] and not each["is_running"]])


def _went_back(before: Mapping[int, int], after: Mapping[int, int]) -> bool:
    return any(after.get(partition, 0) < offset for partition, offset in before.items())


DOING: dict[str, Callable[[Rig, Fault], tuple[int, str]]] = {
    "kill": Rig.kill,
    "kill two": Rig.kill,
    "freeze": Rig.freeze,
    "zombie": Rig.freeze,
    "move": Rig.move,
    "roll": Rig.roll,
    "broker": Rig.restart_broker,
    "rules": Rig.switch_rules,
    "clickhouse": Rig.restart_clickhouse,
    "claim": Rig.claim,
    "inserts": Rig.break_inserts,
    "refused": Rig.refuse,
}


@contextlib.contextmanager
def running(
    broker: Broker,
    folder: Path,
    prefix: str,
    instances: Sequence[str],
    *,
    seed: int,
    plants: Mapping[str, str] | None = None,
    all_fail: bool = False,
) -> Generator[Rig]:
    """Start everything and yield it under load. `plants` says what is planted in roles."""
    roles = {each.partition("-")[0] for each in instances}
    env = kafka_environment(broker.bootstrap, prefix, partitions=PARTITIONS, samples_partitions=SAMPLES_PARTITIONS)
    (folder / "channels").mkdir()
    with ExitStack() as stack:
        hook = stack.enter_context(Hook())
        front: Front | None = None
        if "sink" in roles:
            front = Front(folder / "clickhouse")
            env |= front.environment
        env |= {"FLOWGAUGE_EGRESS_ALLOW": hook.address, "HOOK_SECRET": hook.secret}
        (folder / "channels" / "ops.yaml").write_text(CHANNELS.replace("ADDRESS", hook.address), encoding="utf-8")
        team = Team(
            env,
            folder,
            instances,
            more={"notify": ["--rules", "channels"]},
            planted={role: planted_command(plant) for role, plant in (plants or {}).items()},
        )
        assert run_command(team, "topics", "apply")[0] == 0
        watch = stack.enter_context(Watch(Connection(bootstrap=broker.bootstrap, prefix=prefix, instance="torture")))
        stack.enter_context(team)
        load = Load(seed, lambda: [member.url for member in team.of("gateway") if member.is_up], all_fail=all_fail)
        rig = Rig(broker=broker, team=team, watch=watch, load=load, folder=folder, prefix=prefix)
        rig.hook, rig.front = hook, front
        stack.callback(lambda: rig.front.kill() if rig.front else None)
        team.wait_until_ready(READY_S)
        if "match" in roles:
            rig.apply_rules()
        load.start()
        stack.callback(load.finish)
        rig.say(f"{len(instances)} processes are ready: {' '.join(instances)}")
        yield rig


def run_command(team: Team, *arguments: str) -> tuple[int, str]:
    """Run a command with the team's settings to its end; return its exit code and what it said."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        env=team.env,
        cwd=team.folder,
        timeout=READY_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
