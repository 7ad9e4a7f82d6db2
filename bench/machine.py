"""What machine and which versions the figures of a run belong to."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import confluent_kafka

import kmigrate
from bench.proc import parse_kilobytes
from kmigrate.demo.java import find_java

_ROOT = Path(__file__).parents[1]


def describe_machine(kafka_versions: Sequence[str]) -> dict[str, str]:
    """Label → value, in the order in which it is shown; nothing in it names a place or a host."""
    memory = parse_kilobytes(Path("/proc/meminfo").read_text(), "MemTotal") or 0
    return {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Commit": _commit(),
        "Cores": str(len(os.sched_getaffinity(0))),
        "CPU": parse_cpu_model(Path("/proc/cpuinfo").read_text()) or platform.machine(),
        "Memory": f"{memory / 2**30:.1f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Java": _java(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "kmigrate": kmigrate.__version__,
        "fastcrc": _version_of("fastcrc"),
        "librdkafka": confluent_kafka.libversion()[0],
        "Kafka": ", ".join(kafka_versions),
    }


def parse_cpu_model(cpuinfo: str) -> str:
    """The first `model name` of /proc/cpuinfo; empty if there is none, as on other architectures than x86."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.split())
    return ""


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


def _java() -> str:
    result = subprocess.run([find_java(), "-version"], capture_output=True, text=True, check=False)
    lines = result.stderr.strip().splitlines()
    return lines[1] if len(lines) > 1 else "?"


def _commit() -> str:
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "?"
    return f"{commit} with changes" if _git("status", "--porcelain", "--", "src", "bench/*.py") else commit


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
