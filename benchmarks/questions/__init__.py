"""Questions of many events: a month of them made inside ClickHouse, and what tables would serve them best."""
