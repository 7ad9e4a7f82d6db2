"""The fences of a cutover keep everybody away, on either side: nothing of kmigrate's own is written behind them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Side
from kmigrate.manifest import load_manifest
from kmigrate.runner import fences
from kmigrate.runner.cutover import of_fences
from kmigrate.runner.cutover.carrying import Carried
from kmigrate.runner.cutover.of_fences import FenceEffects
from kmigrate.schemes.cutover import Cutover, Done, Way, begin
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.security.fence import EVERYONE, Fence
from kmigrate.security.fence_plan import FenceFacts
from kmigrate.security.told import Told
from kmigrate.state.fence_book import FenceBook
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType
from tests.unit.schemes.examples import CLEAN

MANIFEST = """\
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: orders}
spec:
  source: {properties: {bootstrap.servers: "a:1"}}
  target: {properties: {bootstrap.servers: "b:1"}}
  scheme: consumers-first
  fence: acl
"""


def promoted() -> Cutover:
    """A fenced wave whose topics belong to the applications on the target."""
    cutover = begin(replace(CLEAN, name="all", is_fenced=True), 0.0)
    done = Done(effect=Effect(kind=EffectKind.PROMOTE, scope=""), way=Way.FORWARD, stage=0)
    return replace(cutover, in_force=(done,))


class World:
    """Fences that are to be put; `put` are those that were."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.put: list[Fence] = []
        self.ahead: list[str] = []
        self.failure: KmigrateError | None = None
        self.book = FenceBook(folder)
        (folder / "m.yaml").write_text(MANIFEST)
        monkeypatch.setattr(of_fences, "look_before_fencing", self.look)
        monkeypatch.setattr(of_fences, "start_watch", lambda *_: None)
        monkeypatch.setattr(fences, "Fencer", self.fencer)
        client = SimpleNamespace(metadata=lambda _topics: SimpleNamespace(cluster_id="c"), close=lambda: None)
        self.effects = FenceEffects(
            manifest=load_manifest(folder / "m.yaml", environ={}),
            folder=folder,
            fences=self.book,
            clients=dict.fromkeys(Side, lambda: client),  # type: ignore[arg-type]
            verify_ahead=self.verify,
        )

    def carry_out(self, kind: str) -> object:
        return self.effects.handlers()[EffectKind(kind)](promoted(), Effect(kind=EffectKind(kind), scope=""))

    def fencer(self, _client: Any, book: FenceBook) -> Any:
        return SimpleNamespace(put=lambda number: self.put.append(book.fence(number)))

    def verify(self, topics: Iterable[str]) -> None:
        self.ahead.extend(topics)
        if self.failure is not None:
            raise self.failure

    @staticmethod
    def look(_client: Any, _metadata: Any, topics: Any, _kind: Any, *, we_write: bool, **_: Any) -> FenceFacts:
        rules = tuple(
            Acl(ResourceType.TOPIC, topic, PatternType.LITERAL, "User:app", "*", AclOperation.WRITE, Permission.ALLOW)
            for topic in topics
        )
        return FenceFacts(
            side=Side.SOURCE,
            replicas=dict.fromkeys(topics, 1),
            rules=Told(value=rules),
            may_alter_cluster=True,
            ours="User:copier",
            we_write=we_write,
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@pytest.mark.parametrize(("side", "kind"), [(Side.SOURCE, "put-up-fence"), (Side.TARGET, "put-up-target-fence")])
def test_a_fence_for_everyone_is_put_on_either_side(world: World, side: Side, kind: str) -> None:
    topics = set(promoted().wave.topics)
    assert world.carry_out(kind) == Carried()
    assert set(world.ahead) == (topics if side is Side.SOURCE else set()), "writers do not wait yet"
    assert [(each.side, each.principals) for each in world.put] == [(side, (EVERYONE,))]
    assert {each.acl.name for each in world.put[0].acls} == topics


def test_where_nothing_can_be_verified_now_nobody_is_kept_away_and_it_is_tried_again(world: World) -> None:
    world.failure = KmigrateError("orders-0 could not be compared: its leader is away")
    with pytest.raises(KmigrateError, match="its leader is away"):
        world.carry_out("put-up-fence")
    assert world.put == []
    world.failure = None
    assert world.carry_out("put-up-fence") == Carried()
    assert [each.number for each in world.put] == [each.number for each in world.book.fences()]
