"""What flowgauge costs, path by path, in CPU time: `python -m benchmarks [NAME…]`. See docs/benchmarks.md."""
