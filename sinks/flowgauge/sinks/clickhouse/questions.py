"""The SQL of questions, from queries/. Pure."""

from functools import cache
from importlib.resources import files

from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.sinks.clickhouse.cost_metrics import GROUPS_OF, with_costs
from flowgauge.sinks.clickhouse.messages_with import LEVELS_MARK, MARK
from flowgauge.sinks.clickhouse.run_metrics import OF

_OF_TENANT = "tenant = {tenant:String}"
_IDS, _IDS_OF_ALL = "uniqExact(id)", "uniqExact(tenant, id)"


@cache
def question(name: str) -> str:
    """Return the SQL of the question `name`: one comment, which tells it from others, and no indents."""
    path = files("flowgauge.sinks.clickhouse") / "queries" / f"{name.replace('-', '_')}.sql"
    first, *lines = map(str.strip, with_costs(path.read_text("utf-8")).splitlines())
    # The driver goes through all of it by character, each time: 4 ms of a long one.
    return "\n".join([first, *(line for line in lines if line in {MARK, LEVELS_MARK} or not line.startswith("--"))])


def question_of(name: str, tenant: str, per: str = "") -> str:
    """Return the SQL of the question `name` as it is asked of `tenant` or ANY_TENANT, about runs grouped by `per`."""
    sql = question(name).replace("<of>", OF.get(per, "")).replace("<groups>", GROUPS_OF.get(per, ""))
    return of_tenant(sql, tenant)


def of_tenant(sql: str, tenant: str) -> str:
    """Return `sql` as it is asked of ANY_TENANT: without a condition on the tenant, each id counted once for each."""
    return sql.replace(_OF_TENANT, "true").replace(_IDS, _IDS_OF_ALL) if tenant == ANY_TENANT else sql
