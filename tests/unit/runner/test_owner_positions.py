"""What is remembered is about one pair of topics, and never about a stopped partition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmigrate.copy.orders import Remembered
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, Term, TopicId, TopicName, TopicPartition
from kmigrate.offsets.beginning import Beginning
from kmigrate.offsets.classes import OffsetClass
from kmigrate.runner.positions import Commit, Positions, merge_memories, parse_commit, serialize_commit

T = TopicName("t")
TP = TopicPartition(T, Partition(0))
A, B, TARGET = TopicId("a" * 32), TopicId("b" * 32), TopicId("c" * 32)
STOP = Stop(kind=StopKind.GAP_LOST, offset=Offset(3), evidence="")


def memory(appended: int, source: TopicId = A) -> Remembered:
    return Remembered(source, TARGET, LeaderEpoch(4), Offset(appended))


def progress(position: int, stop: Stop | None = None) -> PartitionProgress:
    return PartitionProgress(
        partition=TP,
        state=PartitionState.STOPPED if stop else PartitionState.CATCHING_UP,
        position=Offset(position),
        target_end=Offset(position),
        source_start=Offset(0),
        source_end=Offset(100),
        source_epoch=LeaderEpoch(4),
        records=0,
        bytes=0,
        newest_ms=-1,
        crc_errors=0,
        reason="",
        stop=stop,
    )


@given(
    st.integers(0, 2**62),
    st.integers(-1, 2**31 - 1),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**62),
    st.one_of(st.just((-1, None)), st.tuples(st.integers(0, 2**62), st.one_of(st.none(), st.integers(0, 2**62)))),
)
def test_a_commit_comes_back_as_it_was(
    appended: int, epoch: int, term: int, start: int, even: tuple[int, int | None]
) -> None:
    written = Remembered(A, TARGET, LeaderEpoch(epoch), Offset(appended), *even)
    for own_from in (None, Offset(appended)):
        beginning = Beginning(A, Offset(start), start // 2, own_from)
        commit = parse_commit(*serialize_commit(written, Term(term), OffsetClass.SHIFTED, beginning))
        assert commit == Commit(written, Term(term), OffsetClass.SHIFTED, Offset(start), start // 2, own_from)
        assert commit.beginning == beginning


def test_a_commit_without_a_beginning_begins_where_the_log_does() -> None:
    for beginning in (None, Beginning(B, Offset(7), 7)):
        commit = parse_commit(*serialize_commit(memory(9), Term(1), OffsetClass.IDENTICAL, beginning))
        assert commit is not None
        assert commit.beginning == Beginning(A, Offset(0), 0)


def test_a_commit_of_somebody_else_is_not_ours() -> None:
    for metadata in ("", "hello", "[]", "{}", '{"v": 2}', '{"v": 1, "id": "x"}', "null"):
        assert parse_commit(5, metadata) is None


def test_progress_is_remembered_once_for_the_store_and_once_for_the_target() -> None:
    positions = Positions({})
    positions.on_ordered(TP, A, TARGET, 1)
    positions.on_progress(progress(10), 1)
    positions.on_progress(progress(20), 1)
    assert positions.take_unsaved() == {TP: memory(20)}
    assert positions.take_unsaved() == {}
    commits = positions.take_uncommitted(10, Term(7), lambda _: OffsetClass.MAPPED)
    assert commits == {TP: serialize_commit(memory(20), Term(7), OffsetClass.MAPPED)}
    assert positions.take_uncommitted(10, Term(7), lambda _: OffsetClass.MAPPED) == {}
    positions.give_back(commits)
    assert positions.take_uncommitted(10, Term(7), lambda _: OffsetClass.MAPPED) == commits
    assert positions.topics == {T}


def test_what_the_target_has_never_been_told_is_new_and_goes_first() -> None:
    later = TopicPartition(T, Partition(9))
    positions = Positions({TP: memory(10)})
    assert positions.is_new
    assert positions.take_uncommitted(10, Term(1), lambda _: None).keys() == {TP}
    assert not positions.is_new
    positions.on_ordered(TP, A, TARGET, 1)
    positions.on_progress(progress(20), 1)
    assert not positions.is_new, "its copy is known"
    positions.adopt({later: memory(0)})
    assert positions.is_new
    assert positions.take_uncommitted(1, Term(1), lambda _: None).keys() == {later}
    assert not positions.is_new
    positions.adopt({TopicPartition(T, Partition(10)): memory(0)})
    positions.forget(T)
    assert not positions.is_new


def test_a_stopped_or_unknown_position_is_not_remembered() -> None:
    positions = Positions({})
    positions.on_progress(progress(10), 1)
    positions.on_ordered(TP, A, TARGET, 1)
    positions.on_progress(progress(10, STOP), 1)
    positions.on_progress(progress(-1), 1)
    assert positions.take_unsaved() == {}


def test_what_was_copied_under_other_ids_is_never_remembered() -> None:
    positions = Positions({})
    positions.on_ordered(TP, A, TARGET, 1)
    positions.on_ordered(TP, B, TARGET, 5)
    positions.on_progress(progress(10), 4)
    assert positions.get(TP) is None
    positions = Positions({TP: memory(10)})
    positions.on_ordered(TP, B, TARGET, 5)
    positions.on_progress(progress(20), 5)
    assert positions.get(TP) == memory(10)
    positions.on_ordered(TP, None, TARGET, 6)
    positions.on_progress(progress(20), 6)
    assert positions.get(TP) == memory(10)


def test_a_topic_that_is_copied_anew_is_forgotten() -> None:
    positions = Positions({TP: memory(10)})
    positions.forget(T)
    assert positions.get(TP) is None
    assert not positions.topics
    assert positions.take_unsaved() == {}
    assert positions.take_uncommitted(10, Term(1), lambda _: None) == {}
    positions.on_ordered(TP, B, TARGET, 6)
    positions.on_progress(progress(1), 6)
    assert positions.get(TP) == memory(1, B)


def test_the_later_of_store_and_target_is_believed() -> None:
    def merged(stored: Remembered | None, commit: Commit, term: int) -> Remembered:
        return merge_memories({TP: stored} if stored else {}, {TP: commit}, Term(term))[TP]

    assert merged(None, Commit(memory(5), Term(1)), 0) == memory(5)
    assert merged(memory(10), Commit(memory(5), Term(3)), 3) == memory(10)
    assert merged(memory(10), Commit(memory(15), Term(3)), 3) == memory(15)
    assert merged(memory(10), Commit(memory(15, B), Term(3)), 3) == memory(10)
    assert merged(memory(10), Commit(memory(5, B), Term(4)), 3) == memory(5, B)


def test_the_later_time_as_of_which_nothing_was_missing_is_believed() -> None:
    def merged(stored: Remembered, commit: Remembered) -> Remembered:
        return merge_memories({TP: stored}, {TP: Commit(commit, Term(3))}, Term(3))[TP]

    early, late = (7_000, 60_000), (9_000, None)
    assert merged(memory(10)._replace(even_ms=7_000), memory(5)) == memory(10)._replace(even_ms=7_000)
    for stored, commit in ((early, late), (late, early)):
        found = merged(
            memory(10)._replace(even_ms=stored[0], retention_ms=stored[1]),
            memory(15)._replace(even_ms=commit[0], retention_ms=commit[1]),
        )
        assert (found.appended, found.even_ms, found.retention_ms) == (15, *late)
    other = merged(memory(10), memory(15, B)._replace(even_ms=9_000))
    assert other == memory(10), "the commit is about another topic"


def test_a_commit_of_an_earlier_version_does_not_know_the_time() -> None:
    offset, metadata = serialize_commit(memory(5), Term(1), OffsetClass.IDENTICAL)
    assert "even" not in metadata
    commit = parse_commit(offset, metadata)
    assert commit is not None
    assert (commit.memory.even_ms, commit.memory.retention_ms) == (-1, None)
