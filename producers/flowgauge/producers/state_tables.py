"""The orchestrators whose words are known, in the order of docs/states.md."""

from typing import Final

from flowgauge.producers.airflow.states import STATES as AIRFLOW
from flowgauge.producers.dagster.states import STATES as DAGSTER
from flowgauge.producers.openlineage import STATES as OPENLINEAGE
from flowgauge.producers.prefect.states import STATES as PREFECT
from flowgauge.producers.state_table import StateTable

STATE_TABLES: Final[tuple[StateTable, ...]] = (PREFECT, AIRFLOW, DAGSTER, OPENLINEAGE)
