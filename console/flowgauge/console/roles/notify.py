"""`flowgauge notify`: tells people. One works; more stand by and take over.

Rules come through the log. Channels do not: their addresses and secrets belong to the machine that sends, so they are
read from a folder here, and watched.
"""

from flowgauge.console.access import egress_policy
from flowgauge.console.groups import NOTIFIER
from flowgauge.console.metrics import ALL
from flowgauge.console.role import Opened, Role, Work
from flowgauge.console.rule_folder import RuleFolder
from flowgauge.processors.detection_watch import run_detection_watch
from flowgauge.schemas.errors import BadEnvironment, InvalidSettings
from flowgauge.schemas.setting_parts import ActionSettings
from flowgauge.sinks.webhooks.addresses import EgressPolicy
from flowgauge.sinks.webhooks.attempt import Details, Wording, no_details
from flowgauge.sinks.webhooks.egress import Egress
from flowgauge.sinks.webhooks.notifier_app import run_notifier


async def _open(opened: Opened) -> Work:
    settings, log, health = opened.settings, opened.log, opened.health
    policy = egress_policy(settings)
    folder = _channels(opened, policy)
    details: Details = no_details
    if settings.clickhouse.url:
        # Here alone: it brings ClickHouse's client, which a notifier without one need not have.
        from flowgauge.console.incident_context import ContextTeller, LateStore, links_of  # noqa: PLC0415

        details = ContextTeller(LateStore(settings), links_of(settings, settings.public_url)).details
    egress = Egress(policy, own_ports=frozenset({int(opened.listening.getsockname()[1])}))
    return Work(
        parts=[
            (
                "notifier",
                lambda stop: run_notifier(
                    log,
                    lambda: folder.places,
                    egress=egress,
                    stop=stop,
                    health=health,
                    max_alert_age_ms=settings.max_alert_age_ms,
                    wording=Wording(settings.public_url, details),
                ),
            ),
            ("channels", lambda stop: folder.watch(None, stop)),
            ("detection watch", lambda stop: run_detection_watch(log, stop=stop, health=health)),
        ]
    )


def _channels(opened: Opened, policy: EgressPolicy) -> RuleFolder:
    """Read the channels; raise InvalidRules where one is wrong: a start tells nobody half of it."""
    if opened.settings.rules is None:
        raise InvalidSettings(
            "rules is not set: notify reads its channels in a folder here (give --rules DIR, or set FLOWGAUGE_RULES)"
        )
    without_programs = ActionSettings(enabled=opened.settings.actions.enabled)  # they run in the embedded profile only
    folder = RuleFolder(opened.settings.rules, opened.health, policy, without_programs)
    try:
        folder.open()
    except OSError as error:
        raise BadEnvironment(f"the folder {folder.folder} of channels cannot be read: {error.strerror}") from None
    return folder


NOTIFY = Role("notify", 4295, _open, groups=[NOTIFIER], knows=ALL)
