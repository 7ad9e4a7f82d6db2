"""A command begins at once: it imports what it needs when it runs, and nothing that another one needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmigrate.cli.group import COMMANDS

HEAVY = {"fastapi", "starlette", "uvicorn", "httpx", "anyio", "asyncio", "prometheus_client", "rich", "kafka"}
"""What takes longest to load, apart from the manifest's model."""
MODEL = {"pydantic", "yaml", "sqlite3"}
MANIFEST = """
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: orders}
spec:
  source: {properties: {bootstrap.servers: "127.0.0.1:1"}}
  target: {properties: {bootstrap.servers: "127.0.0.1:1"}}
"""
_CODE = """
import sys
from kmigrate.cli import main
try:
    main()
except SystemExit as ended:
    code = ended.code
loaded = sorted({name.split(".")[0] for name in sys.modules})
print("CODE", code, "LOADED", *loaded, file=sys.stderr)
"""


def loaded_by(*arguments: str, folder: Path) -> tuple[int, str, set[str]]:
    """The exit code, what was said, and which packages were loaded."""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", _CODE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},
    )
    said, _, told = ended.stderr.rpartition("CODE ")
    code, _, packages = told.partition(" LOADED ")
    return int(code), ended.stdout + said, set(packages.split())


def test_help_loads_no_command(tmp_path: Path) -> None:
    code, said, loaded = loaded_by("--help", folder=tmp_path)
    assert code == 0
    assert all(name in said for name in COMMANDS)
    assert "click" in loaded
    assert loaded.isdisjoint(HEAVY | MODEL)


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_query_loads_the_manifest_and_a_reader_and_no_more(tmp_path: Path, *, is_recorded: bool) -> None:
    (tmp_path / "orders.yaml").write_text(MANIFEST)
    if is_recorded:
        from kmigrate.state.store import Store

        (tmp_path / "state" / "orders").mkdir(parents=True)
        Store.open(tmp_path / "state" / "orders").close()
    query = ("message", "query", "-f", "orders.yaml", "--state", "state", "-t", "orders", "-p", "0", "--offset", "7")
    code, said, loaded = loaded_by(*query, folder=tmp_path)
    assert (code, "connection refused" in said) == (1, True), "it came as far as the cluster"
    assert "pydantic" in loaded
    assert ("sqlite3" in loaded) == is_recorded
    assert loaded.isdisjoint(HEAVY), "see api/door.py, api/reads.py and wire/library.py"


@pytest.mark.parametrize("command", [("status",), ("cutover", "status")])
def test_who_asks_how_it_stands_loads_no_application(tmp_path: Path, command: tuple[str, ...]) -> None:
    from kmigrate.runner.desk import Desk
    from kmigrate.runner.status import MigrationState, StatusDocument
    from kmigrate.state.store import Store

    (tmp_path / "orders.yaml").write_text(MANIFEST)
    (tmp_path / "state" / "orders").mkdir(parents=True)
    store = Store.open(tmp_path / "state" / "orders")
    Desk(store, lambda: None).publish(StatusDocument(name="orders", state=MigrationState.RUNNING))
    store.close()
    _code, said, loaded = loaded_by(*command, "-f", "orders.yaml", "--state", "state", folder=tmp_path)
    assert "orders" in said
    assert loaded.isdisjoint({"fastapi", "starlette", "uvicorn", "httpx", "anyio", "asyncio", "kafka"})
