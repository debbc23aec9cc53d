"""Who may do what on a ClickHouse server: the statements that its admin runs once. Pure.

Two users: one makes the tables and inserts, one only asks. The second is under row policies: without the name of a
tenant, which every question of ours sends (`tenancy`), it sees no row of any tenant.
"""

from flowgauge.sinks.clickhouse.schema import tenant_tables
from flowgauge.sinks.clickhouse.tenancy import POLICY

SINK = "flowgauge_sink"
CONSOLE = "flowgauge_console"
SINK_RIGHTS = "SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP VIEW"
# What servers let nobody read without a grant: what is drifted, rewritten, stored in parts, and where replicas are.
SINK_READS = ("data_skipping_indices", "mutations", "parts", "clusters", "macros")
CONSOLE_READS = ("data_skipping_indices", "mutations", "clusters", "macros")
# What `flowgauge tenant erase` needs besides SELECT; without it, erase is refused.
ERASE_RIGHTS = "ALTER DELETE"


def access_statements(database: str, cluster: str = "") -> list[str]:
    """Return the statements for `database`; again they change nothing, but for policies, which are made anew."""
    return [
        f"CREATE USER IF NOT EXISTS {SINK} IDENTIFIED BY 'CHANGE ME'",
        *(f"GRANT {rights} TO {SINK}" for rights in sink_rights(database, cluster)),
        f"CREATE USER IF NOT EXISTS {CONSOLE} IDENTIFIED BY 'CHANGE ME TOO'",
        *(f"GRANT {rights} TO {CONSOLE}" for rights in console_rights(database)),
        *(
            f"CREATE ROW POLICY OR REPLACE {CONSOLE} ON {database}.{table} FOR SELECT USING {POLICY} TO {CONSOLE}"
            for table in tenant_tables()
        ),
    ]


def sink_rights(database: str, cluster: str = "") -> list[str]:
    """Return what the user that makes the tables and inserts is granted."""
    return [
        f"{SINK_RIGHTS} ON {database}.*",
        *(f"SELECT ON system.{table}" for table in SINK_READS),
        *(["CLUSTER ON *.*", f"SYSTEM SYNC REPLICA ON {database}.*"] if cluster else []),
    ]


def console_rights(database: str) -> list[str]:
    """Return what the user that only asks is granted."""
    return [
        f"SELECT ON {database}.*",
        f"INSERT ON {database}.erased_tenants",
        f"{ERASE_RIGHTS} ON {database}.*",
        *(f"SELECT ON system.{table}" for table in CONSOLE_READS),
    ]
