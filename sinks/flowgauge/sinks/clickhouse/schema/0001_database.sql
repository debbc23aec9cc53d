-- Atomic: chDB's default database engine (Overlay) has no atomic renames and no refreshable views.
CREATE DATABASE IF NOT EXISTS flowgauge ENGINE = Atomic
