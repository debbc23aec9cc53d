"""`flowgauge cloudevents`: brings a topic of CloudEvents into the log. As many as the topic has partitions."""

import os
import socket
from functools import partial

from flowgauge.console.access import read_text
from flowgauge.console.role import Opened, Role, Work
from flowgauge.producers.cloudevents_topic import CloudEventTopic, run_cloudevents
from flowgauge.producers.gateway.intake import Intake
from flowgauge.schemas.errors import InvalidSettings
from flowgauge.schemas.settings import Settings
from flowgauge.schemas.topics import ALL
from flowgauge.transport.kafka_names import Names
from flowgauge.transport.kafka_settings import connection_of


def cloudevents_role(topic: str, tenant: str) -> Role:
    """Return the role that reads `topic`, whose events are all of `tenant`."""
    return Role("cloudevents", 4296, partial(_open, topic, tenant))


async def _open(topic: str, tenant: str, opened: Opened) -> Work:
    settings = opened.settings
    read = CloudEventTopic(topic, Names(settings.kafka.prefix).group("cloudevents", topic), tenant)
    _refuse(read, settings)
    connection = connection_of(settings.kafka, os.environ, read_text, host=socket.gethostname())
    intake = Intake(opened.log, opened.health)
    return Work(
        parts=[
            (
                "cloudevents",
                lambda stop: run_cloudevents(connection, read, intake, stop=stop, health=opened.health),
            )
        ]
    )


def _refuse(topic: CloudEventTopic, settings: Settings) -> None:
    """Raise InvalidSettings for a topic of ours, which would be read in a circle, and for an unknown tenant."""
    names = Names(settings.kafka.prefix)
    if topic.name in map(names.topic, ALL):
        raise InvalidSettings(f"--from: {topic.name} is a topic of flowgauge's own log (name one of CloudEvents)")
    if settings.tenants and topic.tenant not in settings.tenants:
        raise InvalidSettings(f"--tenant: no tenant is called {topic.tenant!r} (name one of those under [tenants])")
