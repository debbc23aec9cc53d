"""The console: the `flowgauge` command, the web pages and the one place that wires all parts together.

Read `main` for the command, `up` for the wiring, `web.app` for the pages and the HTTP API.
"""
