"""The rule index finds every rule that matches an event, and tries few that do not."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from flowgauge.processors.rule_index import RuleIndex
from flowgauge.processors.rule_view import RuleView
from flowgauge.processors.ruleset import RuleSet, parse_rules
from flowgauge.schemas.event import Event, Glance
from flowgauge.schemas.times import EPOCH

VALUES = ("a", "b", "c")
TENANTS = ("red", "blue")
PATTERNS = st.lists(st.sampled_from((*VALUES, "a*", "!b", "!c*", "*")), min_size=1, max_size=3, unique=True)
FIELDS = ("flow", "task", "resource.env", "related.tag.id", "related.flow.name", "event", "state")
TAGS = st.lists(st.tuples(st.sampled_from(("tag", "flow")), st.sampled_from(("id", "name")), st.sampled_from(VALUES)))


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    """Draw rules of both tenants and of all, some of one name."""
    rules: list[str] = []
    names = draw(st.lists(st.tuples(st.sampled_from(("*", *TENANTS)), st.integers(0, 4)), unique=True, max_size=8))
    for tenant, name in names:
        match = draw(st.dictionaries(st.sampled_from(FIELDS), PATTERNS, max_size=3))
        match.pop("state", None)
        text = ", ".join(f"{field}: [{', '.join(map(repr, patterns))}]" for field, patterns in match.items())
        rules.append(
            f"  - {{name: r{name}, tenant: '{tenant}', match: {{{text}}}, missing_key: share, when: {{event: {{}}}}}}\n"
        )
    return RuleSet(parse_rules("rules.yaml", f"rules:\n{''.join(rules)}").rules if rules else (), 1)


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Draw an event that has some of FIELDS."""
    one = st.none() | st.sampled_from(VALUES)
    env = draw(one)
    return Event(
        id=uuid.UUID(int=1),
        tenant=draw(st.sampled_from(TENANTS)),
        occurred=EPOCH,
        event=draw(st.sampled_from(VALUES)),
        kind="other",
        flow=draw(one),
        task=draw(one),
        resource={"id": "it"} if env is None else {"id": "it", "env": env},
        related=[{"id": "x", "role": role, label: value} for role, label, value in draw(TAGS)],
    )


@given(rule_sets(), st.lists(events(), min_size=1, max_size=5))
def test_every_rule_that_matches_is_found_once_and_in_order(ruleset: RuleSet, told: list[Event]) -> None:
    index, view = RuleIndex(ruleset), RuleView(ruleset)
    for event in told:
        found = index.candidates(Glance(event.event, event.tenant, event.kind, event.state)).of(event)

        assert [place for place, _ in found] == sorted({place for place, _ in found})
        assert [place for place, item in found if all(test(event) for test in item.predicates)] == [
            place
            for place, item in enumerate(ruleset.rules)
            if view.sees(item.uid, event.tenant)
            and item.could_match(event.event, event.kind, event.state)
            and all(test(event) for test in item.predicates)
        ]


@given(st.integers(2, 40))
def test_of_rules_about_a_flow_each_only_its_own_are_tried(flows: int) -> None:
    rules = "".join(
        f"  - {{name: r{flow}, match: {{resource.env: prod, flow: f{flow}}}, when: {{event: {{}}}}}}\n"
        for flow in range(flows)
    )
    index = RuleIndex(RuleSet(parse_rules("rules.yaml", f"rules:\n{rules}").rules, 1))
    event = Event(
        id=uuid.UUID(int=1),
        tenant="red",
        occurred=EPOCH,
        event="x",
        flow="f1",
        resource={"id": "it", "env": "prod"},
    )

    tried = index.candidates(Glance("x", "red", "other", None)).of(event)

    assert [item.name for _, item in tried] == ["r1"]
