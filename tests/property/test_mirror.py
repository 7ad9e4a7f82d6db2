"""Whatever happens between a change, its sending and a crash: a recovered state is one that there was, or later."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmigrate.errors import KmigrateError
from kmigrate.kafka_types import Partition, TopicName, TopicPartition
from kmigrate.offsets.classes import OffsetClass
from kmigrate.runner.mirroring import Kept
from kmigrate.runner.positions import Commit
from kmigrate.state.mirror import parse_key
from kmigrate.state.store import Store
from tests.simulation.mirror import MirrorLog
from tests.unit.runner.test_mirroring import PLACE, Owner, commit

OTHER = TopicPartition(TopicName("pay"), Partition(1))
OWN = (b'["fact","state.id"]', b'["fact","name"]', b'["fact","journal.head"]')
"""Facts that a recovery writes itself; that the journal's chain holds is asked for."""

steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(st.just("runs"), st.integers(1, 1200)),
        st.tuples(st.just("forget")),
        st.tuples(st.just("decide")),
        st.tuples(st.just("mirror")),
        st.tuples(st.just("lose answer")),
        st.tuples(st.just("delete topic")),
        st.tuples(st.just("away"), st.booleans()),
        st.tuples(st.just("lose disk")),
        st.tuples(st.just("restart")),
    ),
    max_size=20,
)


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = MirrorLog()
        self.lives = 0
        self.commits: dict[TopicPartition, Commit] = {}
        self.is_deleted = False
        """Whether the topic was deleted, and has not got everything again, or is no longer this state's."""
        self.is_recovered = False
        self.begin(is_lost=False)

    def begin(self, *, is_lost: bool) -> None:
        self.log.away, self.log.lost_answers = False, 0  # or it would be the file from the start
        self.lives += 1
        if is_lost:
            self.folder = self.folder.with_name(f"{self.lives}")
        self.owner = Owner(self.folder, self.log, term=self.lives)
        if is_lost:
            told = self.owner.recover(self.commits)
            self.is_recovered = told.startswith("state recovered")
            assert self.is_recovered or not self.log.exists or self.is_deleted
            if self.is_recovered:
                self.judge()
        else:
            assert self.owner.recover(self.commits) == "", "this folder has the latest state itself"
        self.owner.open()
        self.note_mirrored()

    def rows(self) -> dict[bytes, bytes]:
        return {key: value for key, value in self.owner.outbox.rows() if key not in OWN}

    def note_mirrored(self) -> None:
        """From here on each row may be what it is now, or anything that it becomes."""
        self.is_deleted = not self.log.exists or self.owner.mirroring.kept is not Kept.TOPIC
        self.since = {key: {value} for key, value in self.rows().items()}
        if self.owner.mirroring.covers(self.lives):
            self.commits[PLACE] = commit(self.lives)

    def note_change(self) -> None:
        rows = self.rows()
        for key in rows.keys() | self.since.keys():
            self.since.setdefault(key, {None}).add(rows.get(key))  # type: ignore[arg-type]

    def judge(self) -> None:
        recovered = self.rows()
        recovered = {key: value for key, value in recovered.items() if b"recovered" not in value}
        for key in recovered.keys() | self.since.keys():
            allowed: set[bytes | None] = {*self.since.get(key, {None})}
            if parse_key(key)[0] == "journal":
                allowed.add(None)
            assert recovered.get(key) in allowed, key
        assert self.owner.store.verify_journal().holds

    def step(self, what: str, *rest: object) -> None:
        store: Store = self.owner.store
        if what == "put":
            store.put(str(rest[0]), str(rest[1]))
        elif what == "runs":
            self.owner.save_map(int(str(rest[0])))
        elif what == "forget":
            store.forget(PLACE.topic)
        elif what == "decide":
            store.decide("pause", {}, facts={"paused": str(self.lives)})
            store.decide_classes({OTHER: OffsetClass.SHIFTED}, {})
        elif what == "lose answer":
            self.log.lost_answers = 1
        elif what == "delete topic":
            self.log.delete()
            self.is_deleted = True
            return
        elif what == "away":
            self.log.away = bool(rest[0])
        elif what == "mirror":
            mark = self.owner.mirroring.mark()
            try:
                self.owner.mirroring.step()
            except KmigrateError:
                return  # a topic that is made anew may not have everything yet
            if self.owner.mirroring.has(mark) and self.log.exists:
                self.note_mirrored()
            return
        elif what in ("lose disk", "restart"):
            self.begin(is_lost=what == "lose disk")
            return
        self.note_change()


@settings(max_examples=25, deadline=None)
@example([("lose answer",), ("delete topic",), ("mirror",), ("lose disk",)])
@given(steps)
def test_a_recovered_state_is_one_that_there_was_or_a_later_one(script: list[tuple[object, ...]]) -> None:
    memory = Path("/dev/shm")  # a store waits for its disk at every step
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        world = World(Path(folder) / "1")
        for what, *rest in script:
            world.step(str(what), *rest)
        world.step("away", False)
        world.step("put", "a", 9)  # if nothing changes, a topic that was deleted is missed only after a minute
        for _ in range(3):
            world.step("mirror")
        expected = world.rows()
        world.begin(is_lost=True)
        if world.is_recovered:
            found = {key: value for key, value in world.rows().items() if b"recovered" not in value}
            assert {key: value for key, value in expected.items() if b"recovered" not in value} == found
