"""Where what is known goes: ClickHouse for questions, webhooks for people and machines."""
