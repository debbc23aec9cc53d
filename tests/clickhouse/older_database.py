"""A database as an older flowgauge made it."""

import uuid

from tests.clickhouse_front import Front

from flowgauge.sinks.clickhouse.client import Server, connect
from flowgauge.sinks.clickhouse.schema import schema_files


def older_database(front: Front, version: int) -> Server:
    """Return a server whose new database has the tables of the schema `version`, and no later."""
    server = Server(front.url, front.user, front.password, database=f"older_{uuid.uuid4().hex[:6]}")
    client = connect(server, answer_s_max=60)
    files = [file for file in schema_files() if file.version <= version]
    for file in files:
        client.command(file.sql.replace("flowgauge", server.database))
    for file in files:
        noted = f"SELECT {file.version}, '{file.name}', '{file.digest}', now64(3)"
        client.command(f"INSERT INTO {server.database}.schema_versions {noted}")
    client.close()
    return server
