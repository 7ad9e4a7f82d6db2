"""The import contracts hold: rooms in order, pure modules pure, SQLite and sockets owned."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"

# Pure modules that are designed but may not be written yet. A contract cannot name a module that is
# missing, so these are left out of it until they exist; any other missing module is a mistake.
DESIGNED = frozenset(
    {
        "kmigrate.copy.assign",
        "kmigrate.copy.copier",
        "kmigrate.copy.judge",
        "kmigrate.copy.standing",
        "kmigrate.records",
        "kmigrate.wire",
    }
)


def _exists(source: Path, module: str) -> bool:
    path = source.joinpath(*module.split("."))
    return (path / "__init__.py").exists() or path.with_suffix(".py").exists()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return '"' + value + '"'


def _write_contracts(folder: Path, source: Path) -> Path:
    """Copy the contracts of pyproject.toml, without designed modules that are not there yet."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    lines = ["[tool.importlinter]"]
    lines += [f"{key} = {_toml(value)}" for key, value in settings.items() if key != "contracts"]
    for contract in settings["contracts"]:
        modules = contract.get("source_modules", [])
        present = [name for name in modules if _exists(source, name)]
        missing = set(modules) - set(present)
        assert missing <= DESIGNED, f"the contract {contract['id']!r} names missing modules: {missing}"
        if modules and not present:
            continue
        lines.append("[[tool.importlinter.contracts]]")
        contract = contract | ({"source_modules": present} if modules else {})
        lines += [f"{key} = {_toml(value)}" for key, value in contract.items()]
    path = folder / "contracts.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _lint(folder: Path, source: Path) -> subprocess.CompletedProcess[str]:
    config = _write_contracts(folder, source)
    environment = {"PYTHONPATH": str(source), "PATH": ""}
    return subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--config", str(config), "--no-cache"],
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
