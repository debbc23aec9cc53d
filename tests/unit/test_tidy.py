"""The structure of the code: who imports whom, what is pure, how long things are.

The rules are those of the layout: a role folder imports itself, schemas and transport, never a sibling; only the
console imports all. A file is pure unless SHELLS names it, so a new file is pure by default. Each rule is a
function from a source tree to complaints, and each is shown to bite on a tree with that mistake planted.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROLES = ("schemas", "transport", "producers", "processors", "sinks", "console")
MAY_IMPORT = {
    "schemas": {"schemas"},
    "transport": {"transport", "schemas"},
    "producers": {"producers", "schemas", "transport"},
    "processors": {"processors", "schemas", "transport"},
    "sinks": {"sinks", "schemas", "transport"},
    "console": set(ROLES),
}
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500

# Modules that read clocks, files, networks, chance or other threads.
IMPURE = {
    "aiokafka", "anyio", "asyncio", "chdb", "clickhouse_connect", "contextvars", "faust", "ftplib", "httpcore2",
    "httpx2", "multiprocessing", "os", "random", "secrets", "select", "signal", "smtplib", "socket", "sqlite3", "ssl",
    "starlette", "structlog", "subprocess", "tempfile", "threading", "time", "urllib.request", "uvicorn", "watchfiles",
}  # fmt: skip

# Protocol files: they describe what awaits, and await nothing themselves.
PORTS = {
    "transport/log.py": "the Log port",
    "sinks/clickhouse/table.py": "the table port",
}
# What touches the world: the log's file, sockets, threads, clocks, and whatever awaits them.
SHELLS = {
    *(f"transport/{name}.py" for name in (
        "access_reader", "control_book", "data_folder", "faust/app", "faust/committed_reading", "faust/record_topic",
        "kafka", "kafka_batch", "kafka_client", "kafka_members", "kafka_reader", "kafka_reading", "kafka_security",
        "kafka_steps", "kafka_topics", "kafka_writer", "lag", "local", "local_file", "local_groups", "local_reading",
        "local_tail", "local_transaction", "local_writer", "patience", "topic_admin", "wall_clock",
    )),
    *(f"producers/{name}.py" for name in (
        "address", "airflow/plugin", "blocking_sender", "cloudevents_topic", "current_run", "dagster/sensor",
        "event_buffer", "heartbeats", "kafka_line", "kafka_sender", "log_handler", "prefect/api", "prefect/bridge",
        "prefect/bridge_inbox", "prefect/bridge_readers", "prefect/broker", "prefect/cursor", "prefect/tee",
        "publisher", "pulse", "sender", "spool", "spooled_buffer", "watched_command",
    )),
    *(f"processors/{name}.py" for name in (
        "detection_watch", "detector_app", "growing", "leaving_out", "matcher_app", "ruletopic",
    )),
    *(f"sinks/{name}.py" for name in (
        "clickhouse/backfill", "clickhouse/client", "clickhouse/dead_letters", "clickhouse/deliveries",
        "clickhouse/event_history", "clickhouse/expiring", "clickhouse/folding", "clickhouse/hidable",
        "clickhouse/hints", "clickhouse/incident_context", "clickhouse/incidents", "clickhouse/inserting",
        "clickhouse/logs", "clickhouse/metrics", "clickhouse/sink_app", "clickhouse/store", "clickhouse/tenant_rows",
        "clickhouse/timeline", "clickhouse/upkeep", "clickhouse/whole_letters", "clickhouse/windows",
        "webhooks/actions/action", "webhooks/actions/action_kind", "webhooks/actions/command", "webhooks/actions/http",
        "webhooks/actions/prefect", "webhooks/attempt", "webhooks/egress", "webhooks/notifier_app", "webhooks/receiver",
    )),
    *(f"console/{name}.py" for name in (
        "access", "applying", "ask", "bounded_http", "channel_trying", "clickhouse", "demo/workers", "demo_run",
        "ending", "hook_file", "incident_context", "kafka_rules", "listening", "loading", "log_lines", "role",
        "rule_files", "rule_folder", "running_rules", "stored_events", "token_files", "up", "watched_file",
        "web/acting", "web/action_switch", "web/answers", "web/api", "web/app", "web/channel_trials",
        "web/delivery_keeping",
        "web/guard", "web/json_answer", "web/pages", "web/probes", "web/remembered", "web/silence_keeping", "web/turns",
        "web_socket",
    )),
}  # fmt: skip
# Commands and roles start what they name; a door answers senders; a kind of channel tells a service.
SHELL_FOLDERS = ("console/cli/", "console/roles/", "producers/gateway/", "sinks/webhooks/kinds/")


def sources(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield (role, path below the role's package, file) of every module."""
    for role in ROLES:
        package = root / role / "flowgauge" / role
        for file in sorted(package.rglob("*.py")):
            yield role, f"{role}/{file.relative_to(package).as_posix()}", file


