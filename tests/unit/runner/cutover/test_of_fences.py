"""The fences of a cutover keep everybody away, on either side: nothing of kmigrate's own is written behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kmigrate.kafka_types import Side
from kmigrate.manifest import load_manifest
from kmigrate.runner.cutover import of_fences
from kmigrate.runner.cutover.carrying import Carried
from kmigrate.runner.cutover.of_fences import FenceEffects
from kmigrate.schemes.cutover import Cutover, Done, Way, begin
from kmigrate.schemes.effects import Effect, EffectKind
from kmigrate.security.fence import EVERYONE
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


@pytest.mark.parametrize(("side", "kind"), [(Side.SOURCE, "put-up-fence"), (Side.TARGET, "put-up-target-fence")])
def test_a_fence_for_everyone_is_put_on_either_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: Side, kind: str
) -> None:
    def look(
        client: Any, metadata: Any, topics: Any, kind: Any, *, we_write: bool | None = None, **_: Any
    ) -> FenceFacts:
        rules = tuple(
            Acl(ResourceType.TOPIC, topic, PatternType.LITERAL, "User:app", "*", AclOperation.WRITE, Permission.ALLOW)
            for topic in topics
        )
        return FenceFacts(
            side=side,
            replicas=dict.fromkeys(topics, 1),
            rules=Told(value=rules),
            may_alter_cluster=True,
            ours="User:copier",
            we_write=side is Side.TARGET if we_write is None else we_write,
        )

    (tmp_path / "m.yaml").write_text(MANIFEST)
    manifest = load_manifest(tmp_path / "m.yaml", environ={})
    put: list[Any] = []
    monkeypatch.setattr(of_fences, "look_before_fencing", look)

    def put_fence(_book: Any, _client: Any, fence: Any, _watch: Any, verify: Callable[[], None]) -> None:
        verify()
        put.append(fence)

    monkeypatch.setattr(of_fences, "put_fence", put_fence)
    client = SimpleNamespace(metadata=lambda _topics: SimpleNamespace(cluster_id="c"), close=lambda: None)
    book = FenceBook(tmp_path)
    ahead: list[str] = []
    effects = FenceEffects(
        manifest=manifest,
        folder=tmp_path,
        fences=book,
        clients={side: lambda: client},  # type: ignore[arg-type, return-value]
        verify_ahead=ahead.extend,
    )
    cutover = promoted()
    done = effects.handlers()[EffectKind(kind)](cutover, Effect(kind=EffectKind(kind), scope=""))
    assert done == Carried()
    assert set(ahead) == (set(cutover.wave.topics) if side is Side.SOURCE else set()), "writers do not wait yet"
    assert [(each.side, each.principals) for each in put] == [(side, (EVERYONE,))]
    assert {each.acl.name for each in put[0].acls} == set(cutover.wave.topics)
