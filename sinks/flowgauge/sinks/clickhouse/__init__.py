"""ClickHouse: the view of the log that questions are asked of.

Rows get in exactly once: read `intent` first (the protocol), then `batch`, `store` and `sink_app`. Questions are in
`metrics` and `incidents`; the tables they ask, in `schema/`.
"""
