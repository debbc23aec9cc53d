-- Which of these files this database has. The digest tells an edited file from an applied one.
CREATE TABLE IF NOT EXISTS flowgauge.schema_versions (
    version UInt32,
    name String,
    digest String,
    applied DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree ORDER BY version
