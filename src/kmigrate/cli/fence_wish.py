"""What the `fence` commands do between their options and the fence: the cluster, its topics, what speaks against it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import click

from kmigrate.cluster.client import ClusterClient
from kmigrate.cluster.principal import principal_of
from kmigrate.errors import Blocked, GateNotReached, UsageError
from kmigrate.kafka_types import Side, TopicName
from kmigrate.manifest import ClusterSettings, Manifest
from kmigrate.preflight.guards import guard_cluster
from kmigrate.runner.fence_facts import look_before_fencing
from kmigrate.runner.fences import FenceOrder
from kmigrate.runner.fencing import Growth
from kmigrate.runner.reach import Reach
from kmigrate.security.fence import Fence, FenceKind
from kmigrate.security.fence_plan import NO_FENCE_HINT, FencePlan, FenceWish, plan_fence
from kmigrate.topics.select import select_topics
from kmigrate.wire.calls import ClusterMetadata


def check_wish(wish: FenceWish, principals: Sequence[str]) -> None:
    """Raises UsageError for options that do not fit the kind."""
    if wish.kind is not FenceKind.ACL and (principals or wish.everyone_without_rules is not None):
        raise UsageError("--principal and --everyone-without-rules are about rules", hint="with --kind acl")
    if wish.kind is not FenceKind.MIN_ISR and wish.acks_all:
        raise UsageError("--acks-all-attested is about min.insync.replicas", hint="with --kind min-isr")
    for each in principals:
        kind, colon, name = each.partition(":")
        if not (kind and colon and name):
            raise UsageError(f"{each!r} is no principal", hint="as Kafka writes them: User:shop")


def decide_plan(
    wish: FenceWish,
    order: FenceOrder,
    manifest: Manifest,
    settings: ClusterSettings,
    client: ClusterClient,
    metadata: ClusterMetadata,
) -> FencePlan:
    """What the fence consists of; raises Blocked with everything that speaks against it."""
    facts = look_before_fencing(
        client,
        metadata,
        order.topics,
        order.kind,
        settings=Reach.of(order.side, settings, manifest.name).settings,
        ours=principal_of(settings.security).name,
        bootstrap=order.bootstrap,
    )
    plan = plan_fence(wish, facts)
    if plan.objections:
        raise Blocked(
            "there is no fence, because " + "; ".join(plan.objections),
            hint=f"nothing was put; {NO_FENCE_HINT}",
        )
    return plan


def chosen_topics(manifest: Manifest, metadata: ClusterMetadata, topics: Sequence[str]) -> tuple[TopicName, ...]:
    """The topics that are named, or all that the migration copies."""
    chosen = tuple(map(TopicName, topics)) or select_topics(metadata.topics, manifest).topics
    if not chosen:
        raise UsageError("the manifest selects no topic there", hint="name topics with -t")
    return tuple(sorted(set(chosen)))


def tell_standing(standing: Fence, growth: Growth) -> None:
    """Says that the fence stands; raises GateNotReached if log ends still move."""
    click.echo(
        f"fence {standing.number} stands on every broker; it is lifted in {standing.period_seconds:.0f} s unless this"
        " command is called again",
        err=True,
    )
    if growth.growing or growth.unknown:
        moving = ", ".join(map(str, growth.growing[:10])) or "no log end that was seen moved"
        unknown = f"; not told: {', '.join(map(str, growth.unknown[:10]))}" if growth.unknown else ""
        raise GateNotReached(
            f"the fence stands, and log ends still move: {moving}{unknown}",
            hint="somebody passes it (super users, acks below all, transactions that end); look at who writes there",
        )
    click.echo(f"log ends of {len(growth.ends):,} partitions stand still", err=True)


@contextlib.contextmanager
def open_cluster(
    manifest: Manifest, side: Side, *, wanted: str | None = None
) -> Iterator[tuple[ClusterClient, ClusterSettings, ClusterMetadata]]:
    """A client of one side, once it is certain that this is the right cluster."""
    settings = manifest.source if side is Side.SOURCE else manifest.target
    with contextlib.closing(Reach.of(side, settings, manifest.name).client()) as client:
        metadata = client.metadata(None)
        guard_cluster(side, metadata.cluster_id, wanted=settings.cluster_id, remembered=wanted)
        yield client, settings, metadata


def bootstrap_of(settings: ClusterSettings) -> str:
    """The bootstrap servers as command lines have them."""
    return ",".join(map(str, settings.bootstrap))
