"""Rules of every kind for the generated week. Each is quiet some hours after the last event: see `histories`."""

from benchmarks.rules import fifty_rules_text
from tests.integration.up_process import RULES as OF_CAPTURES

OF_EVERY_KIND = """
rules:
  - name: budget of a pool burns
    for_each: [related.work-pool.name]
    when:
      burn_rate:
        objective: 90%
        pairs: [{above: 3, within: 6h, short: 30m}, {above: 5, within: 2h, short: 10m}]
        min_samples: 5
    keep_firing_for: 10m
  - name: failures in a row
    for_each: [flow]
    when: {consecutive_failures: {times: 3}}
  - name: failures in a row within hours
    match: {related.work-pool.name: "pool-*"}
    for_each: [related.work-pool.name]
    when: {consecutive_failures: {times: 4, within: 2h}}
    no_data: resolve
  - name: slots are missed
    match: {flow: "load-*"}
    for_each: [flow]
    when: {missed: {every: 2h, grace: 15m, completes_within: 40m}}
    keep_firing_for: 5m
  - name: a flow is silent
    match: {flow: "transform-*"}
    for_each: [flow]
    when: {absence: {after: 3h}}
  - name: a run is silent
    match: {flow: "publish-*", kind: flow-run, state: [pending, running]}
    for_each: [run]
    when: {absence: {after: 5m}}
  - name: runs take long
    match: {flow: "extract-*"}
    for_each: [flow]
    when: {duration: {above: 9m}}
  - name: most runs take long
    for_each: [related.tag.id]
    when: {duration: {above: 8m, quantile: 60%, within: 2h, clear_below: 7m}}
    no_data: resolve
  - name: more failures than before
    tenant: team-03
    for_each: [related.work-pool.name]
    when: {change: {of: failures, within: 30m, trailing: 6h, min_samples: 3}}
  - name: fewer runs than before
    tenant: team-02
    when: {change: {of: runs, within: 15m, trailing: 4h, direction: both, factor: 1.3, sigma: 1}}
  - name: runs take longer than before
    tenant: team-03
    for_each: [related.work-pool.name]
    when: {change: {of: duration, within: 30m, trailing: 5h, factor: 1.1, sigma: 0.5, min_samples: 3}}
  - name: fails again
    for_each: [flow]
    when: {sequence: {steps: [{event: "*.flow-run.Failed"}, {event: "*.flow-run.Failed"}], within: 1h}}
  - name: does not start
    match: {flow: "notify-*"}
    for_each: [run]
    when: {sequence: {steps: [{state: pending}, {state: running}], within: 3m, fires_when: incomplete}}
  - name: a pool fails and starts late
    for_each: [related.work-pool.name]
    when:
      all_of:
        within: 1h
        conditions:
          - {when: {failure_rate: {above: 25%, within: 1h, min_samples: 3}}, for: 1m}
          - {when: {late: {after: 5m, within: 30m}}}
          - {match: {state: failed}, when: {event: {}}}
  - name: one of these
    for_each: [flow]
    when:
      any_of:
        conditions:
          - failures in a row
          - {match: {flow: "load-*"}, when: {absence: {after: 4h}}, for: 5m}
          - {match: {flow: "load-*"}, when: {duration: {above: 590s}}, keep_firing_for: 2m}
  - name: an automation counts failures
    when:
      prefect:
        posture: Reactive
        match: {prefect.resource.id: "*"}
        expect: [prefect.flow-run.Failed]
        for_each: ["related:work-pool:prefect.resource.name"]
        threshold: 3
        within: 15m
  - name: an automation waits for a start
    when:
      prefect:
        posture: Proactive
        match: {prefect.resource.id: "prefect.flow-run.*"}
        after: [prefect.flow-run.Pending]
        expect: [prefect.flow-run.Running]
        for_each: [prefect.resource.id]
        within: 5m
"""
RULE_FILES = {"teams.yaml": fifty_rules_text(), "kinds.yaml": OF_EVERY_KIND, "captures.yaml": OF_CAPTURES}
