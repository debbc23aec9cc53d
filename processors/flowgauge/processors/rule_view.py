"""The rule view: which rule of one set sees a tenant's events. A tenant's rule hides a `*` rule of its name."""

from flowgauge.processors.ruleset import CompiledRule, RuleSet

ANY_TENANT = "*"


class RuleView:
    """One rule set, looked at by uid and by name."""

    __slots__ = ("_by_name", "by_uid", "version")

    def __init__(self, ruleset: RuleSet) -> None:
        self.version = ruleset.version
        self.by_uid = {item.uid: item for item in ruleset.rules}
        self._by_name = {(item.rule.tenant, item.rule.name): item for item in ruleset.rules}

    def sees(self, uid: str, tenant: str) -> bool:
        """Tell whether the rule `uid` is in the set and sees events of `tenant`."""
        item = self.by_uid.get(uid)
        return item is not None and (item.rule.tenant == tenant or self.named(item.rule.name, tenant) is item)

    def named(self, name: str, tenant: str) -> CompiledRule | None:
        """Return the rule that carries on incidents of `tenant` under this name."""
        return self._by_name.get((tenant, name)) or self._by_name.get((ANY_TENANT, name))
