"""The owner of a migration: takes the lease, keeps workers at work, remembers, and says how things stand.

`start` looks at everything before the first write, `wait` is the loop, `stop` ends in order: workers first, then the
positions, then the lease. A cluster that goes away later never ends a run; another owner does.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kmigrate import __version__
from kmigrate.cluster.clock import steady_seconds
from kmigrate.cluster.connection import Connection
from kmigrate.copy.copier import WAITING_FOR_LEASE
from kmigrate.copy.engine import Engine
from kmigrate.copy.identity import producer_id
from kmigrate.copy.orders import UNKNOWN_TIME_MS, LeaseGrant, WorkerSettings
from kmigrate.copy.progress import PartitionProgress
from kmigrate.errors import Superseded, Unreachable
from kmigrate.kafka_types import Side, Term, TopicName, TopicPartition
from kmigrate.manifest import Manifest
from kmigrate.runner.apply import OwnersApplying
from kmigrate.runner.back import ReverseCopy
from kmigrate.runner.back_manifest import derive
from kmigrate.runner.beginnings import look_at, take_inventory
from kmigrate.runner.board import decide_state
from kmigrate.runner.cleaning import CleaningWatch
from kmigrate.runner.copying import Copying, Observation
from kmigrate.runner.cutover.leader import Leader
from kmigrate.runner.cutover.planning import is_led, plan_waves
from kmigrate.runner.cutover.setting_up import Crew, make_leader
from kmigrate.runner.desk import Desk
from kmigrate.runner.effects import Effects
from kmigrate.runner.errand import Errand
from kmigrate.runner.fence_mirror import note_fences, restore_fences
from kmigrate.runner.finish import Finish, Marks
from kmigrate.runner.folder import Ownership
from kmigrate.runner.following import SettingsWatch
from kmigrate.runner.fullness import DiskWatch
from kmigrate.runner.group_sync import GroupSync, Snapshot, copied_of
from kmigrate.runner.lease import Lease, NoLease
from kmigrate.runner.limits import Limits
from kmigrate.runner.maps import NothingAhead
from kmigrate.runner.mirror_topic import MirrorTopic
from kmigrate.runner.mirroring import Mirroring, MirrorSettings
from kmigrate.runner.observe import ClusterView, Looked, Watch
from kmigrate.runner.on_demand import OnDemand
from kmigrate.runner.positions import Positions, serialize_commit
from kmigrate.runner.provision import Provisioner
from kmigrate.runner.reach import Reach, first_metadata
from kmigrate.runner.recovery import STATE_ID, Recovered, Recovery, recover, recover_from_file
from kmigrate.runner.scaling import most_workers
from kmigrate.runner.start import BEGUN_MS, CLUSTER_ID, NAME, TERM, Beginning, inspect_topics, look_around, read_commits
from kmigrate.runner.status import NOTHING_LEFT, LeftOut, MigrationState, StatusDocument, WorkerStatus
from kmigrate.runner.transaction_observer import TransactionObserver
from kmigrate.runner.unchanged import wished_offsets
from kmigrate.schemes.effects import EffectKind
from kmigrate.schemes.wave import Wave
from kmigrate.state.export import EXPORT_NAME
from kmigrate.state.fence_book import FenceBook
from kmigrate.state.group_book import GroupBook
from kmigrate.state.mirror import Head
from kmigrate.state.outbox import Outbox
from kmigrate.state.schema import STEPS
from kmigrate.state.store import Store
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode

log = logging.getLogger(__name__)

LEASE_VARIABLE = "KMIGRATE_TEST_LEASE"
"""`off` copies without a lease: for tests that show what the sequence guard is worth alone."""
MEMBER = "lease.member"

LOOP_SECONDS = 0.2
SHOW_SECONDS = 0.25
SHOW_IDLE_SECONDS = 2.0
SOURCE_EVERY_SECONDS = 2.0
TARGET_EVERY_SECONDS = 10.0
WATCH_TIMEOUT_MS = 5_000
SAVE_SECONDS = 1.0
COMMIT_SECONDS = 10.0
"""How often what was remembered before is committed; what is new is committed at once."""
COMMITS = 1000
LAST_COMMIT_SECONDS = 3.0
LAST_GROUPS_SECONDS = 15.0
"""How long groups that wait are waited for when everything is copied: they may wait for what is written now."""
LEASE_SECONDS = 45.0
GROUPS_UNKNOWN = "the source's consumer groups are not all known yet: `kmigrate group list -f FILE` says why"
SECURE_SECONDS = 2.0
"""How long a decision of a cutover may take to be mirrored before it is acted on."""
MIRROR_GROUPS_SECONDS = 2.0
_NO_TOPIC = error_name(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
WORKERS_MEMORY_BYTES = 256 << 20
"""For the receive buffers of all workers that there may be …"""
WORKER_MEMORY_BYTES = 64 << 20
"""… and for those of one, at most."""

Show = Callable[[StatusDocument], None]


class Owner:
    """Runs one migration. Everything but the lease's callbacks happens in the thread that calls it."""

    def __init__(
        self,
        manifest: Manifest,
        folder: Ownership,
        store: Store,
        desk: Desk,
        report: Callable[[str], None],
        refuse: Callable[[Beginning], None] = lambda beginning: None,
        before_copying: Callable[[Callable[[], bool]], None] = lambda may_write: None,
        recover_from: Path | None = None,
        is_mirrored: bool = True,
    ) -> None:
        """`report` tells the operator a sentence; `refuse` raises what else speaks against it.

        `before_copying` is called once the lease is held, with what says whether it is granted. `recover_from` is an
        exported state, for a folder that has none. Unless `is_mirrored` the state is in its folder only.
        """
        self._is_mirrored = is_mirrored
        self._recover_from = recover_from
        self._mirror: Mirroring | None = None
        self._recovered = Recovered(False, "")
        self._fences = FenceBook(folder.folder.path)
        self._term = Term(0)
        self._refuse = refuse
        self._before_copying = before_copying
        self._manifest = manifest
        self._folder = folder
        self._store = store
        self._desk = desk
        self._report = report
        self._reach = {
            Side.SOURCE: Reach.of(Side.SOURCE, manifest.source, manifest.name),
            Side.TARGET: Reach.of(Side.TARGET, manifest.target, manifest.name),
        }
        self._engine: Engine | None = None
        self._copying: Copying | None = None
        self._lease: Lease | NoLease | None = None
        self._acquired = False
        self._watches: tuple[Watch, ...] = ()
        self._transactions = TransactionObserver(_quick(self._reach[Side.SOURCE]).client())
        self._disks = DiskWatch(
            _quick(self._reach[Side.TARGET]).client(), left_free=manifest.limits.target_free_percent / 100
        )
        self._cleaning: CleaningWatch | None = None
        self._shown_retention: Mapping[TopicName, int | None] = {}
        self._groups: GroupSync | None = None
        self._leader: Leader | None = None
        self._back = ReverseCopy(manifest, folder.folder, store)
        self._settings: SettingsWatch | None = None
        self._head: StatusDocument | None = None
        self._superseded: Superseded | None = None
        self._committing: tuple[Mapping[TopicPartition, object], Errand[Mapping[TopicPartition, str]]] | None = None
        self._trouble = ""
        self._next_show = self._next_save = self._next_commit = 0.0
        self._shown_at = 0.0

    # -- the start

    def start(self) -> None:
        """Looks at both clusters, takes the lease and starts the workers; raises what speaks against it."""
        outbox = Outbox(self._store) if self._is_mirrored and not self._is_without_lease else None
        if outbox is not None:
            self._recover(outbox)
        beginning = look_around(self._manifest, self._store, self._reach, lambda: self._open_lease().committed)
        self._refuse(beginning)
        not_recovered = "" if self._recovered.loaded or not beginning.state_lost else self._recovered.words
        for notice in filter(None, (beginning.state_lost, not_recovered, *beginning.notices)):
            self._report(f"note: {notice}")
        self._store.decide(
            "run",
            {
                "source": beginning.source.cluster_id,
                "target": beginning.target.cluster_id,
                "version": __version__,
                "kafka": {str(side): release for side, release in beginning.releases.items()},
            },
            facts={
                NAME: self._manifest.name,
                CLUSTER_ID[Side.SOURCE]: beginning.source.cluster_id,
                CLUSTER_ID[Side.TARGET]: beginning.target.cluster_id,
                **self._begun(beginning),
                **self._identified(),
                **wished_offsets(self._manifest),
            },
        )
        self._store.record_intended(beginning.intended)
        self._engine = self._make_engine(beginning)
        self._engine.start()  # without orders and without a grant they only get ready
        grant = self._acquire()
        self._note_term(grant.term)
        self._engine.grant(grant)
        if outbox is not None:
            self._mirror = self._make_mirror(beginning, outbox)
            self._mirror.open(grant.term)
            self._mirror.start()
        self._before_copying(self._is_granted)
        is_first = not beginning.memories and beginning.state_lost is None
        take_inventory(self._store, self._manifest.start, beginning.source.topics, is_first=is_first)
        self._copying = self._make_copying(beginning, grant)
        self._commit_without_mirror(beginning, self._copying)
        self._head = StatusDocument(
            name=self._manifest.name,
            state=MigrationState.WAITING,
            started_at=self._folder.note.started_at_ms,
            source_cluster_id=beginning.source.cluster_id,
            target_cluster_id=beginning.target.cluster_id,
            term=grant.term,
            notices=(
                *filter(None, [self._recovered.words if self._recovered.loaded else not_recovered]),
                *beginning.notices,
            ),
            state_lost=beginning.state_lost,
        )
        for watch in self._watches:
            watch.start()
        self._groups = self._make_groups(self._copying)
        self._desk.groups.attach(self._groups)
        self._groups.start()
        self._desk.apply.attach(OwnersApplying(self._manifest, self._store, self._may_apply))
        self._desk.cutover.client_properties = self._manifest.client_properties.masked()
        if is_led(self._manifest) or self._desk.cutover.book.waves():
            self._leader = self._make_leader(beginning, self._copying, self._groups)
            self._leader.start()

    def _make_leader(self, beginning: Beginning, copying: Copying, groups: GroupSync) -> Leader:
        crew = Crew(
            manifest=self._manifest,
            folder=self._folder.folder.path,
            store=self._store,
            desk=self._desk,
            copying=copying,
            groups=groups,
            reach={side: _quick(reach) for side, reach in self._reach.items()},
            may_write=self._is_granted,
            back=self._back,
            secure=self._secure,
            producer_id=beginning.producer_id,
            back_producer_id=producer_id(
                beginning.target.cluster_id, beginning.source.cluster_id, derive(self._manifest, ()).name
            ),
            ahead=NothingAhead() if self._mirror is None else self._mirror,
        )
        if any(each.is_in_force(EffectKind.BEGIN_REVERSE_COPY) for each in self._desk.cutover.cutovers().values()):
            self._back.begin({})  # what was begun before goes on

        def plan() -> tuple[Sequence[Wave], Sequence[str]]:
            reads = groups.reads()
            waves, problems = plan_waves(self._manifest, copying.moving_topics, reads or {})
            return waves, problems if reads is not None else (*problems, GROUPS_UNKNOWN)

        return make_leader(crew, self._desk.cutover, plan)

    def latest(self) -> dict[TopicPartition, PartitionProgress]:
        """The last word of every partition; nothing before the start."""
        return {} if self._copying is None else self._copying.latest.copy()

    def _secure(self) -> None:
        """What was decided by now is on the target, too, where it is mirrored; after a while it goes on without."""
        if self._mirror is not None and not self._mirror.flush(SECURE_SECONDS):
            log.info("a decision is acted on before it is mirrored: the target's topic does not answer")

    def _make_groups(self, copying: Copying) -> GroupSync:
        def latest() -> Snapshot:
            words = copying.latest.copy()  # in one step, as the owner's thread changes it
            moving = frozenset(copying.moving_topics)
            return Snapshot(OnDemand(words, copied_of), moving)

        clients = {side: _quick(reach).client for side, reach in self._reach.items()}
        source = _quick(self._reach[Side.SOURCE])
        return GroupSync(
            self._manifest,
            GroupBook(self._store, self._mirror_groups),
            clients,
            latest,
            copying.maps,
            self._is_granted,
            lambda address: Connection(Side.SOURCE, address, source.settings),
        )

    def _begun(self, beginning: Beginning) -> dict[str, str]:
        """When this store's first run began, unless another store was lost that may have begun before."""
        is_first = self._store.get(NAME) is None and beginning.state_lost is None
        return {BEGUN_MS: str(_wall_ms())} if is_first else {}

    def _make_engine(self, beginning: Beginning) -> Engine:
        links = {side: reach.settings for side, reach in self._reach.items()}
        most = most_workers(self._manifest.workers, os.cpu_count() or 1)
        settings = [
            WorkerSettings(
                worker=number,
                links=links,
                producer_id=beginning.producer_id,
                memory_bytes=min(WORKER_MEMORY_BYTES, WORKERS_MEMORY_BYTES // most),
                expiration_ms=beginning.expiration_ms,
            )
            for number in range(self._manifest.workers or 1)
        ]
        return Engine(settings, workers_fd=self._folder.workers_fd, log_path=self._folder.folder.log)

    def _make_copying(self, beginning: Beginning, grant: LeaseGrant) -> Copying:
        assert self._engine is not None
        looks: queue.SimpleQueue[Looked] = queue.SimpleQueue()
        every = {Side.SOURCE: SOURCE_EVERY_SECONDS, Side.TARGET: TARGET_EVERY_SECONDS}
        watches = {
            side: Watch(_quick(reach).client(), looks, every_seconds=every[side]) for side, reach in self._reach.items()
        }
        self._watches = tuple(watches.values())
        views = {side: ClusterView() for side in Side}
        now = time.monotonic()
        views[Side.SOURCE].adopt(beginning.source, now)
        views[Side.TARGET].adopt(beginning.target, now)
        self._settings = SettingsWatch(
            self._store,
            _quick(self._reach[Side.SOURCE]).client(),
            _quick(self._reach[Side.TARGET]).client(),
            beginning.traits.defaults,
            self._is_granted,
        )
        self._cleaning = CleaningWatch(_quick(self._reach[Side.SOURCE]).client(), beginning.cleaning)
        copying = Copying(
            self._manifest,
            self._store,
            self._desk,
            self._engine,
            Observation(views, watches, looks),
            Provisioner(
                self._reach[Side.SOURCE].client(),
                self._reach[Side.TARGET].client(),
                beginning.traits,
                self._store,
                lambda names: inspect_topics(
                    self._manifest, self._store, self._reach, beginning.producer_id, tuple(names)
                ),
                self._is_granted,
            ),
            Positions(beginning.memories),
            cleared=beginning.cleared,
            first_term=isinstance(self._lease, Lease) and grant.term == 1,
            cluster_ids={
                Side.SOURCE: beginning.source.cluster_id,
                Side.TARGET: beginning.target.cluster_id,
            },
            classes=beginning.classes,
            beginnings=beginning.beginnings,
            look=look_at(_quick(self._reach[Side.SOURCE]).client()),
            cleaning=self._cleaning,
            limits=Limits(
                Effects(
                    self._store,
                    self._reach[Side.SOURCE].client(),
                    self._reach[Side.TARGET].client(),
                    self._is_granted,
                ),
                self._store.effects(),
            ),
            begun_ms=int(self._store.get(BEGUN_MS) or UNKNOWN_TIME_MS),
            ended=self._desk.cutover.book.ended(),
            ahead=self._mirror,
        )
        copying.on_view_changed()
        return copying

    # -- the mirror of the state

    @property
    def _is_without_lease(self) -> bool:
        return isinstance(self._open_lease(), NoLease)

    def _recover(self, outbox: Outbox) -> None:
        """Loads what was mirrored, if this folder lost its state; the lease is taken for that."""
        source, target = self._reach[Side.SOURCE].client(), self._reach[Side.TARGET].client()
        try:
            wanted = self._head_of(*(first_metadata(each, ()).cluster_id for each in (source, target)))
        finally:
            source.close()
            target.close()
        if self._recover_from is not None:
            words = recover_from_file(self._recover_from, self._store, outbox, wanted)
            self._recovered = Recovered(True, words)
        else:
            topic = self._mirror_topic()
            try:
                self._recovered = recover(
                    Recovery(
                        store=self._store,
                        outbox=outbox,
                        topic=topic,
                        wanted=wanted,
                        lease=lambda: self._acquire().term,
                        committed=lambda: read_commits(self._open_lease().committed()),
                        may_write=self._is_granted,
                    ),
                    is_new=self._store.get(NAME) is None,
                )
            finally:
                topic.close()
        if self._recovered.loaded:
            self._report(f"note: {self._recovered.words}")
            restore_fences(self._store, self._fences)
            self._desk.reload()

    def _head_of(self, source_id: str, target_id: str) -> Head:
        return Head(
            schema=len(STEPS),
            name=self._manifest.name,
            source=source_id,
            target=target_id,
            state=self._store.get(STATE_ID) or "",
        )

    def _identified(self) -> dict[str, str]:
        return {} if self._store.get(STATE_ID) else {STATE_ID: secrets.token_hex(8)}

    def _mirror_topic(self) -> MirrorTopic:
        reach = _quick(self._reach[Side.TARGET])
        return MirrorTopic(
            reach.client(), self._manifest.mirror_topic, timeout_ms=reach.settings.request_timeout_ms * 2 // 3
        )

    def _make_mirror(self, beginning: Beginning, outbox: Outbox) -> Mirroring:
        settings = MirrorSettings(
            head=self._head_of(beginning.source.cluster_id, beginning.target.cluster_id),
            data_id=beginning.producer_id,
            export=self._folder.folder.path / EXPORT_NAME,
        )
        return Mirroring(settings, self._store, outbox, self._mirror_topic(), self._is_granted)

    def _mirror_groups(self) -> None:
        """What is committed for groups is known to be ours elsewhere, too; groups do not wait for it for long."""
        if self._mirror is not None:
            self._mirror.flush(MIRROR_GROUPS_SECONDS)

    def _commit_without_mirror(self, beginning: Beginning, copying: Copying) -> None:
        """Before offset maps grow that a mirror does not have: says on the target that it is older than the copy."""
        if self._mirror is None or not self._mirror.is_left_behind:
            return
        assert self._lease is not None
        commits = {
            partition: serialize_commit(memory, self._term, offset_class, copying.beginning_of(partition))
            for partition, memory in beginning.memories.items()
            if (offset_class := copying.maps.class_of(partition)) is not None and offset_class.needs_map
        }
        deadline = time.monotonic() + LEASE_SECONDS
        while commits:
            failed = self._lease.commit(commits)
            commits = {tp: each for tp, each in commits.items() if tp in failed and _NO_TOPIC not in failed[tp]}
            if not commits:
                return
            time.sleep(LOOP_SECONDS)
            if time.monotonic() >= deadline:
                partition = next(iter(commits))
                raise Unreachable(
                    f"the position of {partition} cannot be committed: {failed[partition]}",
                    side=Side.TARGET,
                    hint="run again when the target's group coordinator answers",
                )

    def _note_term(self, term: Term) -> None:
        """A term is in the store, and in the mirror, before anything is committed under it."""
        if term != self._term:
            self._term = term
            self._store.put(TERM, str(term))
            if self._mirror is not None:
                self._mirror.set_term(term)

    # -- the lease

    def _acquire(self) -> LeaseGrant:
        """Takes the lease, once."""
        lease = self._open_lease()
        if not self._acquired:
            lease.acquire(LEASE_SECONDS)
            self._acquired = True
        return lease.grant()

    def _open_lease(self) -> Lease | NoLease:
        if self._lease is None and os.environ.get(LEASE_VARIABLE) == "off":
            self._lease = NoLease()
        if self._lease is None:
            target = self._reach[Side.TARGET]
            self._lease = Lease(
                target.side,
                target.bootstrap,
                target.settings,
                group_id=self._manifest.lease_group,
                owner=str(self._folder.note),
                on_member_id=self._save_member_id,
                on_grant=self._on_grant,
                on_superseded=self._on_superseded,
                predecessor_member_id=self._predecessor(),
            )
        return self._lease

    def _save_member_id(self, member_id: str) -> None:
        self._store.put(MEMBER, json.dumps({"id": member_id, "host": socket.gethostname()}))

    def _predecessor(self) -> str | None:
        """The member id of our dead predecessor; a folder that was copied from another machine proves no death."""
        saved = json.loads(self._store.get(MEMBER) or "{}")
        return saved.get("id") if saved.get("host") == socket.gethostname() else None

    def _on_grant(self, grant: LeaseGrant) -> None:
        if self._engine is not None:
            self._engine.grant(grant)

    def _is_granted(self) -> bool:
        assert self._lease is not None
        return self._lease.grant().deadline_seconds > steady_seconds()

    def _may_apply(self) -> bool:
        if self._superseded is not None:
            raise self._superseded
        return self._is_granted()

    def _on_superseded(self, error: Superseded) -> None:
        self._superseded = error

    # -- the loop

    def wait(self, until_in_sync: bool, show: Show, between_turns: Callable[[], None]) -> int:
        """Runs until everything that was there at the beginning is copied (if asked for), else for ever.

        What `between_turns` raises ends it where nothing is half done.
        Returns 0, or 4 if partitions stopped. Raises Superseded when another owner has the lease, Refused when a
        cluster turns out to be another one.
        """
        copying = self._copying
        assert copying is not None, "start comes first"
        finish = Finish(copying, Marks(self._reach[Side.SOURCE].client())) if until_in_sync else None
        exit_code: int | None = None
        groups_until = math.inf
        while True:
            self._turn(copying, show)
            between_turns()
            now = time.monotonic()
            if exit_code is None and finish is not None:
                exit_code = finish.decide(now)
                if exit_code is not None and self._groups is not None:
                    self._groups.ask_whole_round()
                    groups_until = now + LAST_GROUPS_SECONDS
            if exit_code is not None and (self._groups is None or self._groups.is_settled or now >= groups_until):
                self._show(copying, show, now, _wall_ms())
                return exit_code

    def _turn(self, copying: Copying, show: Show) -> None:
        assert self._engine is not None
        events = self._engine.poll(LOOP_SECONDS)
        if self._superseded is not None:
            self._end_superseded(copying, show, self._superseded)
        now, now_ms = time.monotonic(), _wall_ms()
        for event in events:
            copying.on_event(event, now_ms)
        self._note_trouble(copying.adopt_looks())
        copying.step(now, now_ms)
        self._observe_transactions(copying, now)
        if self._disks.step(copying.target_brokers, now):
            copying.hold_up(self._disks.reason)
        self._follow_settings(copying, now)
        self._remember(copying, now)
        if now >= self._next_show and (copying.changed or now - self._shown_at >= SHOW_IDLE_SECONDS):
            self._show(copying, show, now, now_ms)

    def _end_superseded(self, copying: Copying, show: Show, error: Superseded) -> None:
        """Another owner may write from now on: nothing of ours may run, and nothing more is committed."""
        assert self._engine is not None
        assert self._head is not None
        self._engine.stop()
        head = replace(
            self._head,
            state=MigrationState.SUPERSEDED,
            reason=str(error),
            next_step=error.hint,
            held=self._store.held(),
        )
        document = copying.board.document(_wall_ms(), head)
        self._desk.publish(document)
        self._desk.save()
        show(document)
        raise error

    def _observe_transactions(self, copying: Copying, now: float) -> None:
        found = self._transactions.step(copying.latest, now)
        if found is not None:
            copying.board.show_open(found)
            copying.changed = True

    def _follow_settings(self, copying: Copying, now: float) -> None:
        assert self._settings is not None
        if self._settings.step(copying.target_replicas, now):
            copying.changed = True

    def _note_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble or self._trouble

    def _show(self, copying: Copying, show: Show, now: float, now_ms: int) -> None:
        assert self._engine is not None
        assert self._lease is not None
        assert self._head is not None
        assert self._cleaning is not None
        if self._cleaning.retention_ms is not self._shown_retention:
            self._shown_retention = self._cleaning.retention_ms
            copying.board.show_retention(self._shown_retention)
        assert self._settings is not None
        left = self._lease.grant().deadline_seconds - steady_seconds()
        decisions = self._desk.decisions()
        document = copying.board.document(
            now_ms,
            replace(
                self._head,
                term=self._lease.grant().term,
                lease_seconds_left=None if math.isinf(left) else round(max(0.0, left), 1),
                workers=tuple(
                    WorkerStatus(number=number, pid=pid, alive=pid is not None)
                    for number, pid in sorted(self._engine.pids().items())
                ),
                throttle_bytes_per_second=decisions.limits.total,
                broker_bytes_per_second=decisions.limits.broker,
                topic_bytes_per_second=dict(decisions.limits.topics),
                produce_latency_ms=decisions.limits.latency_ms,
                held=self._store.held(),
                target_full=bool(copying.held_up),
                groups=None if self._groups is None else self._groups.summary,
                notices=(
                    *self._head.notices,
                    *(self._mirror.notices if self._mirror is not None else ()),
                    *self._transactions.notices,
                    *self._cleaning.notices,
                    *self._settings.notices,
                ),
                left_out=tuple(
                    LeftOut(topic=topic, reason=reason) for topic, reason in copying.selected.left_out.items()
                ),
            ),
        )
        state, reason, next_step = decide_state(document, paused=decisions.paused, full=copying.held_up)
        if state is MigrationState.IN_SYNC and self._leader is not None:
            is_finished = document.is_handed_over and self._desk.cutover.is_finished
            next_step = NOTHING_LEFT if is_finished else "kmigrate cutover status -f FILE"
        if state is MigrationState.WAITING and left <= 0 and self._lease.trouble:
            reason = f"{WAITING_FOR_LEASE}: {self._lease.trouble}"
        document = replace(document, state=state, reason=reason, next_step=next_step)
        copying.changed = False
        self._shown_at, self._next_show = now, now + SHOW_SECONDS
        self._desk.publish(document)
        show(document)

    # -- what must not be forgotten

    def _remember(self, copying: Copying, now: float) -> None:
        if now >= self._next_save:
            self._next_save = now + SAVE_SECONDS
            self._store.remember(copying.positions.take_unsaved())
            note_fences(self._store, self._fences)
        if self._committing is not None and self._committing[1].done:
            self._end_commit(copying)
        if self._committing is None and (now >= self._next_commit or copying.positions.is_new):
            taken = self._begin_commit(copying)
            if taken < COMMITS:
                self._next_commit = now + COMMIT_SECONDS

    def _begin_commit(self, copying: Copying) -> int:
        """Returns how many positions it commits."""
        lease = self._lease
        assert lease is not None
        self._note_term(lease.grant().term)
        if self._mirror is not None and not self._mirror.covers(self._term):
            return COMMITS  # in a moment
        commits = copying.positions.take_uncommitted(COMMITS, self._term, copying.maps.class_of, copying.beginning_of)
        if commits:
            self._committing = commits, Errand(lambda: lease.commit(commits), "commit")
        return len(commits)

    def _end_commit(self, copying: Copying) -> None:
        assert self._committing is not None
        failed = self._committing[1].result()
        self._committing = None
        if failed:
            partition, reason = next(iter(failed.items()))
            log.warning("%d positions were not committed on the target; %s: %s", len(failed), partition, reason)
            copying.positions.give_back(failed)
            self._next_commit = time.monotonic() + COMMIT_SECONDS

    # -- the end

    def stop(self) -> None:
        """Ends workers, saves positions and leaves the lease; safe to call at any time, and twice."""
        self._desk.apply.attach(None)
        if self._leader is not None:
            self._leader.stop()
            self._leader = None
        self._back.close()
        for watch in self._watches:
            watch.stop()
        if self._groups is not None:
            self._desk.groups.attach(None)
            self._groups.stop()
            self._groups = None
        if self._engine is not None:
            if self._copying is not None:
                for event in self._engine.drain():
                    self._copying.on_event(event, _wall_ms())
            self._engine.stop()
        if self._copying is not None:
            self._store.remember(self._copying.positions.take_unsaved())
            if self._superseded is None:
                self._commit_last(self._copying)
        if self._mirror is not None:
            self._mirror.stop(superseded=self._superseded is not None)
            self._mirror = None
        if self._lease is not None:
            self._lease.release()
        self._copying = None

    def _commit_last(self, copying: Copying) -> None:
        """Commits what is left, as far as that goes within a moment: the store has it in any case."""
        deadline = time.monotonic() + LAST_COMMIT_SECONDS
        while time.monotonic() < deadline:
            if self._committing is None:
                self._begin_commit(copying)
            if self._committing is None or not self._committing[1].wait(deadline - time.monotonic()):
                return
            if self._committing[1].result():
                return
            self._committing = None


def _quick(reach: Reach) -> Reach:
    """For a watch: a frozen broker is not waited for as long as a copied batch would be; another one is asked."""
    settings = reach.settings
    return replace(
        reach,
        settings=replace(
            settings,
            request_timeout_ms=min(settings.request_timeout_ms, WATCH_TIMEOUT_MS),
            connect_timeout_ms=min(settings.connect_timeout_ms, WATCH_TIMEOUT_MS),
        ),
    )


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
