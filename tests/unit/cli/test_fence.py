"""`kmigrate fence` says what it will do, asks, does it once, and shows what stands."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from click.testing import Result

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.settings import ConnectionSettings
from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import BrokerAddress, BrokerId, Side
from kmigrate.preflight.reach import Reach as Reached
from kmigrate.security.fence import EVERYONE, MIN_ISR, FencePhase
from kmigrate.state.fence_book import FenceBook
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType
from tests.unit.security.fence_cluster import FenceCluster

from .conftest import World

READ = Acl(ResourceType.TOPIC, "orders", PatternType.LITERAL, "User:app", "*", AclOperation.READ, Permission.ALLOW)
DENY = READ._replace(principal=EVERYONE, operation=AclOperation.WRITE, permission=Permission.DENY)
FETCH = 1


class Place(NamedTuple):
    """What `Reach.of` gives."""

    cluster: FenceCluster
    settings: ConnectionSettings

    def client(self) -> ClusterClient:
        return self.cluster.client


class Fencing:
    """A migration whose clusters are this one, and whose watchers are counted."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.cluster = FenceCluster({"orders": None}, {READ})
        self.watchers: list[list[str]] = []
        self.newest_fetch = 15
        settings = ConnectionSettings(client_id="us", request_timeout_ms=1, connect_timeout_ms=1)
        monkeypatch.setattr("kmigrate.runner.reach.Reach.of", lambda *_: Place(self.cluster, settings))
        monkeypatch.setattr("kmigrate.runner.fence_facts.try_brokers", self.try_brokers)
        monkeypatch.setattr("kmigrate.cli.fence.start_watch", self.start_watch)
        monkeypatch.setattr("kmigrate.runner.fencing.STILL_SECONDS", 0.0)
        monkeypatch.setattr("kmigrate.runner.fencing.STILL_WITHIN_SECONDS", 0.0)
        monkeypatch.setattr("kmigrate.runner.fencing.AGAIN_SECONDS", 0.0)

    def try_brokers(self, side: Side, *_: Any) -> tuple[Reached, ...]:
        broker = BrokerAddress(BrokerId(1), "host", 9092)
        offered = {FETCH: (0, self.newest_fetch), 61: (0, 0)}
        return (Reached(side=side, broker=broker, failure="", too_old=False, offered=offered),)

    def start_watch(self, book: FenceBook, migration: Path, arguments: list[str]) -> None:
        assert book.standing(), "a fence is written down before anybody watches"
        assert self.cluster.rules == {READ} or len(self.watchers) > 0, "and nothing is put before somebody does"
        self.watchers.append(arguments)

    @property
    def book(self) -> FenceBook:
        return FenceBook(self.world.folder)

    def call(self, *arguments: str, typed: str | None = None) -> Result:
        command, *rest = arguments
        return self.world.call(f"fence {command}", *rest, typed=typed)


@pytest.fixture
def fencing(world: World, monkeypatch: pytest.MonkeyPatch) -> Fencing:
    return Fencing(world, monkeypatch)


def test_it_is_put_on_the_operators_word_and_lifted_again(fencing: Fencing) -> None:
    wrong = fencing.call("put", "--kind", "acl", typed="pay\n")
    assert (wrong.exit_code, fencing.cluster.rules, fencing.book.fences()) == (2, {READ}, [])
    put = fencing.call("put", "--kind", "acl", typed="orders\n")
    assert put.exit_code == 0, put.output
    assert "This writes to the SOURCE: it denies WRITE on 1 topic (orders)" in put.stderr
    assert "super.users" in put.stderr
    assert fencing.cluster.rules == {READ, DENY}
    place = ["-f", str(fencing.world.file), "--state", str(fencing.world.root / "state")]
    assert fencing.watchers == [place]
    lifted = fencing.call("lift", typed="orders\n")
    assert lifted.exit_code == 0, lifted.output
    assert fencing.cluster.rules == {READ}
    assert fencing.call("lift", "--yes").exit_code == 2, "nothing stands any more"


def test_nothing_is_put_by_a_dry_run_nor_against_an_objection(fencing: Fencing) -> None:
    dry = fencing.call("put", "--kind", "acl", "--dry-run")
    assert (dry.exit_code, dry.stdout[:30]) == (0, "It would write to the SOURCE: "), dry.output
    fencing.cluster.operations = frozenset({AclOperation.DESCRIBE})
    refused = fencing.call("put", "--kind", "acl", "--yes")
    assert refused.exit_code == 4
    assert "ALTER on the cluster" in refused.stderr
    assert "kafka-acls.sh --bootstrap-server source:9092 --add" in refused.stderr
    assert (fencing.cluster.rules, fencing.book.fences(), fencing.watchers) == ({READ}, [], [])


