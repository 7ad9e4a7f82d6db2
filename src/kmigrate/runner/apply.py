"""One `apply`: what is to be done is looked up without a trace, then done under the migration's lock and lease.

Where an owner runs, it has both: `OwnersApplying` does there the same for who asks by its API.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kmigrate.errors import Blocked, ClusterError, KmigrateError, Refused
from kmigrate.kafka_types import Side, TopicName
from kmigrate.manifest import Manifest
from kmigrate.plan.actions import Kind, PlannedAction
from kmigrate.plan.kinds import list_actions
from kmigrate.plan.surroundings import Decisions, Surroundings, decide_surroundings
from kmigrate.preflight import guard_cluster, guard_clusters
from kmigrate.runner.apply_desk import AGAIN, ApplyWish
from kmigrate.runner.applying import Applied, Applier, max_bytes_of
from kmigrate.runner.folder import Ownership
from kmigrate.runner.reach import Reach, first_metadata
from kmigrate.runner.remembered import commits_on_target
from kmigrate.runner.short_lease import short_lease
from kmigrate.runner.start import CLUSTER_ID, describe_brokers
from kmigrate.runner.surroundings import look_at_surroundings
from kmigrate.security.fence import Fence
from kmigrate.security.fence_moves import rules_beside
from kmigrate.state.fence_book import FenceBook
from kmigrate.state.store import Store
from kmigrate.topics.create import TargetTraits
from kmigrate.topics.hold import BROKER_MAX_MESSAGE_BYTES, timestamp_limits
from kmigrate.topics.select import select_topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What was seen and what follows, with what is needed to carry it out."""

    seen: Surroundings
    decisions: Decisions
    actions: tuple[PlannedAction, ...]
    traits: TargetTraits
    cluster_ids: Mapping[Side, str]

    def of_kinds(self, kinds: Iterable[Kind]) -> list[PlannedAction]:
        """The actions of these kinds."""
        wanted = frozenset(kinds)
        return [each for each in self.actions if each.kind in wanted]