@cache
def parsed(text: str) -> ast.Module:
    """Return the tree of a file: each rule looks at all of them."""
    return ast.parse(text)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of every module that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def namespace_complaints(root: Path) -> list[str]:
    """Find a flowgauge/__init__.py, which would hide the other folders, and roles that do not say they are typed."""
    found = [f"{role}/flowgauge/__init__.py" for role in ROLES if (root / role / "flowgauge" / "__init__.py").exists()]
    return found + [
        f"{role} has no py.typed" for role in ROLES if not (root / role / "flowgauge" / role / "py.typed").exists()
    ]


def import_complaints(root: Path) -> list[str]:
    """Find imports that MAY_IMPORT does not let a folder make."""
    found: list[str] = []
    for role, name, file in sources(root):
        for module in imported(parsed(file.read_text())):
            parts = module.split(".")
            if parts[0] == "flowgauge" and (len(parts) < 2 or parts[1] not in MAY_IMPORT[role]):
                found.append(f"{name} imports {module}")
            if parts[0] in ROLES:
                found.append(f"{name} imports {module}: the outer folder is only where it lies")
    return found


def is_impure(module: str) -> bool:
    """Tell whether `module`, or a module that it lies in, is one of IMPURE."""
    parts = module.split(".")
    return any(".".join(parts[:length]) in IMPURE for length in range(1, len(parts) + 1))


def purity_complaints(root: Path, shells: set[str]) -> list[str]:
    """Find impure imports and awaits in files that are not named a shell."""
    found: list[str] = []
    for _, name, file in sources(root):
        if name in shells or name in PORTS or name.startswith(SHELL_FOLDERS):
            continue
        tree = parsed(file.read_text())
        found += [f"{name} imports {module}" for module in imported(tree) if is_impure(module)]
        found += [
            f"{name} defines async {node.name}" for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)
        ]
    return found


def length_complaints(root: Path) -> list[str]:
    """Find functions and files that have grown too long."""
    found: list[str] = []
    for _, name, file in sources(root):
        text = file.read_text()
        if text.count("\n") > FILE_LINES_MAX:
            found.append(f"{name} has {text.count(chr(10))} lines")
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    found.append(f"{name}: {node.name} has {lines} lines")
    return found


def docstring_complaints(root: Path) -> list[str]:
    """Find files that do not say what they are."""
    return [
        f"{name} has no docstring"
        for _, name, file in sources(root)
        if not (ast.get_docstring(parsed(file.read_text())) or "").strip()
    ]


def stale_shells(root: Path, shells: set[str]) -> list[str]:
    """Find shells that are gone or pure by now: their names need not stand here."""
    impure = {complaint.split()[0] for complaint in purity_complaints(root, set())}
    return sorted(shells - impure)


def test_every_folder_is_a_typed_part_of_one_namespace() -> None:
    assert namespace_complaints(ROOT) == []


def test_a_folder_imports_itself_schemas_and_transport_and_only_the_console_imports_all() -> None:
    assert import_complaints(ROOT) == []


