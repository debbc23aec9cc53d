"""The circuits: an endpoint that only fails is left alone, and asked now and then whether it is well again. Pure.

    closed ──OPEN_AFTER failures in a row──► open ──a probe is due──► one attempt ──delivered──► closed
                                              ▲                            └──failed──┐
                                              └──── longer, up to ten minutes ────────┘
    gone: it answered 410, or nothing but failures came for DISABLE_AFTER_MS. Nothing goes there until channels change
    or the notifier starts again.

An answer that refuses one message, such as 400, is no failure of the endpoint. Kept in memory: a start asks anew.
"""

from dataclasses import dataclass, field

from flowgauge.sinks.webhooks.schedule import GONE, Verdict

OPEN_AFTER = 5  # failures in a row
PROBE_AFTER_MS = (30_000, 60_000, 120_000, 300_000, 600_000)  # the last again and again
DISABLE_AFTER_MS = 5 * 24 * 3_600_000  # longer than any schedule: nothing that was owed when it began is owed still
ENDPOINTS_MAX = 20_000  # of which something is remembered: twice as many as channels can be

CIRCUIT_OPEN = "not tried: its endpoint only failed of late"
DISABLED = "endpoint disabled: nothing but failures for five days"


@dataclass(slots=True)
class _Circuit:
    failures: int = 0  # in a row
    since_ms: int = 0  # when the first of them was
    probes: int = 0
    probe_ms: int = 0  # when the next may go
    asked_ms: int = 0  # when somebody was last asked for one
    is_probing: bool = False
    reason: str = ""  # of the newest failure
    gone: str = ""  # why nothing goes there any more


@dataclass(slots=True)
class Circuits:
    """How each endpoint is, as far as attempts have shown."""

    _circuits: dict[str, _Circuit] = field(default_factory=dict[str, _Circuit])

    def refusal(self, endpoint: str, now_ms: int) -> Verdict | None:
        """Return what comes of an attempt that is not to be made; None lets it go, and as a probe no other one."""
        circuit = self._circuits.get(endpoint)
        if circuit is None or not (circuit.gone or circuit.failures >= OPEN_AFTER):
            return None
        if circuit.gone:
            return Verdict("dead", circuit.gone)
        if circuit.is_probing or now_ms < circuit.probe_ms:
            return Verdict("failed", f"{CIRCUIT_OPEN}: {circuit.reason}", was_tried=False)
        circuit.is_probing = True
        return None

    def note(self, endpoint: str, verdict: Verdict, now_ms: int) -> None:
        """Take in what came of an attempt."""
        if verdict.is_gone:
            self._of(endpoint).gone = verdict.reason or GONE
        elif not verdict.was_tried:
            self._of(endpoint).is_probing = False
        elif verdict.outcome != "failed":
            self._circuits.pop(endpoint, None)
        else:
            self._note_failure(self._of(endpoint), verdict, now_ms)

    def due(self, now_ms: int) -> set[str]:
        """Return the endpoints that may be probed now: each once, and again when no probe came of it."""
        found = {name for name, each in self._circuits.items() if self._waits(each) and each.probe_ms <= now_ms}
        asked = {name for name in found if abs(now_ms - self._circuits[name].asked_ms) >= PROBE_AFTER_MS[0]}
        for name in asked:
            self._circuits[name].asked_ms = now_ms
        return asked

    def is_open(self, endpoint: str) -> bool:
        """Tell whether the endpoint is left alone."""
        circuit = self._circuits.get(endpoint)
        return bool(circuit and (circuit.gone or circuit.failures >= OPEN_AFTER))

    def count_open(self) -> int:
        """Return how many endpoints are left alone."""
        return sum(map(self.is_open, self._circuits))

    def forget(self) -> None:
        """Ask every endpoint anew: somebody who mended them changed channels."""
        self._circuits.clear()

    def _waits(self, circuit: _Circuit) -> bool:
        return circuit.failures >= OPEN_AFTER and not (circuit.gone or circuit.is_probing)

    def _note_failure(self, circuit: _Circuit, verdict: Verdict, now_ms: int) -> None:
        circuit.failures += 1
        circuit.reason = verdict.reason
        circuit.since_ms = min(circuit.since_ms or now_ms, now_ms)
        opens, circuit.is_probing = circuit.is_probing or circuit.failures == OPEN_AFTER, False
        if now_ms - circuit.since_ms >= DISABLE_AFTER_MS:
            circuit.gone = DISABLED
        if opens:
            wait_ms = PROBE_AFTER_MS[min(circuit.probes, len(PROBE_AFTER_MS) - 1)]
            circuit.probe_ms = now_ms + max(wait_ms, min(verdict.retry_after_ms, PROBE_AFTER_MS[-1]))
            circuit.probes += 1

    def _of(self, endpoint: str) -> _Circuit:
        circuit = self._circuits.pop(endpoint, None) or _Circuit()
        self._circuits[endpoint] = circuit  # at the end: the one heard of least lately is forgotten at the bound
        if len(self._circuits) > ENDPOINTS_MAX:
            del self._circuits[next(iter(self._circuits))]
        return circuit
