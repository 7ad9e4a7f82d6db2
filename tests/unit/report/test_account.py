"""The account tells of everything, and names whatever it does not know."""

import dataclasses
import json
from typing import Any

import pytest

from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Side
from kmigrate.offsets.classes import OffsetClass
from kmigrate.report.account import ReportDocument
from kmigrate.report.accounting import make_account
from kmigrate.runner.ledger import Ledger
from kmigrate.state.journal import ChainState, JournalEntry
from kmigrate.topics.intended import Origin

from .accounts import AT, LEDGER, STATUS, VERIFIED, whole_account


def unknown(document: ReportDocument) -> dict[str, tuple[str, ...]]:
    return {each.what: each.where for each in document.not_known}


def test_every_topic_and_partition_is_accounted_for() -> None:
    found = whole_account()
    assert {each.topic: [one.partition for one in each.partitions] for each in found.topics} == {
        "old": [],
        "orders": [0, 1, 2, 3],
        "pay": [0, 1, 2, 3],
    }
    assert (found.totals.stopped, found.totals.waived, found.totals.verified, found.totals.different) == (1, 1, 4, 1)
    assert found.totals.states == {"IN_SYNC": 5, "STOPPED": 1, "IGNORED": 1, "WAITING": 1}


def test_what_is_verified_is_told_with_range_and_what_was_copied_since() -> None:
    orders = whole_account().topics[1].partitions
    assert [(each.mode, each.verdict, each.start, each.end) for each in orders[0].verifications] == [
        ("records", "equal", 0, 40),
        ("ends", "equal", 0, 40),
    ]
    assert [each.verifications[0].unverified for each in orders] == [0, 1, 2, 3]
    difference = whole_account().topics[2].partitions[2].verifications[0].difference
    assert difference is not None
    assert (difference.source_offset, difference.target_offset) == (31, None)


def test_what_only_the_store_knows_is_told_too() -> None:
    found = whole_account(status=None, verified=())
    (pay,) = (each for each in found.topics if each.topic == "pay")
    assert [(each.partition, each.offset_class, each.map_runs) for each in pay.partitions] == [
        (2, OffsetClass.MAPPED, 17)
    ]
    assert found.state is None
    assert unknown(found)["states, positions and ends of partitions"] == ()


def test_settings_are_held_or_restored_and_intended() -> None:
    old, orders, pay = (each.settings for each in whole_account().topics)
    assert (old.held, old.origin, old.intended, old.restored_at) == (
        False,
        Origin.TARGET,
        {"retention.ms": "5"},
        AT + 3,
    )
    assert (orders.held, orders.intended) == (True, {"cleanup.policy": "compact"})
    assert (pay.held, pay.origin, pay.intended) == (True, Origin.LOST, None)


def test_what_is_null_is_named_with_its_reason() -> None:
    told = unknown(whole_account())
    assert told["the position of partitions"] == ("pay-0", "pay-1", "pay-3")
    assert told["the intended settings of topics"] == ("pay",)
    assert told["whether both sides hold the same"] == ("pay-0", "pay-1")
    assert "fences below number 2" in told
    bare = unknown(whole_account(groups=None, ledger=Ledger(name="orders", read_at_ms=AT)))
    for what in ("the consumer groups", "when the migration began", "the id of the source cluster"):
        assert what in bare
    assert all(each.why for each in whole_account().not_known)


def test_an_entry_that_cannot_be_read_is_told() -> None:
    broken = dataclasses.replace(LEDGER.journal[1], at_ms=-1, detail={"unreadable": "oh"})
    ledger = dataclasses.replace(
        LEDGER,
        journal=(LEDGER.journal[0], broken, *LEDGER.journal[2:]),
        chain=ChainState(count=7, number=7, hash="f" * 64, broken_at=2, reason="entry 2 is not what was written"),
    )
    found = whole_account(ledger=ledger)
    assert found.journal[1].at is None
    assert unknown(found)["time or detail of entries of the journal"] == ("2",)
    assert found.chain.sentence == "The chain is broken from entry 2 on: entry 2 is not what was written."


def test_the_json_is_read_back_as_it_was() -> None:
    found = whole_account(cutovers=({"wave": "w", "outcome": "done"},), unavailable=({"topic": "pay", "seconds": 3},))
    again = ReportDocument.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert json.loads(found.to_json())["cutovers"] == [{"wave": "w", "outcome": "done"}]
    with pytest.raises(KmigrateError, match="not a report"):
        ReportDocument.from_json('{"kind": "Report"}')


def test_every_cluster_is_there_even_if_nothing_is_known_of_it() -> None:
    found = whole_account(ledger=dataclasses.replace(LEDGER, cluster_ids={Side.TARGET: "T"}))
    assert [(each.side, each.cluster_id) for each in found.clusters] == [(Side.SOURCE, None), (Side.TARGET, "T")]


def test_nothing_is_lost_on_the_way_into_the_account() -> None:
    told: dict[str, Any] = json.loads(whole_account().to_json())
    assert len(told["journal"]) == len(LEDGER.journal)
    assert len(told["effects"]) == len(LEDGER.effects)
    assert sum(len(each["verifications"]) for topic in told["topics"] for each in topic["partitions"]) == len(VERIFIED)
    assert told["leftOut"] == [{"topic": each.topic, "reason": each.reason} for each in STATUS.left_out]


def test_the_release_of_a_cluster_is_that_of_the_last_run() -> None:
    ran = [{"kafka": {"source": "3.8"}}, {"version": "0.1", "kafka": {"source": "3.9", "target": "4.1 or newer"}}]
    journal = tuple(JournalEntry(number=n, at_ms=n, kind="run", detail=each) for n, each in enumerate(ran, start=1))
    ledger = Ledger(name="shop", read_at_ms=9, journal=journal)
    account = make_account(status=None, groups=None, verified=(), ledger=ledger)
    assert [each.release for each in account.clusters] == ["3.9", "4.1 or newer"]
    before = make_account(
        status=None, groups=None, verified=(), ledger=dataclasses.replace(ledger, journal=journal[:1])
    )
    assert [each.release for each in before.clusters] == ["3.8", None]
    assert [each.what for each in before.not_known if "release" in each.what] == [
        "which release of Kafka the target cluster runs"
    ]
