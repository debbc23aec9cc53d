"""One failure-rate job done by flowgauge and by another engine, on the same topic: `python -m benchmarks.peers`."""
