"""The guard: what keeps actions from being run too often, in circles, or while somebody has stopped them. Pure.

Asked before each attempt, in this order:

    switched off     by the settings (actions.enabled), or by people (`flowgauge actions stop`)
    set off by what actions did, and the action does not follow them; or the chain of them is too long
    limit            its rule has run the action `count` times within `per`

A limit counts deliveries: what is tried again is the same. It is kept in memory: a restart begins to count anew.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flowgauge.schemas.transition import Transition
from flowgauge.sinks.webhooks.actions.action import Action
from flowgauge.sinks.webhooks.actions.result import CHAIN_MAX, REFUSED, chain_of
from flowgauge.sinks.webhooks.schedule import Verdict

PAIRS_MAX = 10_000  # of actions and rules that are counted; beyond, the one that ran longest ago is forgotten

SWITCHED_OFF = f"{REFUSED}actions are switched off in the settings"
STOPPED = f"{REFUSED}actions are stopped"
OWN_EVENT = f"{REFUSED}set off by what an action did"
LONG_CHAIN = f"{REFUSED}{CHAIN_MAX} actions set off each other"
TOO_OFTEN = f"{REFUSED}the rule ran it as often as its limit allows"

_Pair = tuple[str, str, str]  # tenant, action, rule


def _is_never_stopped(_tenant: str) -> bool:
    return False


@dataclass(slots=True)
class ActionGuard:
    """What was run lately, and whether anything may run at all."""

    is_enabled: bool = True  # by the settings
    is_stopped: Callable[[str], bool] = _is_never_stopped  # whether people have stopped the actions of a tenant
    refused: Counter[str] = field(init=False, default_factory=Counter[str])  # by reason, since start
    _ran: OrderedDict[_Pair, OrderedDict[str, int]] = field(
        init=False, default_factory=OrderedDict[_Pair, OrderedDict[str, int]]
    )  # when each transition was first let through, in order

    def refusal(self, action: Action, transition: Transition, now_ms: int) -> Verdict | None:
        """Return why the action may not run for this transition now, None when it may; it changes no limit."""
        reason = self._reason(action, transition, now_ms)
        if reason is None:
            return None
        self.refused[reason] += 1
        return Verdict("dead", reason)

    def note(self, action: Action, transition: Transition, now_ms: int) -> None:
        """Count an attempt that begins; those at the same transition count once."""
        pair = _pair(action, transition)
        ran = self._ran.setdefault(pair, OrderedDict())
        _forget_before(ran, now_ms - action.limit.per_ms, now_ms)
        ran.setdefault(transition.transition_id, now_ms)
        self._ran.move_to_end(pair)
        if len(self._ran) > PAIRS_MAX:
            self._ran.popitem(last=False)

    @property
    def counted(self) -> Mapping[_Pair, int]:
        """How many deliveries are remembered of each tenant, action and rule."""
        return {pair: len(ran) for pair, ran in self._ran.items()}

    def _reason(self, action: Action, transition: Transition, now_ms: int) -> str | None:
        if not self.is_enabled:
            return SWITCHED_OFF
        if self.is_stopped(transition.tenant):
            return STOPPED
        chain = chain_of(transition)
        if chain and not action.follows_actions:
            return OWN_EVENT
        if chain >= CHAIN_MAX:
            return LONG_CHAIN
        ran = self._ran.get(_pair(action, transition), OrderedDict[str, int]())
        if transition.transition_id in ran:
            return None
        since_ms = now_ms - action.limit.per_ms
        return TOO_OFTEN if sum(at_ms > since_ms for at_ms in ran.values()) >= action.limit.count else None


def _pair(action: Action, transition: Transition) -> _Pair:
    return transition.tenant, action.name, transition.rule


def _forget_before(ran: OrderedDict[str, int], since_ms: int, now_ms: int) -> None:
    """Forget what no limit counts any more; what lies in the future of a clock that stepped back is as of now."""
    for name in [name for name, at_ms in ran.items() if at_ms <= since_ms]:
        del ran[name]
    for name, at_ms in ran.items():
        ran[name] = min(at_ms, now_ms)
