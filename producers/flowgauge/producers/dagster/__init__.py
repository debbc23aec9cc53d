"""Dagster connector: runs, steps, asset materialisations and log lines as flowgauge events.

`states`, `mapping` and `position` are pure and import no Dagster. `sensor` needs it and is not imported here: a code
location of the user's asks for its sensor.
"""
