"""A server's users, grants and row policies, as far as chDB has them: in a file, for its one user."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

from tests.clickhouse_front import Front

from flowgauge.sinks.clickhouse.client import Server
from flowgauge.sinks.clickhouse.store import ClickHouseStore

USERS = """<clickhouse>
<profiles><default/></profiles><quotas><default/></quotas>
<users><default>
  <password></password><profile>default</profile><quota>default</quota><networks><ip>::/0</ip></networks>
  <grants>{grants}</grants><databases><flowgauge>{filters}</flowgauge></databases>
</default></users></clickhouse>"""
CONFIG = """<clickhouse><users_config>{users}</users_config>
<user_directories><users_xml><path>{users}</path></users_xml></user_directories></clickhouse>"""


@contextmanager
def connected_as(folder: Path, rights: Sequence[str], policies: Mapping[str, str]) -> Generator[ClickHouseStore]:
    """Serve `folder` to a user with these rights, under the row policy of each table in `policies`; yield a store."""
    config = write_users(folder, rights, policies)
    with Front(Path(f"{folder / 'data'}?config-file={config}")) as running:
        store = ClickHouseStore.connect(Server(running.url, running.user, running.password))
        yield store
        store.close()


def write_users(folder: Path, rights: Sequence[str], policies: Mapping[str, str]) -> Path:
    """Write what the admin's statements say as the configuration of chDB's only user; return its file."""
    grants = "".join(f"<query>GRANT {right}</query>" for right in rights)
    filters = "".join(f"<{table}><filter>{escape(policy)}</filter></{table}>" for table, policy in policies.items())
    (folder / "users.xml").write_text(USERS.format(grants=grants, filters=filters))
    (folder / "config.xml").write_text(CONFIG.format(users=folder / "users.xml"))
    return folder / "config.xml"
