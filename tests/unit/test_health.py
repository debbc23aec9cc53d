"""Health: who may see what of it, and what is said to programs."""

from flowgauge.console.web.banner import banner
from flowgauge.console.web.incident_json import health_json
from flowgauge.transport.health import Health, TenantHealth

NOW = 1_800_000_000_000


def two_tenants() -> Health:
    return Health(
        clock_ms=NOW,
        accepted=7,
        undelivered=3,
        undelivered_since_ms=NOW - 9,
        problems={"rules": "broken"},
        tenants={
            "acme": TenantHealth(
                accepted=5, undelivered=1, undelivered_since_ms=NOW - 2, problems={"channel ops": "acme's"}
            ),
            "beta": TenantHealth(accepted=2, problems={"channel ops": "beta's", "channel secret": "beta's too"}),
        },
    )


def test_a_tenant_sees_its_own_and_what_all_share() -> None:
    seen = two_tenants().seen_by("acme", is_operator=False)

    assert seen.problems == {"rules": "broken", "channel ops": "acme's"}
    assert (seen.accepted, seen.undelivered, seen.undelivered_since_ms) == (5, 1, NOW - 2)
    assert not any("beta" in text for line in seen.problems.items() for text in line)
    assert seen.tenants == {}


def test_a_tenant_nobody_has_heard_of_sees_only_what_all_share() -> None:
    health = two_tenants()

    seen = health.seen_by("new", is_operator=False)

    assert (seen.problems, seen.accepted, seen.undelivered) == ({"rules": "broken"}, 0, 0)
    assert "new" not in health.tenants


def test_an_operator_sees_everybodys_problems_apart_and_the_sums() -> None:
    seen = two_tenants().seen_by("acme", is_operator=True)

    assert seen.problems == {
        "rules": "broken",
        "channel ops": "acme's",
        "tenant beta: channel ops": "beta's",
        "tenant beta: channel secret": "beta's too",
    }
    assert (seen.accepted, seen.undelivered) == (7, 3)


def test_what_names_others_is_for_the_operator_and_a_tenant_sees_a_plain_line_in_its_place() -> None:
    health = Health(
        problems={"rules": "not applied"},
        operator_problems={"rules": "beta.yaml:3:1: rules[0]: wrong", "notify": "no channel of beta is called 'ops'"},
    )

    assert health.seen_by("acme", is_operator=True).problems == health.operator_problems
    seen = health.seen_by("acme", is_operator=False)
    assert (seen.problems, seen.operator_problems) == ({"rules": "not applied"}, {})


def test_the_banner_of_a_tenant_does_not_turn_red_for_anothers_channel() -> None:
    health = Health(clock_ms=NOW, tenants={"beta": TenantHealth(problems={"channel ops": "beta's"})})

    assert banner(health.seen_by("acme", is_operator=False), NOW).tone == "is-resolved"
    assert banner(health.seen_by("beta", is_operator=False), NOW).lines == ("channel ops: beta's",)


def test_what_programs_are_told_is_a_whole_sentence() -> None:
    assert health_json(Health(clock_ms=NOW), NOW)["says"] == (
        "Everything works. Detection has seen all until 2027-01-15T08:00:00.000Z"
    )
    assert health_json(Health(clock_ms=NOW, problems={"sink": "disk full"}), NOW)["says"] == (
        "A part of flowgauge needs attention"
    )
