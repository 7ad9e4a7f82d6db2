"""The import contracts hold: rooms in order, pure modules pure, SQLite and sockets owned."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def _lint(folder: Path, source: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(source), "PATH": ""}
    return subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_import_contracts_hold(tmp_path: Path) -> None:
    result = _lint(tmp_path, ROOT / "src")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("errors.py", "import kmigrate.cli", "A room imports only the rooms below it"),
        ("records/clock.py", "import time", "Pure modules know no"),
        ("records/chance.py", "from random import random", "Pure modules know no"),
        ("records/asked.py", "from kmigrate import kafka_types, peeking", "Pure modules know no"),
        ("runner/books.py", "import sqlite3", "Only the state room opens SQLite"),
        ("topics/dial.py", "from socket import create_connection", "Only the cluster room opens sockets"),
        ("misplaced.py", "", "A room imports only the rooms below it"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(tmp_path: Path, file: str, line: str, contract: str) -> None:
    source = tmp_path / "src"
    shutil.copytree(ROOT / "src" / "kmigrate", source / "kmigrate", ignore=shutil.ignore_patterns("*.pyc"))
    for room in ("cli", "records", "runner", "topics"):
        (source / "kmigrate" / room).mkdir(exist_ok=True)
        (source / "kmigrate" / room / "__init__.py").touch()
    if "peeking" in line:  # an indirect import counts as well
        (source / "kmigrate" / "peeking.py").write_text("import time\n")
    path = source / "kmigrate" / file
    text = path.read_text() if path.exists() else ""
    path.write_text(text + line + "\n")
    result = _lint(tmp_path, source)
    assert result.returncode != 0
    assert any(contract in row and "BROKEN" in row for row in result.stdout.splitlines()) or (
        contract in result.stdout and "not listed" in result.stdout
    ), result.stdout + result.stderr
