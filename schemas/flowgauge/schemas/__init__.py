"""The words of flowgauge: what travels between its parts, and nothing that does I/O.

Everything here is pure; every other folder may import it. Read `event` first, then `check`, `sample`, `transition`.
"""
