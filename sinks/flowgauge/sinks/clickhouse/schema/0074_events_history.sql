-- Events that are history only: no rule saw them when they came, and no backtest does (ADR 26).
ALTER TABLE flowgauge.events ADD COLUMN IF NOT EXISTS history Bool AFTER follows
