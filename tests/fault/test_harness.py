"""What judges the copies is itself judged: the witness sees every kind of damage, the matrix forgets no cell."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME

from kmigrate.demo.embedded import EmbeddedCluster
from tests.content.judging import Ends, Seen, Sides, compare
from tests.fault.cells import ALONE, CELLS_VARIABLE, choose_numbers
from tests.fault.harness import Witness, log_ends
from tests.fault.load import Load, record_value
from tests.fault.probe import look
from tests.fault.traffic import find_superseded, forgive_late_trim
from tests.kafka_tools import SentRecord, create_topic, produce, read_all
from tests.long import results
from tests.long.claims import Claims
from tests.long.jobs import AnotherRun, end_with, heed_interrupts, only_run
from tests.long.matrix import Matrix
from tests.long.results import Result, append_result, latest, load_results

TIMESTAMP = 1_700_000_000_000


def _records(ids: Sequence[int]) -> list[SentRecord]:
    return [
        SentRecord(value=record_value(each, 5), key=b"key", headers=[("a", b"1")], timestamp=TIMESTAMP) for each in ids
    ]


DAMAGES = {
    "a record is lost at the end": (_records(range(9)), "10 records became 9"),
    "a record is there twice": (_records([*range(5), 4, *range(5, 10)]), "10 records became 11"),
    "two records changed places": (_records([0, 1, 3, 2, 4, 5, 6, 7, 8, 9]), "2 places differ"),
    "a timestamp is another": (
        [dataclasses.replace(each, timestamp=TIMESTAMP + 1) for each in _records(range(10))],
        "10 places differ",
    ),
    "a header is missing": (
        [dataclasses.replace(each, headers=[]) for each in _records(range(10))],
        "10 places differ",
    ),
    "a key became null": ([dataclasses.replace(each, key=None) for each in _records(range(10))], "10 places differ"),
}


@pytest.mark.broker
def test_the_witness_accepts_a_copy_and_sees_every_damage(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    witness = Witness(source_cluster, target_cluster)
    for records, told in [(_records(range(10)), None), *DAMAGES.values()]:
        topic = create_topic(source_cluster.bootstrap)
        create_topic(target_cluster.bootstrap, topic)
        places = produce(source_cluster.bootstrap, topic, _records(range(10)))
        produce(target_cluster.bootstrap, topic, records)
        acknowledged = {(topic, 0): {number: offset for number, (_, offset) in enumerate(places)}}
        if told is None:
            assert witness.compare(acknowledged) == 10
        else:
            with pytest.raises(AssertionError, match=told):
                witness.compare(acknowledged)


@pytest.mark.broker
def test_the_witness_sees_what_both_clusters_lack_or_repeat(
    source_cluster: EmbeddedCluster, target_cluster: EmbeddedCluster
) -> None:
    witness = Witness(source_cluster, target_cluster)
    for ids, told in [(range(9), "acknowledged, but not there"), ([*range(10), 3], "id 3 at 3 and 10")]:
        topic = create_topic(source_cluster.bootstrap)
        create_topic(target_cluster.bootstrap, topic)
        for cluster in (source_cluster, target_cluster):
            produce(cluster.bootstrap, topic, _records(ids))
        with pytest.raises(AssertionError, match=told):
            witness.compare({(topic, 0): {number: number for number in range(10)}})


@pytest.mark.broker
def test_a_load_tells_every_record_that_was_acknowledged(source_cluster: EmbeddedCluster) -> None:
    topic = create_topic(source_cluster.bootstrap, partitions=3)
    with Load(source_cluster.bootstrap, [topic], partitions=3) as load:
        load.wait_for(3_000)
        acknowledged = load.stop()
    told = {(place[1], offset) for place, ids in acknowledged.items() for offset in ids.values()}
    assert told == {record[:2] for record in read_all(source_cluster.bootstrap, topic)}
    ends = {(topic, number): view.true_end for number, view in look(source_cluster, topic).items()}
    assert ends == log_ends(source_cluster, [topic])


def _see(record_id: int, key: bytes = b"key") -> Seen:
    return Seen(key, record_value(record_id, 5), (), TIMESTAMP, TIMESTAMP_CREATE_TIME)


def test_of_a_cleaned_topic_only_what_a_later_record_replaced_may_be_missing() -> None:
    old, new, other = _see(1), _see(2), _see(3, b"other key")
    both = {(0, 5): old, (0, 9): new, (0, 7): other}
    without_old = {(0, 9): new, (0, 7): other}
    assert find_superseded(both, both) == set()
    assert find_superseded(without_old, both) == find_superseded(both, without_old) == {(0, 5)}
    for lost in ((0, 9), (0, 7)):  # the last of its key: nothing replaces it
        rest = {place: seen for place, seen in both.items() if place != lost}
        assert find_superseded(both, rest) == find_superseded(rest, both) == set()
    elsewhere = {(0, 5): old, (1, 9): new}
    assert find_superseded({(1, 9): new}, elsewhere) == set()


def test_below_a_source_s_log_start_the_target_may_show_only_what_was_written_there() -> None:
    ends, written = Ends(10, 20, 20), {(0, 8): 8, (0, 9): 9}
    records = {(0, 12): _see(12)}
    sides = Sides({0: ends}, {0: ends}, records, records, records)
    assert not compare("topic", forgive_late_trim(sides, written)).differences
    late = {**records, (0, 8): _see(8), (0, 9): _see(9)}
    lagging = sides._replace(target_ends={0: ends._replace(start=8)}, target=late, everything=late)
    assert not compare("topic", forgive_late_trim(lagging, written)).differences
    for wrong in (_see(7), Seen(None, None, (), TIMESTAMP, TIMESTAMP_CREATE_TIME)):  # another record, filler
        spoiled = {**late, (0, 8): wrong}
        seen = lagging._replace(target=spoiled, everything=spoiled)
        assert compare("topic", forgive_late_trim(seen, written)).differences
    ahead = sides._replace(target_ends={0: ends._replace(start=13)}, target={}, everything={})
    assert compare("topic", forgive_late_trim(ahead, written)).differences


def test_all_cells_together_are_the_whole_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CELLS_VARIABLE, raising=False)
    sample = choose_numbers(7, "test", long=30, sample=3)
    assert len(set(sample)) == 3
    assert sample == choose_numbers(7, "test", long=30, sample=3)
    assert {number % 3 for number in sample} == {0, 1, 2}
    monkeypatch.setenv(CELLS_VARIABLE, "all")
    assert choose_numbers(7, "test", long=30, sample=3) == list(range(30))


def test_results_are_those_of_the_same_code_and_the_last_one_counts(tmp_path: Path) -> None:
    file = tmp_path / "long" / "results.jsonl"
    failed = Result(cell="a", code="one", commit="x", seed=1, passed=False, seconds=1.0, failure="x")
    passed = dataclasses.replace(failed, commit="y", passed=True, failure="")
    for result in (failed, passed, dataclasses.replace(failed, code="two"), dataclasses.replace(failed, cell="b")):
        append_result(result, file)
    with file.open("a") as lines:
        lines.write('{"cell": "c", "comm')
    found = latest(load_results("one", file))
    assert {cell: result.passed for cell, result in found.items()} == {"a": True, "b": False}


def test_a_cell_is_claimed_once(tmp_path: Path) -> None:
    one, other = Claims(tmp_path / "claims"), Claims(tmp_path / "claims")
    assert [each.take(cell) for each, cell in [(one, "a"), (other, "a"), (other, "b"), (one, "b")]] == [
        True,
        False,
        True,
        False,
    ]


def test_one_folder_of_results_has_one_run_and_whoever_inherits_its_lock(tmp_path: Path) -> None:
    with only_run(tmp_path) as lock:
        with pytest.raises(AnotherRun, match="another run is at work"), only_run(tmp_path):
            pytest.fail("two runs at once")
        inherited = os.dup(lock)
    with pytest.raises(AnotherRun), only_run(tmp_path):
        pytest.fail("a job of the last run is still at work")
    os.close(inherited)
    with only_run(tmp_path):
        pass


def test_a_job_is_told_when_the_run_that_started_it_is_gone() -> None:
    ours, theirs = os.pipe()
    told: list[str] = []
    watching = end_with(ours, lambda: told.append("gone"))
    os.write(theirs, b"still there")
    assert not told
    os.close(theirs)
    watching.join()
    os.close(ours)
    assert told == ["gone"]


def test_the_first_signal_ends_a_run_and_further_ones_do_not_disturb_that() -> None:
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.getsignal(each) for each in watched}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        heed_interrupts()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
        for each in watched:
            signal.raise_signal(each)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        heed_interrupts()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # nohup
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_cells_that_must_run_alone_are_claimed_by_no_other_job(tmp_path: Path) -> None:
    def run(only_alone: bool) -> list[str]:
        ran: list[str] = []
        hook = SimpleNamespace(
            pytest_deselected=lambda items: None, pytest_runtest_protocol=lambda item, nextitem: ran.append(item.nodeid)
        )
        config = SimpleNamespace(hook=hook, option=SimpleNamespace(collectonly=False))
        marks = {"a": None, "b": ALONE, "c": None}
        items = [
            SimpleNamespace(nodeid=name, config=config, get_closest_marker=lambda name, has=mark: has == name or None)
            for name, mark in marks.items()
        ]
        session: Any = SimpleNamespace(items=items, config=config, shouldstop=False)
        matrix = Matrix(
            version=results.Version("x", "one"),
            seed=1,
            finished=(),
            seconds=60,
            keep=lambda result: None,
            claims=Claims(tmp_path / "claims"),
            only_alone=only_alone,
        )
        matrix.pytest_collection_modifyitems(session.config, session.items)
        assert (matrix.cells, matrix.alone) == (["a", "b", "c"], {"b"})
        assert matrix.pytest_runtestloop(session)
        return ran

    assert run(only_alone=False) == ["a", "c"]
    assert run(only_alone=True) == ["b"]


def test_a_change_counts_as_other_code_until_it_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(results, "ROOT", tmp_path)
    for name in ("src", "tests", "docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("as it was")
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    before = results.current_version()
    (tmp_path / "docs" / "file").write_text("other words")
    git("commit", "-am", "two")
    after_docs = results.current_version()
    assert (after_docs.code, after_docs.commit != before.commit) == (before.code, True)
    (tmp_path / "src" / "new").write_text("not committed")
    assert results.current_version().code not in (before.code, after_docs.code)
    (tmp_path / "src" / "new").unlink()
    assert results.current_version() == after_docs
    (tmp_path / "tests" / "file").write_text("another test")
    git("commit", "-am", "three")
    assert results.current_version().code != before.code
