"""The kinds of channel, one file each: how a service is told, what it takes, and what its answers mean.

A new kind is a file here and a line in KINDS; `kind` says what it must have.
"""

from flowgauge.sinks.webhooks.kinds.alertmanager import Alertmanager
from flowgauge.sinks.webhooks.kinds.apprise_service import AppriseService
from flowgauge.sinks.webhooks.kinds.incident_io import IncidentIo
from flowgauge.sinks.webhooks.kinds.kind import ChannelKind
from flowgauge.sinks.webhooks.kinds.mail import Mail
from flowgauge.sinks.webhooks.kinds.pagerduty import PagerDuty
from flowgauge.sinks.webhooks.kinds.slack import Slack
from flowgauge.sinks.webhooks.kinds.teams import Teams
from flowgauge.sinks.webhooks.kinds.webhook import Webhook

KINDS: dict[str, type[ChannelKind]] = {
    "webhook": Webhook,
    "slack": Slack,
    "teams": Teams,
    "pagerduty": PagerDuty,
    "incident_io": IncidentIo,
    "alertmanager": Alertmanager,
    "email": Mail,
    "apprise": AppriseService,
}
