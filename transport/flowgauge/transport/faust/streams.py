"""The topics that users' agents may read, each by its noun."""

from flowgauge.schemas.delivery import Delivery
from flowgauge.schemas.event import Event
from flowgauge.schemas.transition import Transition
from flowgauge.transport.faust.app import App
from flowgauge.transport.faust.record_form import DELIVERY_FORM, EVENT_FORM, TRANSITION_FORM
from flowgauge.transport.faust.record_topic import RecordTopic, topic_of


def events(app: App) -> RecordTopic[Event]:
    """Return the events; those of one run come in order."""
    return topic_of(app, app.names.topic(EVENT_FORM.topic), EVENT_FORM)


def transitions(app: App) -> RecordTopic[Transition]:
    """Return what alerts went through; those of one incident come in order of `seq`."""
    return topic_of(app, app.names.topic(TRANSITION_FORM.topic), TRANSITION_FORM)


def deliveries(app: App) -> RecordTopic[Delivery]:
    """Return the attempts to tell people and machines, with their outcomes."""
    return topic_of(app, app.names.topic(DELIVERY_FORM.topic), DELIVERY_FORM)
