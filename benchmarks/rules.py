"""The rules that the benchmarks detect with: 50 as some teams would have them, and ten of them for the replay."""

from benchmarks.generator import PATHS
from flowgauge.processors.ruleset import RuleSet, parse_rules

# Of every tenant: whoever runs the platform wrote these.
_PLATFORM = """
rules:
  - name: flows fail
    for_each: [flow]
    when: {failure_rate: {above: 20%, within: 6h, min_samples: 5, clear_below: 10%}}
    keep_firing_for: 5m
  - name: flows start late
    for_each: [flow]
    when: {late: {after: 5m, at_least: 1, within: 15m}}
  - name: critical flow failed
    match: {kind: flow-run, state: [failed, crashed], related.tag.id: prefect.tag.critical}
    for_each: [flow]
    when: {event: {}}
  - name: critical flows fail
    match: {related.tag.id: "*critical"}
    when: {failure_rate: {above: 5%, within: 1h, min_samples: 10}}
    for: 2m
  - name: tasks crash
    match: {kind: task-run, state: [crashed, failed]}
    for_each: [flow]
    when: {event: {times: 20, within: 10m}}
"""

_POOL = """
  - name: pool {pool} fails
    match: {{kind: flow-run, state: failed, related.work-pool.id: prefect.work-pool.pool-{pool}}}
    for_each: [related.work-pool.name]
    when: {{event: {{times: 20, within: 10m}}}}
"""

_PATH = """
  - name: {path} fails in production
    match: {{flow: ["{path}-*", "!{path}-000"], resource.env: prod}}
    for_each: [flow]
    when: {{failure_rate: {{above: 30%, within: 2h, min_samples: 3}}}}
"""

_TEAM = """
  - name: our failures
    tenant: team-{team:02d}
    match: {{flow: ["*", "!notify-*"]}}
    when: {{failure_rate: {{above: 10%, within: 1h, min_samples: 5}}}}
  - name: our starts
    tenant: team-{team:02d}
    match: {{resource.env: "prod*"}}
    for_each: [flow]
    when: {{late: {{after: 2m, at_least: 1, within: 10m}}}}
  - name: our retries
    tenant: team-{team:02d}
    match: {{event: "*.flow-run.Retrying"}}
    for_each: [flow]
    when: {{event: {{times: 3, within: 1h}}}}
"""


def fifty_rules() -> RuleSet:
    """Return 14 rules of every tenant and 36 of single teams, as version 1."""
    return version_1(fifty_rules_text())


def fifty_rules_text() -> str:
    """Return the same as a rule file says them."""
    paths = "".join(_PATH.format(path=path) for path in PATHS)
    return _PLATFORM + _pools(4) + paths + _teams(12)


def ten_rules() -> RuleSet:
    """Return ten rules, seven of which see every tenant."""
    return version_1(ten_rules_text())


def ten_rules_text() -> str:
    """Return the same as a rule file says them."""
    return _PLATFORM + _pools(1) + _PATH.format(path=PATHS[0]) + _teams(1)


def _pools(count: int) -> str:
    return "".join(_POOL.format(pool=pool) for pool in range(count))


def _teams(count: int) -> str:
    return "".join(_TEAM.format(team=team) for team in range(count))


def version_1(text: str) -> RuleSet:
    """Return the rules of a file's text as the first set."""
    return RuleSet(parse_rules("benchmark.yaml", text).rules, 1)
