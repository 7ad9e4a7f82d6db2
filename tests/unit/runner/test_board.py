"""The board turns reports into the document, and works only for what changed."""

from dataclasses import replace

import pytest

from kmigrate.copy.orders import PipelineKey
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.spending import HELD_UP, Cause, Spent
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.copy.tally import Tally
from kmigrate.kafka_types import BrokerId, LeaderEpoch, Offset, Partition, TopicName, TopicPartition
from kmigrate.runner.board import NOT_LOOKED_AT, StatusBoard, decide_state
from kmigrate.runner.status import AcceptedStatus, EtaBasis, MigrationState, OpenTransaction, StatusDocument

HEAD = StatusDocument(name="orders", state=MigrationState.WAITING)
OPEN = OpenTransaction(producer_id=4, producer_epoch=2, first_offset=9)
FOREIGN = Stop(kind=StopKind.FOREIGN_WRITE, offset=Offset(4), evidence="producer 7 wrote")


def progress(
    partition: int,
    *,
    topic: str = "orders",
    state: PartitionState = PartitionState.CATCHING_UP,
    position: int = 0,
    end: int = 0,
    start: int = 0,
    records: int = 0,
    newest_ms: int = -1,
    reason: str = "",
    stop: Stop | None = None,
) -> PartitionProgress:
    return PartitionProgress(
        partition=TopicPartition(TopicName(topic), Partition(partition)),
        state=state,
        position=Offset(position),
        target_end=Offset(position),
        source_start=Offset(start),
        source_end=Offset(end),
        source_epoch=LeaderEpoch(0),
        records=records,
        bytes=records * 100,
        newest_ms=newest_ms,
        crc_errors=0,
        reason=reason,
        stop=stop,
    )


def test_partitions_nobody_reported_yet_are_listed() -> None:
    board = StatusBoard()
    board.expect([TopicPartition(TopicName("b"), Partition(1)), TopicPartition(TopicName("b"), Partition(0))])
    board.expect([TopicPartition(TopicName("a"), Partition(0))])
    document = board.document(5, HEAD)
    assert [each.name for each in document.partitions] == ["a-0", "b-0", "b-1"]
    assert {each.reason for each in document.partitions} == {NOT_LOOKED_AT}
    assert document.totals.lag_records is None
    assert document.totals.done is None
    assert document.updated_at == 5
    assert [(each.topic, each.partitions) for each in document.topics] == [("a", 1), ("b", 2)]


def test_a_partition_is_told_as_it_was_reported() -> None:
    board = StatusBoard()
    board.update([progress(3, position=40, start=10, end=100, newest_ms=500, reason="why")], 1_000)
    (partition,) = board.document(2_500, HEAD).partitions
    assert (partition.position, partition.source_start, partition.source_end) == (40, 10, 100)
    assert (partition.lag_records, partition.lag_seconds, partition.target_end) == (60, 2.0, 40)
    assert partition.reason == "why"
    assert board.document(3_500, HEAD).partitions[0].lag_seconds == 3.0


def test_what_is_not_known_is_not_zero() -> None:
    board = StatusBoard()
    board.update([progress(0, position=-1, end=100), progress(1, position=5, end=-1)], 0)
    for partition in board.document(0, HEAD).partitions:
        assert partition.lag_records is None
        assert partition.lag_seconds is None
    board.update([progress(0, position=5, end=100)], 0)
    assert board.document(0, HEAD).partitions[0].lag_records == 95
    assert board.document(0, HEAD).partitions[0].lag_seconds is None  # nothing was copied yet
    board.update([progress(1, position=5, end=5)], 0)
    assert board.document(0, HEAD).totals.lag_seconds is None  # one of the two is behind, for an unknown time
    board.update([progress(0, position=100, end=100)], 0)
    assert board.document(0, HEAD).totals.lag_seconds == 0.0


def test_what_is_not_known_in_part_is_not_done() -> None:
    board = StatusBoard()
    board.update([progress(0, position=9, end=9, state=PartitionState.IN_SYNC), progress(1, position=-1)], 0)
    flow = board.document(0, HEAD).totals
    assert (flow.lag_records, flow.lag_seconds, flow.eta_basis) == (None, None, EtaBasis.UNKNOWN)
    assert flow.done == 0.999
    board.update([progress(2, position=0, end=9)], 0)
    assert board.document(0, HEAD).totals.lag_records == 9


