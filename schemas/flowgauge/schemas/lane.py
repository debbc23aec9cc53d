"""The lane: by what name a transition's `notify` and the outbox know whom they tell: a channel, or an action to run.

How an action ended is an event itself, of one of ACTION_EVENTS.
"""

ACTION_PREFIX = "action:"  # no channel's name begins with it
EVENT_PREFIX = "flowgauge.action."
ACTION_EVENTS = tuple(f"{EVENT_PREFIX}{result}" for result in ("succeeded", "failed", "refused"))


def action_lane(action: str) -> str:
    """Return the lane of the action of this name."""
    return f"{ACTION_PREFIX}{action}"


def lane_words(lane: str) -> str:
    """Return a lane as people read it: the channel's name, or `action NAME`."""
    action = action_of(lane)
    return lane if action is None else f"action {action}"


def action_of(lane: str) -> str | None:
    """Return the name of the action that a lane runs, None for a channel's."""
    return lane.removeprefix(ACTION_PREFIX) if lane.startswith(ACTION_PREFIX) else None
