"""Where results go: ClickHouse and webhooks."""