def test_a_paused_partition_has_no_eta() -> None:
    board = StatusBoard()
    for second in range(5):
        board.update([progress(0, position=second * 10, end=100)], second * 1_000)
    assert board.document(4_000, HEAD).totals.eta_basis is EtaBasis.RATE
    board.update([progress(0, position=40, end=100, state=PartitionState.PAUSED)], 4_000)
    flow = board.document(4_000, HEAD).totals
    assert (flow.lag_records, flow.eta_seconds, flow.eta_basis) == (60, None, EtaBasis.PAUSED)


def test_a_record_after_a_long_silence_is_not_behind_for_that_long() -> None:
    board = StatusBoard()
    board.update([progress(0, position=10, end=10, newest_ms=0)], 1_000)
    board.update([progress(0, position=10, end=11, newest_ms=0)], 9_000_000)
    assert board.document(9_000_400, HEAD).partitions[0].lag_seconds == 0.4


def test_rates_lag_and_eta_add_up() -> None:
    board = StatusBoard()
    for second in range(31):
        reports = [
            progress(
                number,
                topic=topic,
                position=second * 100,
                end=10_000 + second * 20,
                records=second * 50,
            )
            for topic in ("a", "b")
            for number in range(2)
        ]
        board.update(reports, second * 1_000)
    document = board.document(30_000, HEAD)
    for flow, partitions in ((document.topics[0].flow, 2), (document.totals, 4)):
        assert flow.records_copied == 1_500 * partitions
        assert flow.records_per_second == 50 * partitions
        assert flow.bytes_per_second == 5_000 * partitions
        assert flow.lag_records == 7_600 * partitions
        assert flow.eta_seconds == 95.0  # 7600 left, 80 a second closer
        assert flow.eta_basis is EtaBasis.RATE
        assert flow.done == pytest.approx(3_000 / 10_600, abs=1e-5)


def test_a_counter_that_began_anew_is_counted_from_there() -> None:
    board = StatusBoard()
    for records in (100, 150, 20, 30):
        board.update([progress(0, records=records)], records)
    assert board.document(0, HEAD).totals.records_copied == 180
    assert board.document(0, HEAD).totals.bytes_copied == 18_000


def test_damaged_batches_are_counted_through_changes_of_worker() -> None:
    board = StatusBoard()
    for now_ms, crc_errors in enumerate([0, 2, 3, 1, 1]):  # another worker begins at 0 and has seen one
        board.update([progress(0)._replace(crc_errors=crc_errors)], now_ms)
    assert board.document(9, HEAD).partitions[0].crc_errors == 4


def test_a_recreated_topic_does_not_count_as_progress_backwards() -> None:
    board = StatusBoard()
    for second, position in enumerate((0, 500, 1_000, 0, 500)):
        board.update([progress(0, position=position, end=2_000)], second * 1_000)
    assert board.document(4_000, HEAD).totals.eta_seconds == 1_500 / (1_500 / 4)


def test_a_dropped_topic_is_gone() -> None:
    board = StatusBoard()
    board.update([progress(0, topic="a"), progress(0, topic="b")], 0)
    board.document(0, HEAD)
    board.drop("a")
    board.drop("nobody")
    assert [topic.topic for topic in board.document(0, HEAD).topics] == ["b"]


def test_nothing_is_made_again_for_what_did_not_change() -> None:
    board = StatusBoard()
    reports = [progress(number, position=5, end=5, state=PartitionState.IN_SYNC) for number in range(50)]
    reports.append(progress(0, topic="busy", end=9, newest_ms=0))
    board.update(reports, 0)
    before = board.document(60_000, HEAD)
    board.update(reports, 61_000)
    after = board.document(62_000, HEAD)
    assert all(
        old is new for old, new in zip(before.partitions, after.partitions, strict=True) if new.topic == "orders"
    )
    assert before.topics[1] is after.topics[1]
    assert after.partitions[0].lag_seconds == 62.0


def place(partition: int, topic: str = "orders") -> TopicPartition:
    return TopicPartition(TopicName(topic), Partition(partition))


def test_what_is_held_back_is_counted_if_the_source_was_looked_at() -> None:
    board = StatusBoard()
    reports = [progress(0, end=9)._replace(held_back=3), progress(1, end=9), progress(2, end=-1)]
    board.update(reports, 0)
    board.expect([place(3)])
    assert [each.held_back_records for each in board.document(0, HEAD).partitions] == [3, 0, None, None]


