"""What a Prefect server or Prefect Cloud does when asked: run a deployment, pause and resume, cancel, change a state.

    do                                    asks
    run_deployment                        POST  /deployments/{id}/create_flow_run, its idempotency key the delivery's id
    pause_deployment, resume_deployment   POST  /deployments/{id}/pause_deployment, …/resume_deployment
    pause_work_pool, resume_work_pool     PATCH /work_pools/{name}
    cancel_flow_run, change_flow_run_state  POST /flow_runs/{id}/set_state

A deployment is named by its id or as FLOW/DEPLOYMENT, which is looked up first.
Source: Prefect's API reference, https://docs.prefect.io/v3/api-ref, and a Prefect 3 server.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Literal, cast
from urllib.parse import quote
from uuid import UUID

import msgspec
from pydantic import Field, JsonValue, model_validator

from flowgauge.schemas.setting_parts import SecretRef
from flowgauge.sinks.webhooks.actions.action_kind import ActionKind, OutcomeUnknown, json_bytes, judge_call
from flowgauge.sinks.webhooks.actions.templates import (
    TemplateJson,
    TemplateText,
    render_json,
    render_target,
    values_of,
)
from flowgauge.sinks.webhooks.egress import Answer, EgressFailed
from flowgauge.sinks.webhooks.kinds.kind import Means, Notice, Secret, Url, UrlRef, endpoint_of
from flowgauge.sinks.webhooks.schedule import Verdict

NO_SUCH = "Prefect knows no such deployment"
NOT_ACCEPTED = "Prefect did not accept the state"

Deed = Literal[
    "run_deployment",
    "pause_deployment",
    "resume_deployment",
    "pause_work_pool",
    "resume_work_pool",
    "cancel_flow_run",
    "change_flow_run_state",
]
StateType = Literal[
    "SCHEDULED", "PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "CANCELLING"
]
# The field that says what each is about.
_TARGETS: Mapping[Deed, Literal["deployment", "work_pool", "flow_run"]] = {
    "run_deployment": "deployment",
    "pause_deployment": "deployment",
    "resume_deployment": "deployment",
    "pause_work_pool": "work_pool",
    "resume_work_pool": "work_pool",
    "cancel_flow_run": "flow_run",
    "change_flow_run_state": "flow_run",
}


class PrefectCall(ActionKind):
    """A deed of Prefect's."""

    api_url: Annotated[Url, Field(description="Where the API is, such as https://HOST/api.")]
    key: Annotated[Secret | None, Field(description="Where the API key stands, if it wants one.")] = None
    do: Annotated[Deed, Field(description="What to do.")]
    deployment: Annotated[TemplateText | None, Field(description="Which deployment: its id, or FLOW/DEPLOYMENT.")] = (
        None
    )
    parameters: dict[str, TemplateJson] = Field(
        default={}, description="Of the run of a deployment; texts are templates."
    )
    work_pool: Annotated[TemplateText | None, Field(description="Which work pool, by name.")] = None
    flow_run: Annotated[TemplateText | None, Field(description="Which flow run, by id, such as {{ runs[0] }}.")] = None
    state: Annotated[StateType | None, Field(description="The state that the flow run is to have.")] = None

    @property
    def endpoint(self) -> str:
        """The API."""
        return endpoint_of(self.api_url)

    @property
    def urls(self) -> Mapping[str, UrlRef]:
        """The one."""
        return {"api_url": self.api_url}

    @property
    def secret_refs(self) -> Mapping[str, SecretRef]:
        """The key."""
        return {} if self.key is None else {"key": self.key}

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "PrefectCall":
        needed = {_TARGETS[self.do], *(("state",) if self.do == "change_flow_run_state" else ())}
        if missing := [name for name in sorted(needed) if getattr(self, name) is None]:
            raise ValueError(f"{self.do} needs `{missing[0]}`")
        extra = {"deployment", "work_pool", "flow_run", "state", "parameters"} - needed
        extra -= {"parameters"} if self.do == "run_deployment" else set()
        if unused := sorted(extra & self.model_fields_set):
            raise ValueError(f"`{unused[0]}` says nothing here: {self.do} does not use it")
        return self

    def shown(self, notice: Notice) -> str:
        """Return what is done to what, and with which parameters."""
        text = f"Prefect: {self.do} {self._target(notice)}"
        if self.state:
            text += f" to {self.state}"
        return f"{text}\n{json_bytes(self._parameters(notice)).decode()}" if self.parameters else text

    async def act(self, notice: Notice, means: Means, deadline_ms: int) -> Verdict:
        """Ask Prefect to do it."""
        client = _Client(self, means, deadline_ms)
        target = self._target(notice)
        match self.do:
            case "run_deployment" | "pause_deployment" | "resume_deployment":
                found = await client.deployment_id(target)
                if isinstance(found, Verdict):
                    return found
                if self.do != "run_deployment":
                    return judge_call(await client.ask("POST", f"deployments/{found}/{self.do}", None), means)
                wanted = {"parameters": self._parameters(notice), "idempotency_key": notice.delivery_id}
                return judge_call(await client.ask("POST", f"deployments/{found}/create_flow_run", wanted), means)
            case "pause_work_pool" | "resume_work_pool":
                is_paused = self.do == "pause_work_pool"
                asked = await client.ask("PATCH", f"work_pools/{_quoted(target)}", {"is_paused": is_paused})
                return judge_call(asked, means)
            case "cancel_flow_run" | "change_flow_run_state":
                state = self.state or "CANCELLING"
                asked_for = {"state": {"type": state}, "force": False}
                answer = await client.ask("POST", f"flow_runs/{_quoted(target)}/set_state", asked_for)
                verdict = judge_call(answer, means)
                if verdict.outcome == "delivered" and not _is_accepted(answer, state):
                    return Verdict("dead", NOT_ACCEPTED, answer.status, answer.elapsed_ms)
                return verdict

    def _target(self, notice: Notice) -> str:
        field = _TARGETS[self.do]
        return render_target(getattr(self, field) or "", values_of(notice), field.replace("_", " "))

    def _parameters(self, notice: Notice) -> dict[str, JsonValue]:
        values = values_of(notice)
        return {name: render_json(value, values) for name, value in self.parameters.items()}


