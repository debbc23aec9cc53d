"""The SQL of questions, from queries/. Pure."""

import re
from collections.abc import Set
from functools import cache, lru_cache
from importlib.resources import files

from flowgauge.schemas.settings import ANY_TENANT
from flowgauge.sinks.clickhouse.cost_metrics import GROUPS_OF, with_costs
from flowgauge.sinks.clickhouse.messages_with import LEVELS_MARK, MARK
from flowgauge.sinks.clickhouse.run_metrics import OF, Came, with_columns

_OF_TENANT = "tenant = {tenant:String}"
_IF_ASKED = re.compile(r"\(\{(\w+):String\} = '' OR (.+)\)$", re.MULTILINE)
POINTS_MAX = 1_024  # remembered: some kilobytes each, and few ways to ask are in use
_NAME = re.compile(r"\{(?:flow|deployment|work_pool|tag):String\}(?! = '')")
_NAME_OF_TENANT = r"if(startsWith(\g<0>, concat(tenant, '/')), substring(\g<0>, length(tenant) + 2), \g<0>)"
_IDS, _IDS_OF_ALL = "uniqExact(id)", "uniqExact(tenant, id)"


@cache
def question(name: str, came: Came = Came.MANY) -> str:
    """Return the SQL of the question `name`: one comment, which tells it from others, and no indents."""
    path = files("flowgauge.sinks.clickhouse") / "queries" / f"{name.replace('-', '_')}.sql"
    first, *lines = map(str.strip, with_costs(path.read_text("utf-8"), came).splitlines())
    # The driver goes through all of it by character, each time: 4 ms of a long one.
    return "\n".join([first, *(line for line in lines if line in {MARK, LEVELS_MARK} or not line.startswith("--"))])


def question_of(name: str, tenant: str, per: str = "", came: Came = Came.MANY) -> str:
    """Return the SQL of the question `name` as it is asked of `tenant` or ANY_TENANT, about runs grouped by `per`."""
    sql = question(name, came).replace("<of>", OF.get(per, "")).replace("<groups>", GROUPS_OF.get(per, ""))
    return of_tenant(sql, tenant)


def of_tenant(sql: str, tenant: str) -> str:
    """Return `sql` as it is asked of ANY_TENANT: without a condition on the tenant, each id counted once for each."""
    return sql.replace(_OF_TENANT, "true").replace(_IDS, _IDS_OF_ALL) if tenant == ANY_TENANT else sql


def named_by_tenant(sql: str, tenant: str) -> str:
    """Return `sql` as it is asked of ANY_TENANT: a name may stand after its tenant's, as answers then tell it."""
    return _NAME.sub(_NAME_OF_TENANT, sql) if tenant == ANY_TENANT else sql


@lru_cache(POINTS_MAX)
def to_the_point(sql: str, asked: Set[str]) -> str:
    """Return `sql` without what does not matter when it is narrowed by the parameters `asked` and by no others.

    The engine would plan each condition that is always true, and read its columns.
    """
    narrowed = _IF_ASKED.sub(lambda found: found[2] if found[1] in asked else "true", sql)
    return with_columns(narrowed.replace("\nAND true", ""))
