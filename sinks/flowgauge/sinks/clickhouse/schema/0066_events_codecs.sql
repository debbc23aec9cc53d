-- Packed as measured (ADR 16), for parts written from now on: a tenth of a microsecond and two bytes a row less.
ALTER TABLE flowgauge.events
    MODIFY COLUMN id CODEC(ZSTD(1)),
    MODIFY COLUMN run CODEC(ZSTD(3)),
    MODIFY COLUMN payload CODEC(ZSTD(1))