class _Client:
    """Asks one Prefect API, all of one attempt within its deadline."""

    def __init__(self, call: PrefectCall, means: Means, deadline_ms: int) -> None:
        self._call = call
        self._means = means
        self._ends = asyncio.get_running_loop().time() + deadline_ms / 1000

    async def deployment_id(self, target: str) -> str | Verdict:
        """Return the id of a deployment, or why nobody can know it: so far nothing was done."""
        if _is_id(target):
            return target
        flow, _, deployment = target.partition("/")
        if {flow, deployment} & {"", ".", ".."}:
            return Verdict("dead", NO_SUCH)
        try:
            answer = await self.ask("GET", f"deployments/name/{_quoted(flow)}/{_quoted(deployment)}", None)
            verdict = judge_call(answer, self._means)
        except EgressFailed as failed:
            return Verdict("failed", failed.reason.value)
        except OutcomeUnknown as unknown:
            return unknown.verdict
        if verdict.outcome != "delivered":
            return Verdict("dead", NO_SUCH, 404, answer.elapsed_ms) if answer.status == 404 else verdict
        found = _fields(answer).get("id")
        return found if isinstance(found, str) and _is_id(found) else Verdict("dead", NO_SUCH, answer.status)

    async def ask(self, method: str, path: str, body: object) -> Answer:
        """Send one request; raise EgressError, or CannotRender for a body that is too large."""
        written = self._means.url(self._call.api_url).rstrip("/")
        sent = b"" if body is None else json_bytes(body)
        headers = {"accept": "application/json"} | ({"content-type": "application/json"} if sent else {})
        if self._call.key is not None:
            headers["authorization"] = f"Bearer {self._means.secret(self._call.key)}"
        left_ms = max(1, round((self._ends - asyncio.get_running_loop().time()) * 1000))
        return await self._means.egress.request(method, f"{written}/{path}", sent, headers, deadline_ms=left_ms)


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _is_accepted(answer: Answer, wanted: str) -> bool:
    """Tell whether the flow run has the state that was wanted: Prefect answers 2xx where its rules say otherwise, too.

    A run that has not begun is `CANCELLED` in place of `CANCELLING`.
    """
    fields = _fields(answer)
    state = fields.get("state")
    became = cast("dict[str, object]", state).get("type") if isinstance(state, dict) else None
    return fields.get("status") not in {"ABORT", "REJECT", "WAIT"} or (
        became == wanted or (wanted == "CANCELLING" and became == "CANCELLED")
    )


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _fields(answer: Answer) -> Mapping[str, object]:
    """Return the fields of an answer; none of one that is cut or no object."""
    try:
        return msgspec.json.decode(answer.body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
