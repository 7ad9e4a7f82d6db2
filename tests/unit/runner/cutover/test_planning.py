"""Which waves can be led, and what is told of those that cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmigrate.kafka_types import TopicName
from kmigrate.manifest import load_manifest
from kmigrate.runner.cutover.planning import is_led, plan_waves
from kmigrate.schemes.tables import stages_of

ORDERS = TopicName("orders")
MANIFEST = """\
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: orders}
spec:
  source: {properties: {bootstrap.servers: "a:1"}}
  target: {properties: {bootstrap.servers: "b:1"}}
"""


def plan(folder: Path, spec: str) -> tuple[list[str], tuple[str, ...]]:
    """(the steps of the one wave, what is in the way)"""
    file = folder / "m.yaml"
    file.write_text(MANIFEST + spec)
    manifest = load_manifest(file, environ={})
    assert is_led(manifest)
    (wave,), problems = plan_waves(manifest, [ORDERS], {"billing": {ORDERS}})
    return [stage.step.name for stage in stages_of(wave)], problems


def test_without_a_scheme_nothing_is_led(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    manifest = load_manifest(tmp_path / "m.yaml", environ={})
    assert not is_led(manifest)
    assert plan_waves(manifest, [ORDERS], {}) == ((), ())


@pytest.mark.parametrize(
    ("spec", "has_way_back"),
    [
        ("  scheme: consumers-first\n", True),
        ("  scheme: consumers-first\n  wayBack: false\n", False),
        ("  scheme: consumers-first\n  ending: overlap\n", False),
        ("  scheme: producers-first\n", True),
        ("  scheme: producers-first\n  history: rolling\n", False),
        ("  scheme: producers-later\n", False),
    ],
)
def test_a_way_back_is_armed_where_the_source_ends_with_the_copy(tmp_path: Path, spec: str, has_way_back: bool) -> None:
    steps, problems = plan(tmp_path, spec)
    assert ("arm" in steps) is has_way_back
    assert problems == ()
