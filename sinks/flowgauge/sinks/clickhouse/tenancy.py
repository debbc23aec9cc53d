"""Whose rows a question sees, and how ClickHouse is told so besides the tenant that the question itself binds. Pure.

Two guards go out with every question, so that one that forgot its `tenant = …` shows nothing of another tenant:

    additional_table_filters   the engine, chDB or a server, adds the filter to each read of a table with a tenant
    log_comment                names whose rows are asked for; on a server, row policies let the console's user see no
                               others, and none at all where nothing is named (`access`)

The tenant is written as hexadecimal digits: no name can end a text within a text. Neither guard is for whom may send
ClickHouse statements of their own: both are settings.
"""

from dataclasses import dataclass
from functools import lru_cache

import msgspec

from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.sinks.clickhouse.deployment import DATABASE
from flowgauge.sinks.clickhouse.schema import tenant_tables

GUARDS_MAX = 1_024  # remembered: a kilobyte each, and the tenants that ask at a time are fewer

# What a row policy asks of `log_comment`; nothing named, nothing seen.
POLICY = (
    "has(JSONExtract(getSetting('log_comment'), 'tenants', 'Array(String)'), tenant) "
    "OR JSONExtractBool(getSetting('log_comment'), 'all_tenants')"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """Whose rows a question sees: those of these tenants; None: everybody's."""

    tenants: tuple[str, ...] | None


EVERY_TENANT = Seen(None)


def only(*tenants: str) -> Seen:
    """Return that the rows of `tenants` are seen and no others; "" is who is not known."""
    return Seen(tenants)


def rows_of(tenant: str) -> Seen:
    """Return whose rows a question about `tenant` sees; ANY_TENANT, which no tenant is called, means everybody's.

    Who may ask about whom was decided before (`Answers.shown_to`).
    """
    return EVERY_TENANT if tenant == ANY_TENANT else only(tenant)


@lru_cache(GUARDS_MAX)
def guard(seen: Seen, database: str = DATABASE) -> dict[str, object]:
    """Return the settings that hold a question to the rows of `seen`, in the tables of `database`."""
    if seen.tenants is None:
        return {"log_comment": '{"all_tenants":true}'}
    names = ", ".join(f"unhex(\\'{name.encode().hex()}\\')" for name in seen.tenants)
    filters = ", ".join(f"'{database}.{table}': 'tenant IN ({names})'" for table in tenant_tables())
    return {
        "additional_table_filters": f"{{{filters}}}",
        "log_comment": msgspec.json.encode({"tenants": seen.tenants}).decode(),
    }
