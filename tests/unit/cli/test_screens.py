"""Screens fit 80 columns and 200, tell the reason, and show what is worst first."""

from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from kmigrate.cli.screens import closing_screen, live_screen, plain_line, status_screen
from kmigrate.copy.progress import PartitionProgress
from kmigrate.copy.states import PartitionState, Stop, StopKind
from kmigrate.kafka_types import LeaderEpoch, Offset, Partition, TopicName, TopicPartition
from kmigrate.runner.board import StatusBoard, decide_state
from kmigrate.runner.status import (
    AcceptedStatus,
    LeftOut,
    MigrationState,
    OpenTransaction,
    StatusDocument,
    WorkerStatus,
)

STOP = Stop(
    kind=StopKind.FOREIGN_WRITE,
    offset=Offset(48_213),
    evidence="offsets 48213 to 48220 carry producer id 7041, written at 2024-05-01T20:11:04Z",
)
HEAD = StatusDocument(
    name="orders",
    state=MigrationState.RUNNING,
    source_cluster_id="5L6g3nShT-eMCtK--X86sw",
    target_cluster_id="kQv0ZyWLQ5qMhdyJPpXJ4g",
    started_at=0,
    throttle_bytes_per_second=50_000_000,
    lease_seconds_left=12.0,
    workers=(WorkerStatus(number=0, pid=7, alive=True), WorkerStatus(number=1, pid=8, alive=False)),
    notices=("the target has one broker",),
    left_out=(LeftOut(topic="__consumer_offsets", reason="internal"),),
    held=("topic-0", "topic-1"),
)


ONGOING = OpenTransaction(
    producer_id=4,
    producer_epoch=2,
    first_offset=1_000,
    transactional_id="billing\x1b[31m",
    since=4_000,
    state="Ongoing",
    timeout_ms=60_000,
    hanging=False,
)
HANGING = OpenTransaction(
    producer_id=5, producer_epoch=0, first_offset=900, transactional_id="pay", state="Empty", hanging=True
)
UNCLEAR = OpenTransaction(producer_id=6, producer_epoch=0, first_offset=800, note="no coordinator names it")


def spell(text: str) -> str:
    return text.replace("-f FILE", "-f orders.yaml")


def name_of(number: int) -> str:
    return "a-topic-with-a-name-as-long-as-they-get-in-real-life." * 4 if number == 2 else f"topic-{number}"


def document(topics: int, *, stopped: int = 1, behind: int = 5) -> StatusDocument:
    """Topic n lags more the larger n is, topic-0 holds the stops."""
    board = StatusBoard()
    for second in (0, 10):
        reports = []
        for number in range(topics):
            lag = number * 1_000 if number < behind else 0
            position = second * 100
            for partition in range(3):
                stop = STOP if number == 0 and partition < stopped else None
                state = PartitionState.CATCHING_UP if lag else PartitionState.IN_SYNC
                reports.append(
                    PartitionProgress(
                        TopicPartition(TopicName(name_of(number)), Partition(partition)),
                        PartitionState.STOPPED if stop else state,
                        Offset(position),
                        Offset(0),
                        Offset(position + lag - second * 10 * bool(lag)),
                        LeaderEpoch(0),
                        position,
                        position * 900,
                        0,
                        0,
                        "",
                        stop,
                    )
                )
        board.update(reports, second * 1_000)
    shown = board.document(10_000, HEAD)
    verdict = decide_state(shown)
    return replace(shown, state=verdict.state, reason=verdict.reason, next_step=verdict.next_step)


def held_back(topics: int, *found: OpenTransaction, stopped: int = 0) -> StatusDocument:
    """The first partitions of the last topic are held back by these transactions."""
    shown = document(topics, stopped=stopped)
    there = {(name_of(topics - 1), number): each for number, each in enumerate(found)}
    partitions = tuple(
        replace(each, held_back_records=12, open_transaction=there.get((each.topic, each.partition)))
        for each in shown.partitions
    )
    return replace(shown, partitions=partitions)


