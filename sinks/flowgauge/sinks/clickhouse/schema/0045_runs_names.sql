-- What a run's deployment, work pool and tags are called, apart from their ids: not each event of a run tells the names.
-- tag_names has the name of each tag by its id, '' where no event told one. The columns of 0020 that these follow are filled no more.
ALTER TABLE flowgauge.runs
    ADD COLUMN IF NOT EXISTS deployment_name SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS deployment_id SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS work_pool_name SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS work_pool_id SimpleAggregateFunction(max, String),
    ADD COLUMN IF NOT EXISTS tag_names SimpleAggregateFunction(maxMap, Map(String, String))
