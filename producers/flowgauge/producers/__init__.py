"""How events get into flowgauge: the publisher a worker installs, the gateway, the connectors.

Importing this imports the light part only: no server, no settings, no HTTP client, no Kafka.
"""

from flowgauge.producers.kafka_target import KafkaTarget
from flowgauge.producers.publisher import Publisher
from flowgauge.producers.run_scope import RunScope

__all__ = ["KafkaTarget", "Publisher", "RunScope"]
