"""What was verified is kept and told as it is, however often it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kmigrate.runner.verification import PartitionVerification, Verdict
from kmigrate.runner.verifications import Verifications
from kmigrate.runner.verify_partition import Mode
from kmigrate.state.store import Store

ROW = PartitionVerification(
    topic="orders", partition=0, target_topic="orders", mode=Mode.RECORDS, verdict=Verdict.EQUAL, start=0, end=10
)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Verifications]:
    store = Store.open(tmp_path)
    yield Verifications(store)
    store.close()


def test_the_latest_of_each_partition_and_mode_is_told(kept: Verifications) -> None:
    kept.keep([ROW, replace(ROW, mode=Mode.ENDS, end=5), replace(ROW, partition=1)])
    assert [each.end for each in kept.load(Mode.RECORDS)] == [10, 10]
    kept.keep([replace(ROW, end=20)])
    assert [each.end for each in kept.load(Mode.RECORDS)] == [20, 10]
    assert [each.end for each in kept.load(Mode.ENDS)] == [5]
    assert len(kept.load()) == 3


def test_what_has_not_changed_is_not_read_again(kept: Verifications, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.keep([ROW, replace(ROW, partition=1)])
    read: list[str] = []
    parse = PartitionVerification.from_json
    monkeypatch.setattr(PartitionVerification, "from_json", lambda text: read.append(text) or parse(text))
    before = kept.load(Mode.RECORDS)
    kept.keep([replace(ROW, end=20)])
    assert kept.load(Mode.RECORDS) == [replace(before[0], end=20), before[1]]
    assert len(read) == 3
