"""The whole way between two secured clusters, with exactly the listed rights; afterwards no group differs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmigrate.kafka_types import Side
from tests.fault.probe import commits
from tests.kafka_tools import read_all
from tests.scenario.secured.clusters import secured_pair
from tests.scenario.secured.transcript import write_down
from tests.scenario.secured.walk import COMMANDS, COMMITS, ORDERS, PAYMENTS, terminal, walk
from tests.scenario.typed import commands_in
from tests.secured.cluster import PASSWORDS
from tests.secured.granted import COPIER, Guarded

pytestmark = pytest.mark.broker

PAGE = Path(__file__).parents[3] / "docs" / "transcript.md"


@pytest.fixture
def own_pair(tmp_path: Path) -> Iterator[Guarded]:
    with secured_pair(tmp_path) as guarded:
        yield guarded


def test_a_move_between_secured_clusters_with_exactly_the_listed_rights(own_pair: Guarded, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    steps = walk(own_pair, folder)
    said = "\n\n".join(f"$ {step.command}\n{step.output}" for step in steps)
    assert [(step.command, step.code) for step in steps] == [(command, 0) for command in COMMANDS], said

    source, target = (own_pair.clusters[side] for side in Side)
    for topic in (ORDERS, PAYMENTS):
        copied = read_all(target.direct_bootstrap, topic)
        assert copied == read_all(source.direct_bootstrap, topic) != []
    for group, offsets in COMMITS.items():
        there = {(each.topic, each.partition): offset for each, (offset, _) in commits(target, group).items()}
        assert there.keys() == offsets.keys()
        assert there[min(there)] == offsets[min(offsets)]
    listed = json.loads(terminal(own_pair, folder).type(f"{COMMANDS[-1]} -o json").output)
    assert listed["summary"]["synced"] == listed["summary"]["groups"] == len(COMMITS)
    assert listed["summary"]["differences"] == 0
    rules = own_pair.acls[Side.TARGET].list()
    assert any("User:app" in rule and ORDERS in rule and "READ" in rule for rule in rules), rules
    assert not any("User:app" in rule and "WRITE" in rule for rule in rules), "writing waits for the promotion"

    page = write_down(steps, own_pair)
    assert str(tmp_path) not in page
    assert PASSWORDS[COPIER] not in page
    assert "127.0.0.1" not in page


def test_the_transcript_shows_the_commands_that_are_tested() -> None:
    assert commands_in(PAGE.read_text(encoding="utf-8")) == list(COMMANDS)
