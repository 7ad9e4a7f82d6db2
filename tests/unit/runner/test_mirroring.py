"""An owner's state goes to the topic under its lease, or to a file; and comes back where the folder was lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmigrate.copy.identity import producer_id
from kmigrate.copy.orders import Remembered
from kmigrate.errors import ClustersAway, KmigrateError, Refused
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, Term, TopicId, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import OffsetMap, Run
from kmigrate.runner import recovery as recovery_module
from kmigrate.runner.mirror_topic import MirrorFenced, Record, fold
from kmigrate.runner.mirroring import Kept, Mirroring, MirrorSettings
from kmigrate.runner.positions import Commit
from kmigrate.runner.recovery import STATE_ID, Recovery, recover, recover_from_file
from kmigrate.state.export import read_export
from kmigrate.state.mirror import HEAD_KEY, Head
from kmigrate.state.outbox import Outbox
from kmigrate.state.schema import STEPS
from kmigrate.state.store import RunsFrom, Store
from tests.simulation.mirror import MirrorLog, SimulatedMirrorTopic

PLACE = TopicPartition(TopicName("orders"), Partition(0))
Commits = dict[TopicPartition, Commit]


def commit(term: int) -> Commit:
    return Commit(Remembered(TopicId("a" * 32), TopicId("b" * 32), LeaderEpoch(3), Offset(5)), Term(term))


class Owner:
    """One owner of the migration `orders`, with a folder of its own."""

    def __init__(self, folder: Path, log: MirrorLog, term: int, name: str = "orders") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.store = Store.open(folder)
        self.outbox = Outbox(self.store)
        self.topic = SimulatedMirrorTopic(log)
        self.term = term
        self.granted = True
        self.head = Head(schema=len(STEPS), name=name, source="s", target="t", state="")
        self.mirroring: Mirroring

    def recover(self, commits: Commits) -> str:
        is_new = self.store.get("name") is None
        recovered = recover(
            Recovery(
                store=self.store,
                outbox=self.outbox,
                topic=self.topic,
                wanted=self.head,
                lease=lambda: Term(self.term),
                committed=lambda: commits,
                may_write=lambda: self.granted,
            ),
            is_new=is_new,
        )
        assert recovered.loaded == recovered.words.startswith("state recovered")
        return recovered.words

    def open(self, seconds: float = 0.0) -> Mirroring:
        if self.store.get(STATE_ID) is None:
            self.store.put(STATE_ID, str(self.folder))
            self.store.put("name", "orders")
        head = Head(**{**HEAD_FIELDS, "name": self.head.name, "state": self.store.get(STATE_ID)})  # type: ignore[arg-type]
        settings = MirrorSettings(
            head=head, data_id=producer_id("s", "t", "orders"), export=self.folder / "export.jsonl"
        )
        self.mirroring = Mirroring(settings, self.store, self.outbox, self.topic, lambda: self.granted)
        self.mirroring.open(self.term, seconds)
        return self.mirroring

    def save_map(self, runs: int) -> bytes:
        kept = OffsetMap()
        for number in range(runs):
            kept.add(Run(Offset(3 * number), Offset(2 * number)))
        self.store.decide_classes({PLACE: OffsetClass.MAPPED}, {PLACE: RunsFrom(0, kept.to_bytes())})
        return kept.to_bytes()


HEAD_FIELDS = {"schema": len(STEPS), "source": "s", "target": "t"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "READ_SECONDS", 0.0)
    monkeypatch.setattr(recovery_module, "AGAIN_SECONDS", 0.0)


@pytest.fixture
def log() -> MirrorLog:
    return MirrorLog()


def test_what_is_decided_is_in_the_topic_and_comes_back(tmp_path: Path, log: MirrorLog) -> None:
    first = Owner(tmp_path / "first", log, term=1)
    mirroring = first.open()
    assert mirroring.kept is Kept.TOPIC
    runs = first.save_map(1000)
    mark = mirroring.mark()
    assert not mirroring.has(mark)
    mirroring.step()
    assert mirroring.has(mark)
    assert mirroring.covers(1)
    assert mirroring.notices == ()
    second = Owner(tmp_path / "second", log, term=2)
    told = second.recover({PLACE: commit(1)})
    assert told.startswith("state recovered from __kmigrate.orders: ")
    assert second.store.offset_map(PLACE).to_bytes() == runs
    assert second.store.get(STATE_ID) == first.store.get(STATE_ID)
    assert second.store.remembered() == {PLACE: commit(1).memory}
    assert second.store.journal()[0].kind == "recovered"
    assert second.open().kept is Kept.TOPIC


def test_every_batch_ends_with_a_head(tmp_path: Path, log: MirrorLog) -> None:
    owner = Owner(tmp_path / "first", log, term=1)
    owner.open()
    owner.store.put("a", "1")
    owner.mirroring.step()
    assert all([each.key == HEAD_KEY for each in batch].index(True) == len(batch) - 1 for batch in log.batches)


def test_an_earlier_owner_cannot_write_once_a_later_one_has_begun(tmp_path: Path, log: MirrorLog) -> None:
    first = Owner(tmp_path / "first", log, term=1)
    first.open()
    second = Owner(tmp_path / "second", log, term=2)
    second.recover({})
    first.store.put("late", "1")
    with pytest.raises(MirrorFenced):
        first.mirroring.step()
    second.open()
    assert b'["fact","late"]' not in fold(log.records)


def test_without_the_lease_nothing_is_written(tmp_path: Path, log: MirrorLog) -> None:
    owner = Owner(tmp_path / "first", log, term=1)
    owner.open()
    before = len(log.records)
    owner.store.put("a", "1")
    owner.granted = False
    with pytest.raises(KmigrateError, match="lease"):
        owner.mirroring.step()
    assert len(log.records) == before


def test_a_mirror_that_somebody_copied_without_is_not_taken(tmp_path: Path, log: MirrorLog) -> None:
    first = Owner(tmp_path / "first", log, term=1)
    first.open()
    log.denied = True
    again = Owner(tmp_path / "first", log, term=2)
    assert again.open().kept is Kept.FILE
    assert again.mirroring.is_left_behind
    log.denied = False
    lost = Owner(tmp_path / "lost", log, term=3)
    assert "older than the copy" in lost.recover({PLACE: commit(2)})
    assert lost.store.get("name") is None
    kept = lost.open().kept
    assert kept is Kept.FILE, "another folder's state is not overwritten"
    assert "from another folder" in lost.mirroring.notices[0]


def test_maps_of_partitions_that_the_target_does_not_remember_are_left_out(tmp_path: Path, log: MirrorLog) -> None:
    first = Owner(tmp_path / "first", log, term=1)
    first.save_map(3)
    first.open()
    second = Owner(tmp_path / "second", log, term=2)
    assert "recovered" in second.recover({})
    assert second.store.offset_classes() == {PLACE: OffsetClass.MAPPED}
    assert len(second.store.offset_map(PLACE)) == 0


def test_where_the_topic_is_refused_the_state_is_a_file(tmp_path: Path, log: MirrorLog) -> None:
    log.denied = True
    owner = Owner(tmp_path / "first", log, term=1)
    mirroring = owner.open()
    assert mirroring.kept is Kept.FILE
    assert not mirroring.is_left_behind, "there is no topic that could be taken for whole"
    assert "export.jsonl" in mirroring.notices[0]
    owner.store.put("decided", "yes")
    assert mirroring.has(mirroring.mark()), "nothing waits for a topic that there is not"
    mirroring.stop(superseded=False)
    head, rows = read_export(owner.folder / "export.jsonl")
    assert b'["fact","decided"]' in rows
    other = Owner(tmp_path / "other", log, term=2)
    told = recover_from_file(owner.folder / "export.jsonl", other.store, other.outbox, other.head)
    assert told.startswith("state recovered from ")
    assert other.store.get("decided") == "yes"
    with pytest.raises(Refused, match="has a state already"):
        recover_from_file(owner.folder / "export.jsonl", other.store, other.outbox, other.head)
    assert head.name == "orders"


def test_an_owner_without_the_topic_takes_it_as_soon_as_it_may(tmp_path: Path, log: MirrorLog) -> None:
    log.denied = True
    owner = Owner(tmp_path / "first", log, term=1)
    mirroring = owner.open()
    log.denied = False
    mirroring._next_open = 0.0
    mirroring.step()
    assert mirroring.kept is Kept.TOPIC
    assert not (owner.folder / "export.jsonl").exists()
    second = Owner(tmp_path / "second", log, term=2)
    assert "recovered" in second.recover({PLACE: commit(1)})


def test_a_topic_that_is_deleted_is_made_anew(tmp_path: Path, log: MirrorLog) -> None:
    owner = Owner(tmp_path / "first", log, term=1)
    owner.open()
    runs = owner.save_map(5)
    owner.mirroring.step()
    log.delete()
    owner.store.put("a", "1")
    owner.mirroring.step()
    second = Owner(tmp_path / "second", log, term=2)
    second.recover({PLACE: commit(1)})
    assert second.store.offset_map(PLACE).to_bytes() == runs
    assert second.store.get("a") == "1"


def test_a_topic_that_is_deleted_for_good_leaves_the_file(tmp_path: Path, log: MirrorLog) -> None:
    owner = Owner(tmp_path / "first", log, term=1)
    owner.open()
    log.delete()
    log.denied = True
    owner.store.put("a", "1")
    owner.mirroring.step()
    assert owner.mirroring.kept is Kept.FILE
    assert (owner.folder / "export.jsonl").exists()


def test_a_topic_that_is_not_writable_any_more_holds_maps_up(tmp_path: Path, log: MirrorLog) -> None:
    owner = Owner(tmp_path / "first", log, term=1)
    mirroring = owner.open()
    log.denied = True
    owner.save_map(5)
    mark = mirroring.mark()
    with pytest.raises(KmigrateError):
        mirroring.step()
    assert not mirroring.has(mark)
    assert mirroring.kept is Kept.TOPIC
    log.denied = False
    mirroring.step()
    assert mirroring.has(mark)


def test_a_lost_answer_is_no_second_record(tmp_path: Path, log: MirrorLog) -> None:
    owner = Owner(tmp_path / "first", log, term=1)
    mirroring = owner.open()
    log.lost_answers = 2
    owner.store.put("a", "1")
    for _ in range(2):
        with pytest.raises(KmigrateError):
            mirroring.step()
        owner.store.put("a", "2")
    mirroring.step()
    assert [each.value for each in log.records if each.key == b'["fact","a"]'] == [
        b'{"key":"a","value":"1"}',
        b'{"key":"a","value":"2"}',
    ]


def test_a_term_is_covered_once_the_head_has_it(tmp_path: Path, log: MirrorLog) -> None:
    owner = Owner(tmp_path / "first", log, term=1)
    mirroring = owner.open()
    mirroring.set_term(4)
    assert not mirroring.covers(4)
    mirroring.step()
    assert mirroring.covers(4)


def test_a_folder_that_comes_back_takes_what_another_did_meanwhile(tmp_path: Path, log: MirrorLog) -> None:
    first = Owner(tmp_path / "first", log, term=1)
    first.open()
    second = Owner(tmp_path / "second", log, term=2)
    second.recover({})
    second.open()
    runs = second.save_map(7)
    second.mirroring.step()
    back = Owner(tmp_path / "first", log, term=3)
    assert "recovered" in back.recover({PLACE: commit(2)})
    assert back.store.offset_map(PLACE).to_bytes() == runs
    again = Owner(tmp_path / "first", log, term=4)
    assert again.recover({PLACE: commit(2)}) == "", "and no more than once"


def test_a_folder_that_lost_nothing_recovers_nothing(tmp_path: Path, log: MirrorLog) -> None:
    first = Owner(tmp_path / "first", log, term=1)
    assert first.recover({}) == ""
    first.open()
    first.store.put("not mirrored yet", "1")
    again = Owner(tmp_path / "first", log, term=2)
    assert again.recover({}) == ""
    assert again.store.get("not mirrored yet") == "1"
    again.open()
    assert b'["fact","not mirrored yet"]' in fold(log.records)


def test_another_migrations_state_is_refused_by_name(tmp_path: Path, log: MirrorLog) -> None:
    Owner(tmp_path / "first", log, term=1).open()
    log.records[-1] = Record(HEAD_KEY, log.records[-1].value.replace(b'"source":"s"', b'"source":"x"'))  # type: ignore[union-attr]
    with pytest.raises(Refused, match="another source cluster, x"):
        Owner(tmp_path / "second", log, term=2).recover({})
    log.records[-1] = Record(HEAD_KEY, b'{"version":99}')
    with pytest.raises(Refused, match="newer kmigrate"):
        Owner(tmp_path / "third", log, term=2).recover({})


def test_a_state_that_cannot_be_read_now_is_not_taken_for_lost(tmp_path: Path, log: MirrorLog) -> None:
    Owner(tmp_path / "first", log, term=1).open()
    log.away = True
    with pytest.raises(ClustersAway):
        Owner(tmp_path / "second", log, term=2).recover({})


def test_a_thread_mirrors_without_being_asked(tmp_path: Path, log: MirrorLog) -> None:
    owner = Owner(tmp_path / "first", log, term=1)
    mirroring = owner.open()
    mirroring.start()
    owner.store.put("a", "1")
    assert mirroring.flush(30.0)
    owner.store.put("b", "1")
    mirroring.stop(superseded=False)
    assert {b'["fact","a"]', b'["fact","b"]'} <= fold(log.records).keys()


def test_where_the_last_answer_of_the_start_is_lost_it_is_still_the_topic(tmp_path: Path, log: MirrorLog) -> None:
    """Our term may stand in the topic by then: with the file instead, it would be taken for whole."""
    owner = Owner(tmp_path / "first", log, term=1)
    appends = 0
    append = owner.topic.append

    def lose_the_last(records: list[Record], now_ms: int) -> int:
        nonlocal appends
        appends += 1
        if b'"term":1' in (records[-1].value or b""):
            log.lost_answers = 1
        return append(records, now_ms)

    owner.topic.append = lose_the_last  # type: ignore[method-assign, assignment]
    mirroring = owner.open()
    assert appends > 1
    assert mirroring.kept is Kept.TOPIC
    assert not mirroring.covers(1)
    owner.topic.append = append  # type: ignore[method-assign]
    mirroring.step()
    assert mirroring.covers(1)


def test_while_an_owner_begins_the_topic_says_what_it_said(tmp_path: Path, log: MirrorLog) -> None:
    Owner(tmp_path / "first", log, term=1).open()
    before = len(log.batches)
    again = Owner(tmp_path / "first", log, term=2)
    again.store.put("a", "1")
    again.open()
    terms = [head.term for batch in log.batches[before:] if (head := Head.from_bytes(batch[-1].value or b""))]
    assert terms[0] == 1
    assert terms[-1] == 2
    assert terms == sorted(terms)


def test_a_topic_with_something_else_in_it_is_left_alone(tmp_path: Path, log: MirrorLog) -> None:
    log.exists = True
    log.records = [Record(b"somebody", b"else")]
    owner = Owner(tmp_path / "first", log, term=1)
    assert "did not write" in owner.recover({})
    assert owner.open().kept is Kept.FILE
    assert log.records == [Record(b"somebody", b"else")]
