-- Whose rows were erased, and which of them: those appended before. A sink that reads such records again leaves them out.
CREATE TABLE IF NOT EXISTS flowgauge.erased_tenants (
    erased_tenant String,
    before DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(before)
ORDER BY erased_tenant
