"""`offsets` prints where offsets are on the other side, or says why there is no answer."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
import yaml

from kmigrate.copy.states import PartitionState
from kmigrate.kafka_types import Offset, Partition, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.offsets.offset_map import OffsetMap, Run
from kmigrate.runner.status import PartitionStatus
from kmigrate.state.store import RunsFrom, Store

from .conftest import DOCUMENT, World

PAY_0, PAY_3 = (TopicPartition(TopicName("pay"), Partition(number)) for number in (0, 3))


@pytest.fixture
def copied(world: World) -> World:
    """pay-0 is identical up to 80; pay-3 is mapped: two runs, up to 90 on the source and 50 on the target."""
    world.left_behind(
        replace(
            DOCUMENT,
            partitions=tuple(
                PartitionStatus(
                    topic="pay",
                    partition=partition,
                    state=PartitionState.IN_SYNC,
                    source_start=start,
                    position=position,
                    target_end=end,
                )
                for partition, start, position, end in ((0, 0, 80, 80), (3, 10, 90, 50))
            ),
        )
    )
    kept = OffsetMap()
    kept.add(Run(Offset(10), Offset(0)))
    kept.add(Run(Offset(40), Offset(20)))
    store = Store.open(world.folder)
    store.decide_classes(
        {PAY_0: OffsetClass.IDENTICAL, PAY_3: OffsetClass.MAPPED}, {PAY_3: RunsFrom(0, kept.to_bytes())}
    )
    store.close()
    return world


def shown(world: World, *arguments: str) -> list[str]:
    result = world.call("offsets translate", "-t", "pay", *arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout.splitlines()


def test_an_offset_is_shown_with_both_sides(copied: World) -> None:
    assert shown(copied, "-p", "3", "--offset", "45") == [
        "pay-3  mapped",
        "source  45  a record's place",
        "target  25",
        "copied up to 90 on the source, 50 on the target",
    ]
    assert shown(copied, "-p", "3", "--offset", "5", "--from", "target")[1:3] == [
        "source  15",
        "target   5  a record's place",
    ]
    gap, end, identical = (
        shown(copied, "-p", partition, "--offset", offset)[1]
        for partition, offset in (("3", "35"), ("3", "90"), ("0", "35"))
    )
    assert gap == "source  35  no record has it: it stands for the next one"
    assert end == "source  90  the end of what is copied"
    assert identical == "source  35"


def test_json_and_yaml_are_the_same_document(copied: World) -> None:
    arguments = ("-t", "pay", "-p", "3", "--offset", "45", "-o")
    document = json.loads(copied.call("offsets translate", *arguments, "json").stdout)
    assert document == yaml.safe_load(copied.call("offsets translate", *arguments, "yaml").stdout)
    assert (document["kind"], document["sourceOffset"], document["targetOffset"]) == ("Translation", 45, 25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", "3", "--offset", "91"), "pay-3@91 on the source is beyond what is copied: the copy has come to 90"),
        (("-p", "3", "--offset", "9"), "pay-3@9 on the source is below 10, where its copied part begins"),
        (("-p", "0", "--offset", "81", "--from", "target"), "pay-0@81 on the target is beyond what is copied"),
    ],
)
def test_what_has_no_place_ends_with_1_and_says_how_far_the_copy_has_come(
    copied: World, arguments: tuple[str, ...], message: str
) -> None:
    result = copied.call("offsets translate", "-t", "pay", *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert message in result.stderr
    assert f"kmigrate status -f {copied.file}" in result.stderr
    told = copied.call("offsets translate", "-t", "pay", *arguments, "-o", "json")
    assert told.exit_code == 1
    document = json.loads(told.stdout)
    assert message in document["reason"]
    assert None in (document["sourceOffset"], document["targetOffset"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("-t", "pay", "-p", "7", "--offset", "1"),
        ("-t", "nobody", "-p", "3", "--offset", "1"),
        ("-t", "pay", "-p", "3", "--offset", "-1"),
        ("-t", "pay", "-p", "3", "--offset", str(2**63)),
        ("-t", "pay", "-p", "3"),
    ],
)
def test_a_wrong_question_ends_with_2(copied: World, arguments: tuple[str, ...]) -> None:
    result = copied.call("offsets translate", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_the_map_is_exported_a_line_for_every_run(copied: World) -> None:
    rows = [
        {"topic": "pay", "partition": 0, "offsetClass": "identical", "sourceFirst": 0, "targetFirst": 0, "count": 80},
        {"topic": "pay", "partition": 3, "offsetClass": "mapped", "sourceFirst": 10, "targetFirst": 0, "count": 20},
        {"topic": "pay", "partition": 3, "offsetClass": "mapped", "sourceFirst": 40, "targetFirst": 20, "count": 30},
    ]
    as_json = copied.call("offsets export")
    assert as_json.exit_code == 0, as_json.output
    assert [json.loads(line) for line in as_json.stdout.splitlines()] == rows
    as_csv = copied.call("offsets export", "-t", "pay", "-o", "csv").stdout
    assert list(csv.DictReader(io.StringIO(as_csv))) == [
        {key: str(value) for key, value in row.items()} for row in rows
    ]


@pytest.mark.parametrize("output", ["json", "csv"])
def test_an_export_that_cannot_begin_writes_nothing(copied: World, output: str) -> None:
    result = copied.call("offsets export", "-t", "nobody", "-o", output)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "no topic 'nobody'" in result.stderr


@pytest.mark.parametrize("command", ["offsets translate -t pay -p 0 --offset 1", "offsets export"])
def test_of_a_migration_that_never_ran_nothing_is_copied(world: World, command: str) -> None:
    words = command.split()
    result = world.call(" ".join(words[:2]), *words[2:])
    assert result.exit_code == 2
    assert "orders has not been started: nothing is copied" in result.stderr