def test_an_open_transaction_is_shown_until_it_is_known_no_longer() -> None:
    board = StatusBoard()
    board.update([progress(0), progress(1), progress(0, topic="pay")], 0)
    before = board.document(0, HEAD)
    board.show_open({place(1): OPEN, place(0, "pay"): OPEN, place(7, "nobody"): OPEN})
    shown = board.document(0, HEAD)
    assert [each.open_transaction for each in shown.partitions] == [None, OPEN, OPEN]
    assert [partition.name for partition, _ in shown.held_back] == ["orders-1", "pay-0"]
    board.show_open({place(1): replace(OPEN), place(0, "pay"): OPEN})
    assert board.document(0, HEAD).partitions[1] is shown.partitions[1]
    board.update([progress(1, position=3)], 0)
    board.show_open({place(1): OPEN})
    assert [each.open_transaction for each in board.document(0, HEAD).partitions] == [None, OPEN, None]
    board.show_open({})
    after = board.document(0, HEAD)
    assert [each.open_transaction for each in after.partitions] == [None, None, None]
    assert after.partitions[0] is before.partitions[0], "nothing is made again for what did not change"


def test_what_was_accepted_is_told_with_its_partition() -> None:
    accepted = AcceptedStatus(kind=StopKind.TOMBSTONES_MAY_BE_LOST, offset=4, evidence="seen", at=77)
    board = StatusBoard()
    board.update([progress(0), progress(1)], 0)
    before = board.document(0, HEAD)
    board.show_accepted({place(1): accepted, place(7, "nobody"): accepted})
    shown = board.document(0, HEAD)
    assert [(each.name, stop) for each, stop in shown.accepted] == [("orders-1", accepted)]
    assert StatusDocument.from_json(shown.to_json()).accepted == shown.accepted
    assert shown.partitions[0] is before.partitions[0]
    board.show_accepted({})
    assert board.document(0, HEAD).accepted == ()


def test_what_was_accepted_of_a_topic_is_told_also_if_the_topic_turns_up_later() -> None:
    accepted = AcceptedStatus(kind=StopKind.TOMBSTONES_MAY_BE_LOST, offset=4, evidence="seen", at=77)
    board = StatusBoard()
    board.show_accepted({place(1): accepted})
    board.update([progress(1)], 0)
    assert [stop for _, stop in board.document(0, HEAD).accepted] == [accepted]
    board.drop("orders")
    board.update([progress(1)], 0)
    assert [stop for _, stop in board.document(0, HEAD).accepted] == [accepted]


def test_foreign_writes_are_counted_when_they_are_noticed() -> None:
    board = StatusBoard()
    for stop in (None, FOREIGN, FOREIGN, None, FOREIGN):
        board.update([progress(0, stop=stop, position=len(board.document(0, HEAD).topics))], 0)
        board.update([progress(1, topic="pay")], 0)
    assert [(each.topic, each.foreign_writes) for each in board.document(0, HEAD).topics] == [("orders", 2), ("pay", 0)]


def test_what_is_held_back_is_in_sync_but_not_without_a_next_step() -> None:
    board = StatusBoard()
    board.update([progress(number, state=PartitionState.IN_SYNC) for number in range(2)], 0)
    board.show_open({place(1): OPEN})
    state, reason, next_step = decide_state(board.document(0, HEAD))
    assert (state, reason) == (
        MigrationState.IN_SYNC,
        "everything readable is copied; 1 partition held back by open transactions",
    )
    assert "open transactions" in next_step


def test_stopped_and_waived_partitions_do_not_move() -> None:
    board = StatusBoard()
    stopped = progress(0, end=100, state=PartitionState.STOPPED, stop=FOREIGN)
    board.update([stopped, progress(1, position=7, end=7, state=PartitionState.IN_SYNC)], 0)
    document = board.document(0, HEAD)
    assert document.totals.lag_records == 100
    assert document.totals.eta_basis is EtaBasis.STOPPED
    assert document.stopped[0].stop is not None
    assert document.stopped[0].stop.evidence == "producer 7 wrote"
    board.update([stopped._replace(state=PartitionState.IGNORED)], 0)
    document = board.document(0, HEAD)
    assert document.stopped == ()
    assert document.waived[0].name == "orders-0"
    assert document.totals.eta_basis is EtaBasis.DONE