class Applying:
    """Both clusters, open for one `apply`; a context manager."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._reach = {
            Side.SOURCE: Reach.of(Side.SOURCE, manifest.source, manifest.name),
            Side.TARGET: Reach.of(Side.TARGET, manifest.target, manifest.name),
        }
        self._source = self._reach[Side.SOURCE].client()
        self._target = self._reach[Side.TARGET].client()

    def __enter__(self) -> Applying:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()
        self._target.close()

    def cluster_ids(self) -> dict[Side, str]:
        """Which clusters these are."""
        with _in_words():
            return {
                Side.SOURCE: first_metadata(self._source).cluster_id,
                Side.TARGET: first_metadata(self._target).cluster_id,
            }

    def look(self, store: Store | None = None) -> Intent:
        """Looks at both clusters, and writes nothing; `store` remembers which clusters they were."""
        with _in_words():
            return self._look(store)

    def _look(self, store: Store | None) -> Intent:
        on_source, on_target = first_metadata(self._source), first_metadata(self._target)
        ids = {Side.SOURCE: on_source.cluster_id, Side.TARGET: on_target.cluster_id}
        for side, cluster in ((Side.SOURCE, self._manifest.source), (Side.TARGET, self._manifest.target)):
            remembered = store.get(CLUSTER_ID[side]) if store is not None else None
            guard_cluster(side, ids[side], wanted=cluster.cluster_id, remembered=remembered)
        guard_clusters(source=ids[Side.SOURCE], target=ids[Side.TARGET])
        commits = commits_on_target(self._manifest.lease_group, self._target, on_target)
        ours = {partition.topic for partition in commits}
        if store is not None:
            ours |= {partition.topic for partition in store.remembered()}
        seen = look_at_surroundings(
            self._source,
            self._target,
            on_source,
            on_target,
            select_topics(on_source.topics, self._manifest),
            ours=ours,
        )
        if store is not None:
            seen = _without_fences(seen, FenceBook(store.path.parent).standing())
        told = describe_brokers(self._target, on_target)
        largest = told.get(BROKER_MAX_MESSAGE_BYTES, "")
        decisions = decide_surroundings(seen, self._manifest)
        return Intent(
            seen=seen,
            decisions=decisions,
            actions=list_actions(decisions),
            traits=TargetTraits(
                limits=timestamp_limits(told),
                max_bytes=int(largest) if largest.isdigit() else None,
                defaults=seen.defaults,
            ),
            cluster_ids=ids,
        )

    def carry_out(
        self,
        intent: Intent,
        store: Store,
        ownership: Ownership,
        kinds: Iterable[Kind],
        passwords: Mapping[str, str],
    ) -> Iterator[Applied]:
        """Does what is to be done, under a lease of its own; raises Superseded if another owner takes it."""
        with short_lease(self._reach[Side.TARGET], self._manifest.lease_group, store, ownership) as may_write:
            yield from self.carry_out_under(may_write, intent, store, kinds, passwords)

    def carry_out_under(
        self,
        may_write: Callable[[], bool],
        intent: Intent,
        store: Store,
        kinds: Iterable[Kind],
        passwords: Mapping[str, str],
    ) -> Iterator[Applied]:
        """Does what is to be done as long as a lease is granted; raises what `may_write` raises."""
        store.decide(
            "apply",
            {"kinds": sorted(each.value for each in kinds)},
            facts={CLUSTER_ID[side]: cluster_id for side, cluster_id in intent.cluster_ids.items()},
        )
        applier = Applier(store, self._target, intent.traits, may_write=may_write, passwords=passwords)
        limits = {each.name: max_bytes_of(each.settings) for each in intent.seen.topics}
        yield from applier.apply(intent.decisions, _known(limits), kinds)


class OwnersApplying:
    """What `apply` wants, done by a running owner: with its connections, its store and its lease."""

    def __init__(self, manifest: Manifest, store: Store, may_write: Callable[[], bool]) -> None:
        """`may_write` says whether the owner's lease is granted now, and raises Superseded once it is lost."""
        self._manifest = manifest
        self._store = store
        self._may_write = may_write

    def look(self, wish: ApplyWish) -> Intent:
        """Looks at both clusters; raises Refused if the wish is about others."""
        with Applying(wish.put_into(self._manifest)) as applying:
            intent = applying.look(self._store)
            for side, found in intent.cluster_ids.items():
                if wish.cluster_ids.get(side) != found:
                    raise Refused(
                        f"the owner's {side} cluster is {found}, that of this manifest {wish.cluster_ids.get(side)}",
                        hint="another pair of clusters is another migration: give it another metadata.name",
                    )
            return intent

    def carry_out(
        self,
        wish: ApplyWish,
        seen: Intent,
        kinds: Collection[Kind],
        passwords: Mapping[str, str],
        ended: threading.Event,
    ) -> Iterator[Applied]:
        """Does what is to be done, and begins nothing more once `ended` is set: raises KmigrateError then."""

        def may_write() -> bool:
            if ended.is_set():
                raise KmigrateError("it was ended before everything was done", hint=AGAIN)
            return self._may_write()

        with Applying(wish.put_into(self._manifest)) as applying:
            yield from applying.carry_out_under(may_write, seen, self._store, kinds, passwords)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except ClusterError as error:
        raise Blocked(f"the clusters could not be looked at: {error}", hint=error.hint) from error


def _known(limits: Mapping[TopicName, int | None]) -> dict[TopicName, int]:
    return {name: limit for name, limit in limits.items() if limit is not None}


def _without_fences(seen: Surroundings, fences: Sequence[Fence]) -> Surroundings:
    """A fence on the source is for a while, and for the source: its rules are not carried over."""
    source, target = seen.acls
    if source.value is None:
        return seen
    return replace(seen, acls=(replace(source, value=rules_beside(source.value, fences, Side.SOURCE)), target))
