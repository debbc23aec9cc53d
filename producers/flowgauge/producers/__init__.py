"""How events get into flowgauge: the publisher a worker installs, the gateway, the connectors.

Importing this imports the light part only: no server, no settings, no HTTP client, no Kafka.
"""

from flowgauge.producers.current_run import current_run
from flowgauge.producers.kafka_target import KafkaTarget
from flowgauge.producers.log_handler import FlowgaugeHandler, structlog_processor
from flowgauge.producers.publisher import Publisher
from flowgauge.producers.run_scope import RunScope

__all__ = ["FlowgaugeHandler", "KafkaTarget", "Publisher", "RunScope", "current_run", "structlog_processor"]