@pytest.mark.parametrize(
    ("states", "paused", "state", "reason"),
    [
        ("CATCHING_UP IN_SYNC STOPPED", False, MigrationState.RUNNING, "copying; 1 partition stopped"),
        ("THROTTLED IN_SYNC", False, MigrationState.RUNNING, "copying, held back by the limit or by a quota"),
        ("CATCHING_UP THROTTLED", False, MigrationState.RUNNING, "copying"),
        ("IN_SYNC IN_SYNC", False, MigrationState.IN_SYNC, "everything readable is copied; new records follow"),
        (
            "IN_SYNC IGNORED",
            False,
            MigrationState.IN_SYNC,
            "everything readable is copied (1 partition waived); new records follow",
        ),
        ("IN_SYNC STOPPED STOPPED", False, MigrationState.STOPPED, "2 partitions stopped; the others are in sync"),
        ("STOPPED", False, MigrationState.STOPPED, "1 partition stopped; the others are in sync"),
        ("WAITING IN_SYNC", False, MigrationState.WAITING, "no leader"),
        ("WAITING STOPPED", False, MigrationState.WAITING, "no leader; 1 partition stopped"),
        ("CATCHING_UP STOPPED", True, MigrationState.PAUSED, "an operator paused it"),
    ],
)
def test_the_migrations_state_follows_from_its_partitions(
    states: str, paused: bool, state: MigrationState, reason: str
) -> None:
    board = StatusBoard()
    reports = []
    for number, name in enumerate(states.split()):
        each = PartitionState(name)
        stop = FOREIGN if each in (PartitionState.STOPPED, PartitionState.IGNORED) else None
        reports.append(progress(number, state=each, reason="no leader", stop=stop))
    board.update(reports, 0)
    verdict = decide_state(board.document(0, HEAD), paused=paused)
    assert (verdict.state, verdict.reason) == (state, reason)
    assert verdict.next_step


def test_a_migration_without_partitions_is_not_in_sync() -> None:
    assert decide_state(replace(HEAD)).state is MigrationState.WAITING


def test_a_partition_that_falls_behind_is_told_when_it_loses_data() -> None:
    board = StatusBoard()
    board.update([progress(0, position=5, end=10, newest_ms=0)], 1_000)
    board.show_retention({TopicName("orders"): 60_000})
    assert board.document(1_000, HEAD).losing == ()
    (topic,) = board.document(21_000, HEAD).losing
    assert topic.loss_seconds == 39.0
    assert board.document(21_000, HEAD).partitions[0].loss_seconds == 39.0
    board.update([progress(0, position=10, end=10, newest_ms=20_000)], 22_000)
    assert board.document(22_000, HEAD).losing == (), "nothing is behind any more"


def test_a_full_target_pauses_whatever_the_partitions_say() -> None:
    board = StatusBoard()
    board.update([progress(0, position=5, end=10)], 1)
    verdict = decide_state(board.document(1, HEAD), full="TARGET_FULL: broker 1 …")
    assert (verdict.state, verdict.reason) == (MigrationState.PAUSED, "TARGET_FULL: broker 1 …")
    assert decide_state(board.document(1, HEAD), paused=True, full="x").reason == "an operator paused it"


def test_what_pipelines_counted_adds_up() -> None:
    board = StatusBoard()
    board.update([progress(0)], 0)
    first, second = Tally(), Tally()
    first.arrived(TopicName("orders"), 20)
    second.arrived(TopicName("orders"), 2_000)
    second.arrived(TopicName("gone"), 2_000)
    head = StatusDocument(name="m", state=MigrationState.RUNNING)
    assert board.document(1, head).throttled_seconds == dict.fromkeys(HELD_UP, 0.0)
    for lane, (tally, seconds) in enumerate(((first, 1.5), (second, 2.0))):
        board.count(tally.take())
        board.spend(PipelineKey(0, BrokerId(1), BrokerId(1), lane), Spent(limit=seconds, own=9), 1)
    document = board.document(2, head)
    latency = document.topics[0].latency
    assert [topic.topic for topic in document.topics] == ["orders"]
    assert latency is not None
    assert (sum(latency.counts), latency.sum_seconds) == (2, 2.02)
    assert document.throttled_seconds[Cause.LIMIT] == 3.5
    assert StatusDocument.from_json(document.to_json()) == document


def test_counters_of_another_pipeline_begin_anew() -> None:
    board = StatusBoard()
    one, two = (PipelineKey(0, BrokerId(1), BrokerId(1), lane) for lane in range(2))
    board.update([progress(0, records=100)], 1, one)
    board.update([progress(0, records=150)], 2, one)
    board.update([progress(0, records=500)], 3, two)
    board.update([progress(0, records=500)._replace(state=PartitionState.WAITING)], 4)
    head = StatusDocument(name="m", state=MigrationState.RUNNING)
    assert board.document(5, head).totals.records_copied == 650
