"""Action files: what they may say, how mistakes are told without secrets, and what templates give."""

import pytest
from tests.actions_about import firing, notice

from flowgauge.schemas.errors import InvalidRules
from flowgauge.schemas.setting_parts import SecretFromEnv
from flowgauge.sinks.webhooks.actions.action import Action, parse_actions
from flowgauge.sinks.webhooks.actions.action_kind import REQUEST_BYTES_MAX, json_bytes
from flowgauge.sinks.webhooks.actions.templates import CannotRender, render_json, render_target, render_text, values_of

GOOD = """
actions:
  - name: restart
    http:
      url: https://robot.example/T0KEN
      headers: {authorization: {env: ROBOT}, x-kind: flowgauge}
      body: {text: "{{ flow }} is {{ state }}", tags: [a, "{{ severity }}"], count: 3, nothing: null}
  - name: restart
    tenant: acme
    prefect: {api_url: {env: PREFECT}, key: {file: /run/key}, do: run_deployment, deployment: etl/prod}
  - {name: tidy, command: {run: [/usr/bin/tidy, --all]}, limit: {count: 1, per: 5m}, timeout: 1m}
"""


def one(fields: str) -> str:
    return f"actions:\n- name: a\n  {fields}"


def the_action(fields: str) -> Action:
    (action,) = parse_actions("a.yaml", one(fields)).actions
    return action


def test_a_tenants_action_hides_everybodys_and_is_not_for_others() -> None:
    book = parse_actions("a.yaml", GOOD)

    acme, other = book.find("acme", "restart"), book.find("other", "restart")

    assert acme is not None
    assert other is not None
    assert (acme.kind_name, other.kind_name) == ("prefect", "http")
    assert other.references == {"headers.authorization": SecretFromEnv(env="ROBOT")}
    assert set(acme.references) == {"api_url", "key"}
    assert book.find("acme", "nothing") is None


def test_a_url_is_never_shown() -> None:
    book = parse_actions("a.yaml", GOOD)

    assert "T0KEN" not in repr(book)
    assert "T0KEN" not in "".join(action.deed.shown(notice()) for action in book.actions)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            "timeout: 61s\n  command: {run: [/bin/true]}",
            "a.yaml:3:3: actions[0].timeout: expected at most 60s, got 61s",
        ),
        ("command: {run: [true.sh]}", "got 'true.sh'"),
        ("command: {run: [/bin/../true]}", "got '/bin/../true'"),
        ("command: {run: []}", "a.yaml:3:13: actions[0].command.run"),
        ("limit: {count: 0}\n  command: {run: [/bin/true]}", "a.yaml:3:11: actions[0].limit.count"),
        ("limit: {per: 32d}\n  command: {run: [/bin/true]}", "expected at most 31d, got 32d"),
        ("dry_run: false", "expected one of: http, prefect, command"),
        (
            "command: {run: [/bin/true]}\n  http: {url: 'https://h'}",
            "expected one of: http, prefect, command; got http and command",
        ),
        ("http: {url: 'https://h', body: {a: '{{ flow'}}", "a.yaml:3:28: actions[0].http.body"),
        ("http: {url: 'https://h', body: ['{% for x in y %}{% endfor %}']}", "`for` is not available in a summary"),
        ("http: {url: 'https://h', method: TRACE}", "a.yaml:3:28: actions[0].http.method"),
        ("http: {url: 'https://h', method: GET, body: {}}", "`body` says nothing here: a GET has none"),
        ("http: {url: 'https://h', headers: {'a b': c}}", "actions[0].http.headers"),
        ("http: {url: 'https://h', headers: {a: \"b\\r\\nc\"}}", "a header's value is one line of ASCII"),
        (
            "prefect: {api_url: 'https://p', do: cancel_flow_run}",
            "a.yaml:3:3: actions[0].prefect: cancel_flow_run needs `flow_run`",
        ),
        (
            "prefect: {api_url: 'https://p', do: change_flow_run_state, flow_run: x}",
            "change_flow_run_state needs `state`",
        ),
        (
            "prefect: {api_url: 'https://p', do: pause_deployment, deployment: x, parameters: {a: 1}}",
            "`parameters` says nothing here: pause_deployment does not use it",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(fields: str, told: str) -> None:
    with pytest.raises(InvalidRules) as caught:
        parse_actions("a.yaml", one(fields))

    (problem,) = caught.value.problems
    assert told in str(problem)


def test_every_mistake_is_told_and_a_second_of_its_name_too() -> None:
    with pytest.raises(InvalidRules) as caught:
        parse_actions(
            "a.yaml", "actions:\n- 7\n- {name: a, command: {run: [/bin/a]}}\n- {name: a, command: {run: [/bin/b]}}"
        )

    assert [str(problem) for problem in caught.value.problems] == [
        "a.yaml:2:3: actions[0]: expected an action (write `- name:` and `http:` or another kind below it)",
        "a.yaml:4:4: actions[2].name: a second action 'a' (rename one of them)",
    ]


def test_texts_of_a_body_are_rendered_and_all_else_stays() -> None:
    written = the_action(
        "http: {url: 'https://h', body: {a: ['{{ flow }} {{ value|percent }}', 3, null], '{{ b }}': {c: d}}}"
    )

    assert written.http is not None
    assert render_json(written.http.body, values_of(notice())) == {"a": ["orders 60%", 3, None], "{{ b }}": {"c": "d"}}


def test_a_name_cannot_add_to_the_json_around_it() -> None:
    sly = '", "admin": true, "x": "'

    rendered = json_bytes(render_json({"flow": "{{ flow }}"}, values_of(notice(firing(sly)))))

    assert rendered == b'{"flow":"\\", \\"admin\\": true, \\"x\\": \\""}'


def test_the_incidents_own_names_are_there_and_a_text_without_a_template_is_as_it_was() -> None:
    values = values_of(notice())

    rendered = render_text("{{ summary }} {{ link }} {{ at }} {{ runs[0] }}{{ nobody }}", values)

    link = f"https://flowgauge.example/incidents/{firing().incident_id}"
    assert rendered == f"orders: 60% failed {link} 2027-01-15T08:00:00.000Z run-1"
    assert render_text("two\nlines", values) == "two\nlines"


@pytest.mark.parametrize("template", ["{{ nobody }}", " ", "..", "{{ labels.x }}"])
def test_nothing_is_done_to_a_target_that_is_not_there(template: str) -> None:
    with pytest.raises(CannotRender, match="its flow run is empty here"):
        render_target(template, values_of(notice()), "flow run")


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(CannotRender, match="larger than 20 kB"):
        json_bytes(["x" * REQUEST_BYTES_MAX])
