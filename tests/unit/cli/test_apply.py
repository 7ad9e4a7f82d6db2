"""`apply` asks before it changes something, tells what became of each thing, and ends with what follows."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kmigrate.api.client import Client
from kmigrate.api.server import ApiServer
from kmigrate.errors import Blocked, KmigrateError, Refused, Superseded, UsageError
from kmigrate.kafka_types import Side
from kmigrate.manifest import Manifest
from kmigrate.plan.actions import Kind, PlannedAction, Verb, When
from kmigrate.runner import apply as runner_apply
from kmigrate.runner.apply_desk import ApplyStatus, ApplyWish
from kmigrate.runner.applying import Applied
from kmigrate.runner.desk import Desk
from kmigrate.runner.folder import MigrationFolder
from kmigrate.runner.lookup import Lookup
from kmigrate.state.store import Store

from .conftest import MANIFEST, World

IDS = {Side.SOURCE: "old", Side.TARGET: "new"}


def action(name: str, verb: Verb = Verb.CREATE, kind: Kind = Kind.TOPICS, when: When = When.NOW) -> PlannedAction:
    return PlannedAction(kind=kind, name=name, action=verb, what="1 partition", reason="why", when=when)


class FakeApplying:
    """Both clusters, of which only what `apply` asks is there."""

    def __init__(self) -> None:
        self.actions = [action("orders"), action("old", Verb.NOTHING, when=When.NEVER)]
        self.outcomes = [Applied(Kind.TOPICS, "orders", "created with 1 partitions", "")]
        self.calls: list[str] = []

    def __call__(self, manifest: Manifest) -> FakeApplying:
        assert manifest.name == "orders"
        return self

    def __enter__(self) -> FakeApplying:
        return self

    def __exit__(self, *_: object) -> None:
        self.calls.append("closed")

    def cluster_ids(self) -> dict[Side, str]:
        return IDS

    def look(self, store: object = None) -> Any:
        self.calls.append("look" if store is None else "look with the store")

        def of_kinds(kinds: Iterable[Kind]) -> list[PlannedAction]:
            return [each for each in self.actions if each.kind in kinds]

        return SimpleNamespace(of_kinds=of_kinds, actions=tuple(self.actions))

    def carry_out(
        self, intent: object, store: object, ownership: object, kinds: Iterable[Kind], passwords: Mapping[str, str]
    ) -> Iterator[Applied]:
        self.calls.append(f"carry out {','.join(each.value for each in kinds)}")
        yield from self.outcomes


@pytest.fixture
def applying(monkeypatch: pytest.MonkeyPatch) -> FakeApplying:
    fake = FakeApplying()
    monkeypatch.setattr(runner_apply, "Applying", fake)
    return fake


def test_a_dry_run_shows_what_would_be_done_and_leaves_no_folder(world: World, applying: FakeApplying) -> None:
    result = world.call("apply", "--dry-run")
    assert result.exit_code == 0
    assert "create    orders: 1 partition  (why)" in result.stdout
    assert "topics: 1 create, 1 nothing" in result.stdout
    assert applying.calls == ["look", "closed"]
    assert not world.folder.exists()


def test_nobody_is_asked_without_a_terminal(world: World, applying: FakeApplying) -> None:
    result = world.call("apply")
    assert result.exit_code == UsageError.exit_code
    assert "add --yes" in result.stderr
    assert not [call for call in applying.calls if call.startswith("carry out")]


def test_everything_is_done_and_told(world: World, applying: FakeApplying) -> None:
    result = world.call("apply", "--yes")
    assert result.exit_code == 0
    assert "done   topics  orders: created with 1 partitions" in result.stderr
    assert applying.calls == ["look with the store", "carry out topics,configs,acls,quotas,users", "closed"]


def test_only_some_kinds(world: World, applying: FakeApplying) -> None:
    assert world.call("apply", "--yes", "--only", "users,topics").exit_code == 0
    assert "carry out topics,users" in applying.calls
    wrong = world.call("apply", "--only", "topic")
    assert wrong.exit_code == UsageError.exit_code
    assert "topic is none of topics,configs" in wrong.stderr


def test_where_nothing_is_to_be_done_nobody_is_asked(world: World, applying: FakeApplying) -> None:
    applying.actions, applying.outcomes = [action("old", Verb.NOTHING, when=When.NEVER)], []
    assert world.call("apply").exit_code == 0


def test_what_was_not_done_is_told_with_the_way_on(world: World, applying: FakeApplying) -> None:
    applying.outcomes.append(Applied(Kind.ACLS, "topic orders", "allow", "no authorizer"))
    result = world.call("apply", "--yes")
    assert result.exit_code == 1
    assert "1 of 2 were not done; topic orders: no authorizer" in result.stderr
    assert f"kmigrate apply -f {world.file}" in result.stderr


def test_a_blocked_topic_ends_with_4_and_the_rest_is_done(world: World, applying: FakeApplying) -> None:
    applying.actions.append(action("state", Verb.BLOCKED, when=When.NEVER))
    result = world.call("apply", "--yes")
    assert result.exit_code == Blocked.exit_code
    assert "done   topics  orders" in result.stderr
    assert world.call("apply", "--dry-run").exit_code == Blocked.exit_code


def test_json_is_for_scripts(world: World, applying: FakeApplying) -> None:
    dry = json.loads(world.call("apply", "--dry-run", "-o", "json").stdout)
    assert dry["actions"][0] == {
        "kind": "topics",
        "name": "orders",
        "action": "create",
        "what": "1 partition",
        "when": "now",
        "reason": "why",
    }
    done = json.loads(world.call("apply", "--yes", "-o", "json").stdout)
    assert done == {"done": [{"kind": "topics", "name": "orders", "what": "created with 1 partitions"}], "failed": []}


# -- beside an owner -----------------------------------------------------------------------------------


def test_another_command_at_work_is_not_disturbed(
    world: World, applying: FakeApplying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "is_served", lambda self: False)
    with MigrationFolder(world.root / "state", "orders").take_ownership():
        result = world.call("apply", "--yes")
    assert result.exit_code == Refused.exit_code
    assert "already run" in result.stderr
    assert "another command is at work" in result.stderr
    assert applying.calls == ["closed"]


class Owner:
    """A running owner that does what `FakeApplying` says."""

    def __init__(self, applying: FakeApplying) -> None:
        self.applying = applying
        self.refuse: KmigrateError | None = None
        self.wishes: list[ApplyWish] = []
        self.ended: list[threading.Event] = []

    def look(self, wish: ApplyWish) -> Any:
        self.wishes.append(wish)
        if self.refuse is not None:
            raise self.refuse
        return SimpleNamespace(actions=tuple(self.applying.actions))

    def carry_out(
        self,
        wish: ApplyWish,
        seen: object,
        kinds: Collection[Kind],
        passwords: Mapping[str, str],
        ended: threading.Event,
    ) -> Iterator[Applied]:
        self.ended.append(ended)
        yield from self.applying.carry_out(seen, None, None, kinds, passwords)


@pytest.fixture
def owner(world: World, applying: FakeApplying) -> Iterator[Owner]:
    folder = MigrationFolder(world.root / "state", "orders")
    with folder.take_ownership() as ownership, contextlib.closing(Store.open(folder.path)) as store:
        desk = Desk(store, lambda: None)
        running = Owner(applying)
        desk.apply.attach(running)
        with ApiServer(desk, Lookup(store, desk.status), ownership):
            yield running


def test_a_running_owner_does_it_and_it_looks_the_same(world: World, applying: FakeApplying, owner: Owner) -> None:
    applying.outcomes.append(Applied(Kind.ACLS, "topic orders", "allow", "no authorizer"))
    applying.actions.append(action("quota", Verb.BLOCKED, Kind.QUOTAS, When.NEVER))
    result = world.call("apply", "--yes", "--only", "topics,acls")
    assert result.exit_code == 1
    assert "create    orders: 1 partition  (why)" in result.stdout
    assert "quota" not in result.stdout
    assert "done   topics  orders: created with 1 partitions" in result.stderr
    assert "1 of 2 were not done; topic orders: no authorizer" in result.stderr
    assert applying.calls == ["carry out topics,acls", "closed"]
    assert [wish.cluster_ids for wish in owner.wishes] == [IDS]
    assert world.call("apply", "--yes", "--only", "quotas").exit_code == 1
    applying.outcomes = []
    assert world.call("apply", "--yes", "--only", "quotas").exit_code == Blocked.exit_code


def test_beside_an_owner_nobody_is_asked_without_a_terminal(world: World, applying: FakeApplying, owner: Owner) -> None:
    result = world.call("apply")
    assert result.exit_code == UsageError.exit_code
    assert "add --yes" in result.stderr
    assert owner.ended == []


def test_an_owner_that_refuses_is_heard(world: World, applying: FakeApplying, owner: Owner) -> None:
    owner.refuse = Refused("the owner's source cluster is another one", hint="give it another name")
    result = world.call("apply", "--yes")
    assert result.exit_code == Refused.exit_code
    assert "the owner's source cluster is another one" in result.stderr
    assert "give it another name" in result.stderr


def test_passwords_reach_the_owner_and_its_lease_lost_ends_the_command(
    world: World, applying: FakeApplying, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.file.write_text(MANIFEST + '  users:\n    app: {mechanism: SCRAM-SHA-256, password: "${env:APP}"}\n')
    given: list[Mapping[str, str]] = []

    def carry_out(*arguments: Any) -> Iterator[Applied]:
        given.append(arguments[3])
        yield applying.outcomes[0]
        raise Superseded("another owner has the lease")

    monkeypatch.setattr(owner, "carry_out", carry_out)
    monkeypatch.setenv("APP", "open sesame")
    result = world.call("apply", "--yes")
    assert result.exit_code == Refused.exit_code
    assert "done   topics  orders" in result.stderr
    assert "another owner has the lease" in result.stderr
    assert given == [{"app": "open sesame"}]
    assert "open sesame" not in result.output


def test_being_interrupted_ends_it_at_the_owner(
    world: World, applying: FakeApplying, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Event()

    def interrupt(self: Client, number: int, start: int) -> ApplyStatus:
        if waiting.is_set():
            raise KeyboardInterrupt
        return ask(self, number, start)

    def carry_out(*arguments: Any) -> Iterator[Applied]:
        waiting.set()
        owner.ended.append(arguments[4])
        assert owner.ended[0].wait(30)
        yield from ()

    ask = Client.apply_status
    monkeypatch.setattr(Client, "apply_status", interrupt)
    monkeypatch.setattr(owner, "carry_out", carry_out)
    result = world.call("apply", "--yes")
    assert result.exit_code == 130
    assert owner.ended[0].is_set()
