"""One round over all groups: read both sides, latch, commit what the target lacks, read back.

Rule: what is decided is kept before it is done, and just before a commit the group's coordinator says that nobody is a
member. A commit whose answer did not come is unknown: until it is read back, and a quiet time has passed, nothing else
is committed for its group.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import NamedTuple, Protocol

from kmigrate.cluster.lanes import NotSent
from kmigrate.errors import ClusterError
from kmigrate.groups.cluster_groups import ClusterGroups, Commit, Listing
from kmigrate.groups.decide import (
    BEING_COMMITTED,
    EMPTY_STATES,
    UNSETTLED,
    Decision,
    Place,
    Seen,
    decide_group,
    latch,
    new,
    outcome_of_keeping,
    outcome_of_reading,
    outcome_of_refusal,
    release,
)
from kmigrate.groups.select import SelectedGroups
from kmigrate.groups.values import NO_RECORD, SYNCED, GroupRecord, Outcome, OutcomeKind, Written
from kmigrate.kafka_types import BrokerId, TopicPartition
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.group_calls import Committed, GroupOffsets
from kmigrate.wire.offset_calls import ListedGroup

log = logging.getLogger(__name__)

LIST_SECONDS = 5.0
"""How often the source is asked which groups there are."""
LOOK_AGAIN_SECONDS = 10.0
"""A group of which nothing changed is decided about anew this often: log starts move."""
QUIET_SECONDS = 10.0
"""How long a commit whose answer did not come may still be on its way."""
GONE_LISTINGS = 2
"""So many whole lists in a row must leave a group out before it counts as deleted."""
REMEMBERED_COMMITS = 16
"""How many commits of a partition are remembered while the copy is not there yet: one a round."""
Chunk = tuple[BrokerId, Sequence[str]]
"""Groups that one broker coordinates."""
NOTHING = GroupOffsets(0, {})
WAITING_FOR_LEASE = Outcome(OutcomeKind.WAITING, "waiting for the lease")


class Book(Protocol):
    """Where records of groups are kept; what returned is on the disk."""

    def load(self) -> Mapping[str, GroupRecord]: ...
    def save(self, records: Mapping[str, GroupRecord]) -> None: ...


@dataclass(slots=True, kw_only=True)
class Picture:
    """A group as it stood when it was last looked at; `trouble` says why that is not now."""

    group: str
    listed: ListedGroup | None = None
    source: GroupOffsets | None = None
    target: GroupOffsets = NOTHING
    target_state: str = ""
    record: GroupRecord = NO_RECORD
    outcomes: Mapping[TopicPartition, Outcome] = field(default_factory=dict)
    trouble: Outcome | None = None


class _Memo(NamedTuple):
    """What a decision rested on, and until when it stands if nothing of that is another."""

    source: GroupOffsets | None
    target: GroupOffsets
    record: GroupRecord
    state: str
    until: float

    def is_same(self, other: _Memo) -> bool:
        """Whether nothing was read or kept since; readers give the same objects where nothing changed."""
        are_same = self.source is other.source and self.target is other.target and self.record is other.record
        return are_same and self.state == other.state


class RoundResult(NamedTuple):
    """What a round did, for the log and for measurements."""

    groups: int
    decided: int
    committed: int
    latched: int
    trouble: str


class Sync:
    """Keeps the groups of one migration in step; used by one thread."""

    def __init__(
        self,
        source: ClusterGroups,
        target: ClusterGroups,
        book: Book,
        select: Callable[[Iterable[ListedGroup]], SelectedGroups],
        may_write: Callable[[], bool],
        *,
        refresh_ms: int,
        seconds: Callable[[], float],
        wall_ms: Callable[[], int],
    ) -> None:
        """`may_write` says whether the lease is granted now; `refresh_ms`: commits are written anew that often."""
        self._source = source
        self._target = target
        self._book = book
        self._select = select
        self._may_write = may_write
        self._refresh_ms = refresh_ms
        self._seconds = seconds
        self._wall_ms = wall_ms
        self._records = dict(book.load())
        self._memos: dict[str, _Memo] = {}
        self._ahead: dict[str, dict[TopicPartition, deque[Committed]]] = {}
        """What was committed on the source where the copy was not yet, by group."""
        self._missed: dict[str, int] = {}
        self._listed_at: float | None = None
        # what a predecessor sent last may still be on its way
        self._unsettled = dict.fromkeys(self._records, seconds() + QUIET_SECONDS)
        self.selected = SelectedGroups(groups={}, left_out={}, unsupported={})
        self.pictures: dict[str, Picture] = {
            group: Picture(group=group, record=record) for group, record in self._records.items()
        }

    def release(self, groups: Iterable[str]) -> None:
        """An operator ended the latches of these groups; the book knows it already."""
        for group in groups:
            self.adopt(group, release(self.record(group)))

    def adopt(self, group: str, record: GroupRecord) -> None:
        """A record that somebody else made and kept."""
        self._records[group] = self._picture(group).record = record
        self._memos.pop(group, None)

    def record(self, group: str) -> GroupRecord:
        """What is kept of a group."""
        return self._records.get(group, NO_RECORD)

    # -- a round

    def round(self, place: Place, *, anew: bool = False, require_stable: bool = False) -> RoundResult:
        """Looks at every group once. `anew`: decides about all of them, whatever was decided before."""
        now = self._seconds()
        if anew:
            self._memos.clear()
            self._listed_at = None
        trouble = self._list_source(now)
        if self._listed_at is None:
            return RoundResult(0, 0, 0, 0, trouble)
        known = {*self.selected.groups, *self.selected.left_out, *self.selected.unsupported}
        groups = [*self.selected.groups, *(group for group in self._records if group not in known)]
        states, target_trouble = self._list_target()
        sources = self._read_source(require_stable)
        decided = committed = latched = 0
        asked: set[str] = set()
        for wave in _waves(self._target.by_coordinator(groups)):
            for _, chunk in wave:
                asked.update(chunk)
            counts = self._sync_wave(wave, sources, states, place)
            decided, committed, latched = decided + counts[0], committed + counts[1], latched + counts[2]
        for group in groups:
            if group not in asked:
                self._picture(group).trouble = _without_coordinator(self._target, group)
        return RoundResult(len(groups), decided, committed, latched, trouble or target_trouble)

    def _list_source(self, now: float) -> str:
        if self._listed_at is not None and now - self._listed_at < LIST_SECONDS:
            return ""
        try:
            listing = self._source.list_all()
        except ClusterError as error:
            return str(error)
        self._listed_at = now
        self._count_missing(listing)
        found = self._select(listing.groups.values())
        missed = {
            group: each
            for group, each in self.selected.groups.items()
            if group not in listing.groups and not self._is_gone(group)
        }
        self.selected = replace(found, groups={**missed, **found.groups})
        for group, each in self.selected.groups.items():
            self._picture(group).listed = each
        kept = self._records.keys() - found.left_out.keys() - found.unsupported.keys()
        self._drop({*self.pictures} - self.selected.groups.keys() - kept)
        return listing.trouble

    def _count_missing(self, listing: Listing) -> None:
        """How often in a row a group that is known was not listed; lists with holes do not count."""
        for group in {*self.selected.groups, *self._records}:
            if group in listing.groups:
                self._missed.pop(group, None)
            elif not listing.trouble:
                self._missed[group] = self._missed.get(group, 0) + 1

    def _is_gone(self, group: str) -> bool:
        return self._missed.get(group, 0) >= GONE_LISTINGS

    def _drop(self, groups: Iterable[str]) -> None:
        gone = list(groups)
        for group in gone:
            self.pictures.pop(group, None)
            self._memos.pop(group, None)
            self._ahead.pop(group, None)
        self._source.forget(gone)
        self._target.forget(gone)

    def _list_target(self) -> tuple[Mapping[str, str], str]:
        """The states of the groups that the target lists."""
        try:
            listing = self._target.list_all()
        except ClusterError as error:
            return {}, str(error)
        return {group: each.state for group, each in listing.groups.items()}, listing.trouble

    def _read_source(self, require_stable: bool) -> Mapping[str, GroupOffsets | Outcome]:
        """What every group has committed, or why that is not known."""
        found: dict[str, GroupOffsets | Outcome] = {}
        for broker, chunk in self._source.by_coordinator(self.selected.groups):
            try:
                answers = self._source.fetch_offsets(broker, chunk, require_stable=require_stable)
            except ClusterError as error:
                found.update(dict.fromkeys(chunk, Outcome(OutcomeKind.WAITING, str(error))))
                continue
            for group, offsets in answers.items():
                found[group] = outcome_of_reading(offsets.error, "source") if offsets.error else offsets
        return found

    # -- some groups of each coordinator

    def _sync_wave(
        self,
        wave: Sequence[Chunk],
        sources: Mapping[str, GroupOffsets | Outcome],
        states: Mapping[str, str],
        place: Place,
    ) -> tuple[int, int, int]:
        """(how many were decided about, how many commits were made, how many groups were latched)."""
        decisions: dict[str, Decision] = {}
        wanting: list[Chunk] = []
        for broker, groups in wave:
            try:
                targets = self._target.fetch_offsets(broker, groups, require_stable=True)
            except ClusterError as error:
                for group in groups:
                    self._picture(group).trouble = Outcome(OutcomeKind.WAITING, str(error))
                continue
            its = self._decide(groups, sources, targets, states, place)
            decisions |= its
            wanting.append((broker, [group for group, each in its.items() if each.commits or each.deletes]))
        for broker, groups in wanting:
            decisions |= self._guard(broker, groups, decisions, place)
        latched = [
            group
            for group, decision in decisions.items()
            if decision.record.moved is not None and self.record(group).moved is None
        ]
        granted = self._may_write()
        self._keep({group: each for group, each in decisions.items() if granted or group in latched})
        for group in latched:
            moved = decisions[group].record.moved
            log.warning("group %s is not touched on the target any more: %s", group, moved and moved.reason)
        committed = 0
        if granted:
            committed = self._commit(wanting, decisions)
            for broker, groups in wanting:
                for group in groups:
                    self._delete(broker, group, decisions[group].deletes)
                self._read_back(broker, [group for group in groups if decisions[group].commits])
        else:
            for _, groups in wanting:
                self._hold(groups, WAITING_FOR_LEASE)
        return len(decisions), committed, len(latched)

    def _decide(
        self,
        groups: Sequence[str],
        sources: Mapping[str, GroupOffsets | Outcome],
        targets: Mapping[str, GroupOffsets],
        states: Mapping[str, str],
        place: Place,
    ) -> dict[str, Decision]:
        """A decision for each group that is not as it was."""
        now, now_ms = self._seconds(), self._wall_ms()
        decisions = {}
        for group in groups:
            picture, record = self._picture(group), self.record(group)
            source, target = sources.get(group), targets.get(group)
            if self._is_gone(group) and group not in self.selected.groups:
                source = picture.listed = None
            elif source is None:
                picture.trouble = _without_coordinator(self._source, group)
                continue
            if isinstance(source, Outcome) or target is None or target.error:
                picture.trouble = source if isinstance(source, Outcome) else _unreadable(target)
                continue
            state = states.get(group, "")
            refresh = self._is_due(record, now_ms)
            memo = _Memo(source, target, record, "" if state in EMPTY_STATES else state, 0.0)
            picture.target_state = state
            before = self._memos.get(group)
            if before is not None and before.is_same(memo) and now < before.until and not refresh:
                picture.trouble = None
                continue
            picture.source, picture.target, picture.trouble = source, target, None
            is_ours = before is not None and before.target is target and before.record is record
            earlier = self._ahead.get(group, {})
            seen = Seen(source, target, state, self._is_unsettled(group, now), is_ours, earlier)
            decisions[group] = self._note(group, decide_group(record, seen, place, refresh=refresh, now_ms=now_ms))
            self._remember(group, decisions[group].ahead)
            until = 0.0 if _waits(decisions[group].outcomes) else self._until(now)
            self._memos[group] = memo._replace(record=decisions[group].record, until=until)
        return decisions

    def _remember(self, group: str, ahead: Mapping[TopicPartition, Committed]) -> None:
        """What waits for the copy: in a later round it stands in for what is committed by then."""
        before = self._ahead.pop(group, {})
        for partition, committed in ahead.items():
            seen = before.get(partition) or deque(maxlen=REMEMBERED_COMMITS)
            if not seen or seen[-1] != committed:
                seen.append(committed)
            self._ahead.setdefault(group, {})[partition] = seen

    def _until(self, now: float) -> float:
        """Spread, so that not all groups are looked at again in the same round."""
        return now + LOOK_AGAIN_SECONDS * (0.5 + len(self._memos) % 16 / 16)

    def _is_due(self, record: GroupRecord, now_ms: int) -> bool:
        return bool(record.written) and record.moved is None and now_ms - record.refreshed_ms >= self._refresh_ms

    def _is_unsettled(self, group: str, now: float) -> bool:
        until = self._unsettled.get(group)
        if until is None or now < until:
            return until is not None
        del self._unsettled[group]
        return False

    def _note(self, group: str, decision: Decision) -> Decision:
        picture = self._picture(group)
        picture.record, picture.outcomes = decision.record, decision.outcomes
        return decision

    def _guard(
        self, broker: BrokerId, groups: Sequence[str], decisions: Mapping[str, Decision], place: Place
    ) -> dict[str, Decision]:
        """Decides anew about groups that have members on the target; those that it does not describe are left alone."""
        if not groups:
            return {}
        try:
            described = self._target.describe(broker, groups)
        except ClusterError as error:
            return {group: self._put_off(group, decisions[group], str(error)) for group in groups}
        changed = {}
        for group in groups:
            found, picture = described.get(group), self._picture(group)
            if found is None or found.error:
                why = "its coordinator is another one now" if found is None else outcome_of_refusal(found.error).reason
                changed[group] = self._put_off(group, decisions[group], why)
            elif found.state not in EMPTY_STATES:
                picture.target_state = found.state
                seen = Seen(picture.source, picture.target, found.state)
                changed[group] = self._note(
                    group, decide_group(self.record(group), seen, place, refresh=False, now_ms=self._wall_ms())
                )
        return changed

    def _put_off(self, group: str, decision: Decision, reason: str) -> Decision:
        outcome = Outcome(OutcomeKind.WAITING, reason)
        outcomes = {**decision.outcomes, **dict.fromkeys((*decision.commits, *decision.deletes), outcome)}
        self._memos.pop(group, None)
        return self._note(group, Decision(self.record(group), {}, outcomes))

    def _keep(self, decisions: Mapping[str, Decision]) -> None:
        """What was decided is on the disk before it is done."""
        changed: dict[str, GroupRecord] = {}
        for group, decision in decisions.items():
            record = decision.record
            if record.written and record.refreshed_ms < 0:  # when others wrote what is there, nobody can tell
                record = replace(record, refreshed_ms=self._wall_ms() if decision.commits else 0)
            if decision.record is not self.record(group):
                changed[group] = record
        if changed:
            self._book.save(changed)
            self._records |= changed
            for group, record in changed.items():
                self._picture(group).record = record
                if group in self._memos:
                    self._memos[group] = self._memos[group]._replace(record=record)

    def _commit(self, wanting: Sequence[Chunk], decisions: Mapping[str, Decision]) -> int:
        """Commits for all of them, several at a time; returns how many commits were taken."""
        commits = [
            Commit(broker, group, decisions[group].commits)
            for broker, groups in wanting
            for group in groups
            if decisions[group].commits
        ]
        taken = 0
        for (_, group, _), answer in zip(commits, self._target.commit_all(commits, self._may_write), strict=True):
            if isinstance(answer, NotSent):
                self._hold([group], Outcome(OutcomeKind.WAITING, answer.reason) if answer.reason else WAITING_FOR_LEASE)
            elif isinstance(answer, ClusterError):
                log.warning("a commit for group %s has an unknown outcome: %s", group, answer)
                self._unsettled[group] = self._seconds() + QUIET_SECONDS
                self._hold([group], UNSETTLED)
            else:
                taken += len(answer)
                if any(answer.values()):
                    refused = {partition: error for partition, error in answer.items() if error}
                    self._on_refused(group, refused)
                    taken -= len(refused)
        return taken

    def _delete(self, broker: BrokerId, group: str, partitions: Sequence[TopicPartition]) -> None:
        """Takes commits of ours away; the next round sees whether they are gone."""
        if not partitions or self.record(group).moved is not None or not self._may_write():
            return
        try:
            error, errors = self._target.delete_offsets(broker, group, partitions)
        except ClusterError as failure:
            log.warning("taking commits of group %s away has an unknown outcome: %s", group, failure)
            self._unsettled[group] = self._seconds() + QUIET_SECONDS
            return
        refused = {tp: code for tp in partitions if (code := error or errors.get(tp, 0))}
        if refused:
            picture = self._picture(group)
            picture.outcomes = {**picture.outcomes, **{tp: outcome_of_keeping(code) for tp, code in refused.items()}}

    def _on_refused(self, group: str, refused: Mapping[TopicPartition, int]) -> None:
        """Members that came between the look and the commit latch the group, too."""
        picture = self._picture(group)
        self._memos.pop(group, None)
        if ErrorCode.UNKNOWN_MEMBER_ID in refused.values():
            record = latch(
                self.record(group), "it had members on the target when it was committed for", self._wall_ms()
            )
            self._book.save({group: record})
            self._records[group] = picture.record = record
            assert record.moved is not None
            picture.outcomes = dict.fromkeys(picture.outcomes, Outcome(OutcomeKind.MOVED, record.moved.reason))
            log.warning("group %s is not touched on the target any more: %s", group, record.moved.reason)
            return
        picture.outcomes = {
            **picture.outcomes,
            **{partition: outcome_of_refusal(error) for partition, error in refused.items()},
        }

    def _hold(self, groups: Sequence[str], outcome: Outcome) -> None:
        for group in groups:
            picture = self._picture(group)
            picture.record = self.record(group)
            self._memos.pop(group, None)
            picture.outcomes = {
                tp: outcome if each is BEING_COMMITTED else each for tp, each in picture.outcomes.items()
            }

    def _read_back(self, broker: BrokerId, groups: Sequence[str]) -> None:
        """What is there now counts as synced; anything else is looked at in the next round."""
        asked = [group for group in groups if self.record(group).moved is None]
        if not asked:
            return
        try:
            found = self._target.fetch_offsets(broker, asked, require_stable=True)
        except ClusterError as error:
            log.info("commits on the target are not read back yet: %s", error)
            return
        now, now_ms = self._seconds(), self._wall_ms()
        for group, offsets in found.items():
            picture, record = self._picture(group), self.record(group)
            if offsets.error or group in self._unsettled:
                continue
            picture.target = offsets
            written = dict(record.written)
            outcomes = dict(picture.outcomes)
            ours = 0
            for partition, (_error, offset, epoch, metadata) in offsets.partitions.items():
                known = written.get(partition)
                lies = (offset, metadata, epoch)
                if known is None or known.now != lies:
                    ours += known is not None and known.before == lies
                    continue
                ours += 1
                if known.before is not None:
                    written[partition] = new(Written, (known.now, None))
                if outcomes.get(partition) is BEING_COMMITTED:
                    outcomes[partition] = SYNCED
            picture.outcomes = outcomes
            record = replace(record, written=written)
            if self._is_due(record, now_ms):
                record = replace(record, refreshed_ms=now_ms)
                self._book.save({group: record})
            self._records[group] = picture.record = record
            if ours < len(offsets.partitions) or _waits(outcomes):
                self._memos.pop(group, None)
            else:
                self._memos[group] = _Memo(picture.source, offsets, record, "", self._until(now))

    def _picture(self, group: str) -> Picture:
        found = self.pictures.get(group)
        if found is None:
            found = self.pictures[group] = Picture(group=group, record=self.record(group))
        return found


def _waves(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """Chunks of groups so that each wave has at most one of each coordinator."""
    led: dict[BrokerId, list[Chunk]] = {}
    for chunk in chunks:
        led.setdefault(chunk[0], []).append(chunk)
    for wave in zip_longest(*led.values()):
        yield [chunk for chunk in wave if chunk is not None]


def _waits(outcomes: Mapping[TopicPartition, Outcome]) -> bool:
    values = [*outcomes.values()]
    return values.count(SYNCED) < len(values) and any(each.kind is OutcomeKind.WAITING for each in values)


def _unreadable(target: GroupOffsets | None) -> Outcome:
    if target is None:
        return Outcome(OutcomeKind.WAITING, "its coordinator on the target is another one now")
    return outcome_of_reading(target.error, "target")


def _without_coordinator(groups: ClusterGroups, group: str) -> Outcome:
    """What a group comes to that could not be asked about."""
    error = groups.refusal(group)
    if error:
        return outcome_of_reading(error, str(groups.side))
    return Outcome(OutcomeKind.WAITING, f"its coordinator on the {groups.side} is not known")