def test_what_is_not_named_a_shell_is_pure() -> None:
    assert purity_complaints(ROOT, SHELLS) == []


def test_every_shell_named_here_is_one() -> None:
    assert stale_shells(ROOT, SHELLS) == []


def test_functions_and_files_stay_readable() -> None:
    assert length_complaints(ROOT) == []


def test_every_file_says_what_it_is() -> None:
    assert docstring_complaints(ROOT) == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a small tree that keeps every rule."""
    for role in ROLES:
        package = tmp_path / role / "flowgauge" / role
        package.mkdir(parents=True)
        (package / "py.typed").touch()
        (package / "__init__.py").write_text('"""A part."""\n')
    return tmp_path


def plant(tree: Path, name: str, text: str, docstring: str = '"""A file."""\n') -> Path:
    """Put a file below a role's package."""
    role, path = name.split("/", 1)
    file = tree / role / "flowgauge" / role / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(docstring + text)
    return file


def complaints(tree: Path) -> list[str]:
    """Return what every rule finds."""
    return [
        *namespace_complaints(tree),
        *import_complaints(tree),
        *purity_complaints(tree, {"processors/app.py"}),
        *length_complaints(tree),
        *docstring_complaints(tree),
    ]


def test_a_tidy_tree_has_no_complaints(tree: Path) -> None:
    plant(tree, "processors/windows.py", "from flowgauge.schemas.event import Event\nimport heapq\n")
    plant(tree, "processors/app.py", "import asyncio\nasync def run() -> None: ...\n")
    plant(tree, "console/main.py", "from flowgauge.sinks.clickhouse.store import ClickHouseStore\n")

    assert complaints(tree) == []


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("schemas/a.py", "import flowgauge.transport.log\n", "schemas/a.py imports flowgauge.transport.log"),
        ("transport/a.py", "from flowgauge.sinks import x\n", "transport/a.py imports flowgauge.sinks.x"),
        ("processors/a.py", "from flowgauge import sinks\n", "processors/a.py imports flowgauge.sinks"),
        ("sinks/a.py", "def f():\n    import flowgauge.console\n", "sinks/a.py imports flowgauge.console"),
        ("producers/a.py", "from schemas import x\n", "imports schemas.x: the outer folder is only where it lies"),
        ("processors/a.py", "import time\n", "processors/a.py imports time"),
        ("processors/a.py", "from os.path import join\n", "processors/a.py imports os.path.join"),
        ("processors/a.py", "import urllib.request\n", "processors/a.py imports urllib.request"),
        ("schemas/a.py", "async def f(): ...\n", "schemas/a.py defines async f"),
        ("sinks/deep/a.py", "def f():\n    import httpx2\n", "sinks/deep/a.py imports httpx2"),
        ("sinks/a.py", "def f():\n" + "    x = 1\n" * 60, "sinks/a.py: f has 61 lines"),
        ("sinks/a.py", "x = 1\n" * 500, "sinks/a.py has 501 lines"),
    ],
)
def test_each_rule_bites(tree: Path, name: str, text: str, complaint: str) -> None:
    plant(tree, name, text)

    (found,) = complaints(tree)

    assert complaint in found


def test_a_file_in_the_namespace_itself_is_found(tree: Path) -> None:
    (tree / "sinks" / "flowgauge" / "__init__.py").touch()
    (tree / "schemas" / "flowgauge" / "schemas" / "py.typed").unlink()

    assert namespace_complaints(tree) == ["sinks/flowgauge/__init__.py", "schemas has no py.typed"]


def test_a_file_without_a_docstring_is_found(tree: Path) -> None:
    plant(tree, "sinks/a.py", "x = 1\n", docstring="")

    assert docstring_complaints(tree) == ["sinks/a.py has no docstring"]


def test_a_shell_that_is_gone_or_pure_by_now_is_found(tree: Path) -> None:
    plant(tree, "sinks/a.py", "x = 1\n")

    assert stale_shells(tree, {"sinks/a.py", "sinks/b.py"}) == ["sinks/a.py", "sinks/b.py"]