def test_min_insync_replicas_is_refused_where_brokers_cap_it(fencing: Fencing) -> None:
    command = ("put", "--kind", "min-isr", "--acks-all-attested", "--yes")
    fencing.newest_fetch = 16
    assert "Kafka 3.7 or newer" in fencing.call(*command).stderr
    assert fencing.cluster.topics == {"orders": {}}
    fencing.newest_fetch = 15
    assert fencing.call(*command).exit_code == 0
    assert int(fencing.cluster.topics["orders"][MIN_ISR]) > 2
    fencing.cluster.topics["orders"][MIN_ISR] = "1"
    left = fencing.call("lift", "--yes")
    assert (left.exit_code, "somebody else set" in left.stderr) == (6, True)
    assert fencing.cluster.topics == {"orders": {MIN_ISR: "1"}}


def test_the_same_again_sets_the_deadline_anew_and_asks_nothing(fencing: Fencing) -> None:
    assert fencing.call("put", "--kind", "acl", "--yes", "--deadline", "30").exit_code == 0
    fencing.cluster.rules.discard(DENY)
    again = fencing.call("put", "--kind", "acl", "--deadline", "300")
    assert again.exit_code == 0, again.output
    (fence,) = fencing.book.fences()
    assert (fence.period_seconds, fencing.cluster.rules) == (300, {READ, DENY})


def test_log_ends_that_still_move_end_it_with_5_and_the_fence_stands(
    fencing: Fencing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kmigrate.runner.fencing.STILL_SECONDS", 0.5)
    monkeypatch.setattr("kmigrate.runner.fencing.STILL_WITHIN_SECONDS", 0.3)
    fencing.cluster.growing.update(fencing.cluster.ends)
    ended = fencing.call("put", "--kind", "acl", "--yes")
    assert ended.exit_code == 5
    assert fencing.book.fences()[0].phase is FencePhase.STANDING


def test_without_a_watcher_nothing_stands(fencing: Fencing, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KmigrateError("it did not start")

    monkeypatch.setattr("kmigrate.cli.fence.start_watch", fail)
    assert fencing.call("put", "--kind", "acl", "--yes").exit_code == 1
    assert (fencing.cluster.rules, fencing.book.standing()) == ({READ}, [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "min-isr", "--principal", "User:app"], "about rules"),
        (["--kind", "acl", "--acks-all-attested"], "about min.insync.replicas"),
        (["--kind", "acl", "--principal", "app"], "'app' is no principal"),
        (["--kind", "acl", "-t", "nobody"], "no topic 'nobody'"),
        (["--kind", "acl", "--deadline", "5"], "30"),
        ([], "--kind"),
    ],
)
def test_wrong_usage_ends_with_2(fencing: Fencing, arguments: list[str], words: str) -> None:
    result = fencing.call("put", "--yes", *arguments)
    assert (result.exit_code, words in result.stderr) == (2, True), result.output


def test_status_shows_what_stands_and_how_to_remove_it_by_hand(fencing: Fencing) -> None:
    line = "kafka-acls.sh --bootstrap-server source:9092 --remove --force --deny-principal 'User:*' --operation Write"
    assert "no fence was ever put" in fencing.call("status").stdout
    assert fencing.call("put", "--kind", "acl", "--yes").exit_code == 0
    for shown in (fencing.call("status"), fencing.world.call("status")):
        flat = "".join(shown.stdout.split())
        assert "fence1(acl)onthesourceSTANDING:orders;denied:User:*;since" in flat
        assert line.replace(" ", "") in flat
        assert "nobodywatchesit" in flat, "here no process was started"
    told = json.loads(fencing.call("status", "-o", "json").stdout)
    assert (told["kind"], told["name"]) == ("Fences", "orders")
    (fence,) = told["fences"]
    assert fence["removal"] == [f"{line} --topic orders"]
    assert fence["deadline"] - fence["since"] == pytest.approx(600_000, abs=5_000)
    (as_yaml,) = yaml.safe_load(fencing.call("status", "-o", "yaml").stdout)["fences"]
    assert as_yaml["removal"] == fence["removal"]
    assert json.loads(fencing.world.call("status", "-o", "json").stdout)["fences"][0]["number"] == 1
    (row,) = csv.DictReader(fencing.call("status", "-o", "csv").stdout.splitlines())
    assert (row["phase"], row["topics"], row["watched"]) == ("STANDING", "orders", "false")
    assert fencing.call("lift", "--yes").exit_code == 0
    assert "fence 1: lifted" in fencing.call("status", "-o", "wide").stdout
    assert "fence 1" not in fencing.world.call("status").stdout


def test_status_of_a_running_migration_shows_the_fences_that_stand(fencing: Fencing) -> None:
    fencing.world.left_behind()
    assert fencing.call("put", "--kind", "acl", "--yes").exit_code == 0
    assert "fence 1 (acl)" in fencing.world.call("status").stdout
    told = json.loads(fencing.world.call("status", "-o", "json").stdout)
    assert [each["phase"] for each in told["fences"]] == ["STANDING"]


def test_watch_lifts_what_is_due_and_ends(fencing: Fencing) -> None:
    assert fencing.call("put", "--kind", "acl", "--yes").exit_code == 0
    fencing.book.change(1, lambda fence: replace(fence, period_seconds=0.0))
    assert fencing.call("watch").exit_code == 0
    assert fencing.cluster.rules == {READ}
    log = (fencing.world.folder / "fence-watch.log").read_text()
    assert "fence 1 is lifted" in log
