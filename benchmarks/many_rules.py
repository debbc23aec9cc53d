"""The matcher with ten, a thousand and ten thousand rules: what a rule costs the events that it is not about.

Ten of them are those of the replay. The others are about a flow, a deployment or a work pool each, as people write them
for what they own; a share of the flows have events. Of teams: each of fifty has as many of them. Of everyone: each sees
the events of every tenant.
"""

from functools import partial

from benchmarks.generator import PATHS, TENANTS, made_events
from benchmarks.measure import Line, Steps, best_of
from benchmarks.pure import BATCH_RECORDS, batches_of, matched_by, new_matcher
from benchmarks.rules import ten_rules_text, version_1

PASSES = 3
COUNTS = (10, 1_000, 10_000)

_RULE = """
  - name: {what} {number} fails
    tenant: "{tenant}"
    match: {{{field}: {value}}}
    for_each: [flow]
    when: {{failure_rate: {{above: 20%, within: 1h, min_samples: 5}}}}
"""
_ABOUT = (
    ("flow", "flow", "{path}-{number:03d}"),
    ("deployment", "related.deployment.id", "prefect.deployment.{number:08x}-93ab-4f02-b1a2-0d4e6f0c77aa"),
    ("pool", "related.work-pool.name", "pool-{number}"),
)


def bench_many_rules(events: int) -> Line:
    """Bytes in, sample messages out, by how many rules there are and whose. The first pass makes the index too."""
    batches = batches_of(made_events(events), BATCH_RECORDS)
    steps, told = Steps(), dict[str, float]()
    for whose in ("teams", "everyone"):
        for count in COUNTS:
            ruleset = version_1(_text(count, whose))
            matcher = new_matcher({1: ruleset})
            with steps.step(f"first pass, {count} of {whose}"):
                messages = matched_by(matcher, batches)
            passes = partial(matched_by, matcher, batches)
            told[f"us_per_event_{count}_of_{whose}"] = best_of(PASSES, passes)[0] / events * 1e6
            told[f"samples_{count}_of_{whose}"] = sum(len(message.samples) for message in messages)
    return steps.line("many-rules", events).noting(**told)


def _text(count: int, whose: str) -> str:
    rules = (_rule(number, f"team-{number % TENANTS:02d}" if whose == "teams" else "*") for number in range(count - 10))
    return ten_rules_text() + "".join(rules)


def _rule(number: int, tenant: str) -> str:
    what, field, value = _ABOUT[number % len(_ABOUT)]
    about = value.format(number=number, path=PATHS[number % len(PATHS)])
    return _RULE.format(what=what, number=number, tenant=tenant, field=field, value=about)