def lines(renderable: RenderableType, width: int) -> list[str]:
    console = Console(width=width, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    console.file.close()
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("height", [24, 50])
@pytest.mark.parametrize("topics", [1, 4, 1_000])
@pytest.mark.parametrize("stopped", [0, 1, 3])
def test_the_live_view_fits_its_terminal(width: int, height: int, topics: int, stopped: int) -> None:
    console = Console(width=width, height=height)
    shown = lines(live_screen(document(topics, stopped=stopped), console, spell), width)
    assert len(shown) <= height
    assert max(map(len, shown)) <= width
    assert shown[0].startswith("orders  ")


@pytest.mark.parametrize("width", [80, 200])
def test_the_live_view_shows_the_worst_and_counts_the_others(width: int) -> None:
    console = Console(width=width, height=30)
    shown = lines(live_screen(document(1_000), console, spell), width)
    text = "\n".join(shown)
    titles = next(number for number, line in enumerate(shown) if line.startswith("Topic"))
    assert shown[titles + 1].startswith("topic-0")  # it has a stop
    assert shown[titles + 2].startswith("topic-4")  # it lags most
    rows = next(number for number, line in enumerate(shown) if line.startswith("… and")) - titles - 1
    assert f"… and {1_000 - rows:,} more" in text
    assert "FOREIGN_WRITE at offset 48213: somebody else wrote to the target partition" in text.replace(" \n", " ")
    assert "kmigrate resume -f orders.yaml -t topic-0 --recreate" in text
    assert "next  answer the stops" in text


@pytest.mark.parametrize("width", [80, 200])
def test_every_number_that_was_promised_is_there(width: int) -> None:
    text = "\n".join(lines(live_screen(document(4), Console(width=width, height=40), spell), width))
    assert "RUNNING  copying; 1 partition stopped" in text
    assert "1,200 records/s" in text
    assert "1.08 MB/s" in text
    assert "at the rate of the last 30 s" in text
    assert "limit 50.0 MB/s" in text
    assert "1 of 2 workers alive" in text
    for title in ("Done", "Rec/s", "Bytes/s", "Lag", "Behind", "ETA"):
        assert title in text
    assert ("Partitions" in text) == (width == 200)


@pytest.mark.parametrize("width", [80, 200])
def test_status_shows_next_step_partitions_stops_and_what_was_left_out(width: int) -> None:
    shown = lines(status_screen(document(4), width, spell), width)
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert shown[1] == "next  answer the stops listed here"
    assert "STOPPED" in next(line for line in shown if line.startswith("topic-0-0"))
    assert "kmigrate resume -f orders.yaml -t topic-0 -p 0 --ignore" in text
    assert "producer id 7041" in text
    assert "note: the target has one broker" in text
    assert "2 topics under hold: topic-0, topic-1" in text
    assert "left out: __consumer_offsets (internal)" in text


def test_status_says_what_was_accepted() -> None:
    shown = document(1)
    accepted = AcceptedStatus(kind=StopKind.TOMBSTONES_MAY_BE_LOST, offset=4, evidence="seen", at=1_760_000_000_000)
    partitions = (replace(shown.partitions[0], accepted=accepted), *shown.partitions[1:])
    text = "\n".join(lines(status_screen(replace(shown, partitions=partitions), 200, spell), 200))
    assert "accepted: topic-0-0 (TOMBSTONES_MAY_BE_LOST at offset 4, 2025-10-09 08:53:20 UTC)" in text


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("height", [24, 50])
@pytest.mark.parametrize("stopped", [0, 1, 3])
@pytest.mark.parametrize("found", [(ONGOING,), (ONGOING, UNCLEAR, HANGING)])
def test_the_live_view_with_open_transactions_fits_its_terminal(
    width: int, height: int, stopped: int, found: tuple[OpenTransaction, ...]
) -> None:
    console = Console(width=width, height=height)
    shown = lines(live_screen(held_back(4, *found, stopped=stopped), console, spell), width)
    assert len(shown) <= height
    assert max(map(len, shown)) <= width
    if height == 50:
        assert any("held back by open transactions" in line for line in shown)


@pytest.mark.parametrize("screen", ["status", "live", "closing"])
def test_every_screen_says_who_holds_a_partition_back_worst_first(screen: str) -> None:
    told = held_back(4, ONGOING, UNCLEAR, HANGING)
    shown = lines(
        {
            "status": lambda: status_screen(told, 200, spell),
            "live": lambda: live_screen(told, Console(width=200, height=50), spell),
            "closing": lambda: closing_screen(told, spell, "kmigrate.log"),
        }[screen](),
        200,
    )
    first = shown.index("3 partitions held back by open transactions on the source:")
    abort = "kafka-transactions.sh --bootstrap-server SOURCE abort --topic topic-3"
    assert [line.rstrip() for line in shown[first + 1 : first + 6]] == [
        "topic-3-2  12 offsets from 900 on, producer id 5 (epoch 0), transactional id 'pay', "
        "hanging: its coordinator is Empty, and not with this partition",
        f"  {abort} --partition 2 --start-offset 900",
        "topic-3-1  12 offsets from 800 on, producer id 6 (epoch 0), transactional id ?, no coordinator names it",
        f"  if it hangs: {abort} --partition 1 --start-offset 800",
        "topic-3-0  12 offsets from 1000 on, producer id 4 (epoch 2), transactional id 'billing\\x1b[31m', "
        "open for 6.0s of at most 1m00s",
    ]


def test_of_many_partitions_that_are_held_back_the_rest_is_counted() -> None:
    shown = document(5)
    partitions = tuple(replace(each, held_back_records=1, open_transaction=ONGOING) for each in shown.partitions)
    text = "\n".join(lines(status_screen(replace(shown, partitions=partitions), 200, spell), 200))
    assert "15 partitions held back by open transactions" in text
    assert text.count("1 offset from 1000 on") == 10
    assert "… and 5 more" in text
    whole = "\n".join(lines(status_screen(replace(shown, partitions=partitions), 200, spell, is_whole=True), 200))
    assert whole.count("1 offset from 1000 on") == 15
    assert "more" not in whole


def test_a_long_name_keeps_its_end_and_stops_tell_it_whole() -> None:
    shown = lines(status_screen(document(4), 80, spell), 80)
    assert any(line.startswith("a-topi") and "…" in line for line in shown)


def test_a_short_name_is_shown_whole_where_there_is_room() -> None:
    board = StatusBoard()
    board.expect([TopicPartition(TopicName("orders"), Partition(number)) for number in range(3)])
    shown = lines(status_screen(board.document(0, HEAD), 110, spell), 110)
    assert any(line.startswith("orders ") and "3 WAITING" in line for line in shown)


def test_a_migration_that_never_ran_is_told_in_two_lines() -> None:
    nothing = StatusDocument(
        name="orders",
        state=MigrationState.NOT_STARTED,
        reason="no run of orders is recorded",
        next_step="kmigrate run -f FILE starts it",
    )
    assert lines(status_screen(nothing, 80, spell), 80) == [
        "orders  NOT_STARTED  no run of orders is recorded",
        "next  kmigrate run -f orders.yaml starts it",
    ]


@pytest.mark.parametrize("width", [80, 200])
def test_the_closing_summary_says_what_was_done_and_where_the_log_is(width: int) -> None:
    shown = lines(closing_screen(document(4), spell, "orders/kmigrate.log"), width)
    assert shown[1] == "copied  12,000 records, 10.8 MB in 10s, 1.08 MB/s on average"
    assert "log   orders/kmigrate.log" in shown
    assert any("--recreate" in line for line in shown)


def test_a_plain_line_names_state_reason_rates_and_eta() -> None:
    assert plain_line(document(4)) == (
        "orders RUNNING: copying; 1 partition stopped, 1,200 records/s, 1.08 MB/s, "
        "lag 17,100 records, 10s, ETA 3m10s, at the rate of the last 30 s"
    )
    assert plain_line(replace(HEAD, reason="waits for the lease")) == "orders RUNNING: waits for the lease"


def test_what_is_not_known_is_told_as_such() -> None:
    board = StatusBoard()
    board.expect([TopicPartition(TopicName("orders"), Partition(0))])
    text = "\n".join(lines(status_screen(board.document(0, HEAD), 80, spell), 80))
    assert "not looked at yet" in text
    assert "lag not known yet" in text
    assert "no ETA: unknown" in text
