"""Airflow connector: DAG runs, task instances, log lines and asset events as flowgauge events.

`states` and `mapping` are pure and import no Airflow. `plugin` needs it and is not imported here:
Airflow loads it as a listener plugin.
"""
