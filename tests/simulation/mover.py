"""The simulated shell of a cutover: it copies, looks, journals, carries effects out, and dies at the worst moment.

It stands for what the runner has to do, with the same rules: nothing is done that the journal does not hold, and every
effect may be carried out again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from kmigrate.kafka_types import Offset, TopicName, TopicPartition
from kmigrate.manifest.model import Scheme
from kmigrate.schemes.effects import Effect, EffectKind, End
from kmigrate.schemes.facts import GroupFacts, PartitionFacts, Straggler, WaveFacts
from kmigrate.schemes.wave import Ending, History, Wave
from tests.simulation.service import SOURCE, TARGET, Entry, Group, Origin, Service

K = EffectKind
STOPPED = History.STOPPED
_STOP_CHANCE = 0.003
"""How often late records stop, which nothing but the operator's word ends."""


class NotNow(Exception):
    """An effect cannot be carried out now."""


class NeverSo(Exception):
    """An effect cannot be carried out as things are, however often it is tried."""


class Mover:
    """Both clusters as kmigrate uses them."""

    def __init__(self, service: Service, wave: Wave, chance: random.Random) -> None:
        self.service, self.wave, self.chance = service, wave, chance
        copies = wave.scheme is Scheme.CONSUMERS_FIRST or wave.history.value != "none"
        self.copying = set(wave.topics) if copies else set()
        self.copied = dict.fromkeys(service.partitions, 0)
        self.verified = dict.fromkeys(service.partitions, 0)
        self.on_target: dict[TopicPartition, dict[int, int]] = {tp: {} for tp in service.partitions}
        self.on_source: dict[TopicPartition, dict[int, int]] = {tp: {} for tp in service.partitions}
        self.back = dict.fromkeys(service.partitions, 0)
        self.stops = dict.fromkeys(service.partitions, "")
        self.late_stops = dict.fromkeys(service.partitions, "")
        self.held = set(wave.topics)
        self.synced = set(wave.groups) if wave.scheme is Scheme.CONSUMERS_FIRST else set()
        self.prepared: dict[str, dict[TopicPartition, int]] = {}
        self.listed: dict[TopicPartition, set[int]] = {tp: set() for tp in service.partitions}
        self.promoted: set[TopicName] = set()
        self.overlap: set[TopicName] = set()
        self.trimmed: set[TopicPartition] = set()
        """Of these late records cannot be appended, which a process finds out when it comes to them."""
        self.forgone: set[TopicPartition] = set()
        """Of these late records are not appended any more."""
        self.is_reversing = False
        self.copies = copies
        self.frozen: dict[TopicPartition, int] = {}
        """Ends on the source that count as final."""
        is_clean = wave.ending is Ending.CLEAN and (wave.scheme is Scheme.CONSUMERS_FIRST or wave.history is STOPPED)
        self.behind = chance.choice((0, 2, 3)) if is_clean else 0
        """Records that the copy in the background leaves for later, and is in sync: only an effect promises the end."""
        self.copy_pace = chance.choice((0.8, 0.8, 0.3, 0.1))

    def snapshot(self) -> object:
        """Everything that an effect may change, to be compared."""
        service = self.service
        logs = {(side, tp): len(log) for side, all_logs in service.logs.items() for tp, log in all_logs.items()}
        commits = {(n, side): dict(g.committed[side]) for n, g in service.groups.items() for side in (SOURCE, TARGET)}
        sets = [self.copying, self.held, self.synced, self.promoted, self.overlap, *service.fenced.values()]
        return (
            logs,
            commits,
            [frozenset(each) for each in sets],
            dict(self.copied),
            dict(self.back),
            {name: dict(each) for name, each in self.prepared.items()},
            self.is_reversing,
        )

    # -- what goes on all the time

    def copy(self, most: int = 6) -> None:
        for tp in self.service.partitions:
            if tp.topic in self.copying:
                self._copy(tp, most, behind=self.behind)
            elif tp.topic in self.overlap:
                self._append_late(tp, most)
        self._sync_groups()
        if self.is_reversing:
            self._copy_back(most)

    def _copy(self, tp: TopicPartition, most: int, *, behind: int = 0) -> None:
        source, target = self.service.logs[SOURCE][tp], self.service.logs[TARGET][tp]
        end = min(len(source) - behind, self.copied[tp] + most)
        while self.copied[tp] < end and not self.stops[tp]:
            entry = source[self.copied[tp]]
            if entry.origin is not Origin.REVERSE and self.copied[tp] not in self.on_target[tp]:
                if any(each.origin is not Origin.COPY for each in target[-1:]):
                    self.stops[tp] = "FOREIGN_WRITE"
                    return
                self.on_target[tp][self.copied[tp]] = len(target)
                target.append(Entry(entry.record, Origin.COPY, self.copied[tp]))
            self.copied[tp] += 1
        if any(e.origin is Origin.APPLICATION for e in target[-1:]):
            self.stops[tp] = self.stops[tp] or "FOREIGN_WRITE"

    def _append_late(self, tp: TopicPartition, most: int) -> None:
        """What the source gets goes behind whatever is on the target, each record once."""
        source, target = self.service.logs[SOURCE][tp], self.service.logs[TARGET][tp]
        if self.chance.random() < _STOP_CHANCE:
            self.trimmed.add(tp)
        if tp in self.trimmed and tp not in self.forgone:
            self.late_stops[tp] = "LATE_SOURCE_TRIMMED at source offset …"
        if self.stops[tp] or self.late_stops[tp] or tp in self.forgone:
            return
        end = min(len(source), self.copied[tp] + most)
        for offset in range(self.copied[tp], end):
            assert offset not in self.on_target[tp], f"{tp}@{offset} is on the target already"
            self.on_target[tp][offset] = len(target)
            target.append(Entry(source[offset].record, Origin.LATE, offset))
        self.copied[tp] = max(end, self.copied[tp])

    def _sync_groups(self) -> None:
        for name in sorted(self.synced):
            group = self.service.groups[name]
            if TARGET in group.on or self.chance.random() < 0.5:
                continue
            for tp, committed in group.committed[SOURCE].items():
                placed = self._translate(tp, committed)
                if placed is not None:
                    group.committed[TARGET][tp] = placed

    def _translate(self, tp: TopicPartition, offset: int) -> int | None:
        """Where a source offset lies on the target; None if that is not copied. Offsets are the same there."""
        return offset if offset <= self.copied[tp] else None

    def _copy_back(self, most: int) -> None:
        if any(SOURCE in group.on for group in self.service.groups.values()):
            return
        for tp in self.service.partitions:
            if tp.topic not in self.promoted:
                continue
            source, target = self.service.logs[SOURCE][tp], self.service.logs[TARGET][tp]
            for offset in range(self.back[tp], min(len(target), self.back[tp] + most)):
                if target[offset].origin is Origin.APPLICATION and offset not in self.on_source[tp]:
                    self.on_source[tp][offset] = len(source)
                    source.append(Entry(target[offset].record, Origin.REVERSE, offset))
                self.back[tp] = offset + 1

    def recreate(self, tp: TopicPartition) -> None:
        """An operator answers a stop: what foreign writers left goes, and who has read it is set back to before it."""
        target = self.service.logs[TARGET][tp]
        end = next((at for at, entry in enumerate(target) if entry.origin is Origin.APPLICATION), len(target))
        del target[end:]
        self.on_target[tp] = {source: at for source, at in self.on_target[tp].items() if at < end}
        self.service.application_records[TARGET][tp] = 0
        self.stops[tp] = ""
        for group in self.service.groups.values():
            for places in (group.committed[TARGET], group.position[TARGET]):
                if places.get(tp, 0) > end:
                    places[tp] = end

    # -- what is seen

    def late(self, tp: TopicPartition) -> list[int]:
        """Source offsets of records that are not on the target, and that a group which has moved never read."""
        if tp.topic in self.copying | self.overlap:
            return []
        moved = [g for g in self.service.groups.values() if g.name in self.prepared and tp in g.reads]
        if not moved:
            return []
        source = self.service.logs[SOURCE][tp]
        first = min(group.committed[SOURCE].get(tp, 0) for group in moved)
        return [
            offset
            for offset in range(first, len(source))
            if source[offset].origin is Origin.APPLICATION
            if offset not in self.on_target[tp] and offset not in self.listed[tp]
        ]

    def source_end(self, tp: TopicPartition) -> int:
        """The source's end as far as applications moved it."""
        return self.service.application_end[SOURCE][tp]

    def facts(self, *, all_known: bool = False) -> WaveFacts:
        """What is seen now; some of it is not, now and then."""
        now = self.service.now

        def known() -> bool:
            return all_known or self.chance.random() > 0.04

        growing = tuple(
            Straggler(partition=tp)
            for tp in self.service.partitions
            if now - self.service.grown_at[SOURCE][tp] < self.wave.limits.fenced_still_seconds
        )
        return WaveFacts(
            at_seconds=now,
            partitions={tp: self._partition(tp) for tp in self.service.partitions if known()},
            groups={name: self._group(group) for name, group in self.service.groups.items() if known()},
            stragglers=growing if known() else None,
            holds=frozenset(self.held) if known() else None,
            fenced_on_source=frozenset(self.service.fenced[SOURCE]),
            fenced_on_target=frozenset(self.service.fenced[TARGET]),
            is_lease_held=True if known() else None,
            do_rates_agree=True if known() else None,
        )

    def _partition(self, tp: TopicPartition) -> PartitionFacts:
        service = self.service
        target = service.logs[TARGET][tp]
        self.verified[tp] = max(self.verified[tp], self.copied[tp] - self.chance.randrange(3))
        return PartitionFacts(
            source_end=Offset(self.source_end(tp)),
            target_end=Offset(len(target)),
            source_still_since=service.grown_at[SOURCE][tp],
            target_still_since=service.grown_at[TARGET][tp],
            is_settled=True,
            is_target_settled=True,
            is_in_sync=self.copied[tp] + 3 >= self.source_end(tp),
            copied=Offset(self.source_end(tp) if tp in self.forgone else self.copied[tp]),
            verified=Offset(self.verified[tp]),
            stop=self.stops[tp],
            late_stop=self.late_stops[tp],
            application_records=service.application_records[TARGET][tp],
            late_records=len(self.late(tp)),
            late_appended=sum(each.origin is Origin.LATE for each in target),
            copied_back=Offset(self.back[tp]),
            verified_back=Offset(self.back[tp]),
        )

    def _group(self, group: Group) -> GroupFacts:
        logs, wanted = self.service.logs, self.prepared.get(group.name)
        lag = {
            side: sum(
                entry.origin is not Origin.REVERSE
                for tp in group.reads
                for entry in logs[side][tp][group.committed[side].get(tp, 0) :]
            )
            for side in (SOURCE, TARGET)
        }
        on_target = TARGET in group.on
        return GroupFacts(
            source_members=int(SOURCE in group.on),
            target_members=int(on_target),
            source_lag=lag[SOURCE],
            target_lag=lag[TARGET],
            is_target_lag_falling=on_target,
            unowned_on_target=0 if on_target else len(group.reads),
            are_commits_copied=all(at <= self.copied[tp] for tp, at in group.committed[SOURCE].items()),
            is_prepared=wanted is not None and all(group.committed[TARGET][tp] >= at for tp, at in wanted.items()),
            do_positions_hold=on_target and wanted is not None and not group.resets[TARGET],
        )

    # -- what is done

    def carry_out(self, effect: Effect) -> tuple[End, ...]:
        """Carries an effect out; raises NotNow or NeverSo."""
        scope = self.wave.scope(effect.scope)
        topics = set(scope.topics)
        groups = [self.service.groups[name] for name in scope.groups]
        fenced = self.service.fenced
        match effect.kind:
            case K.END_GROUP_SYNC:
                self.synced -= set(scope.groups)
            case K.RESUME_GROUP_SYNC:
                self.synced |= set(scope.groups) - self.prepared.keys()
            case K.END_COPY:
                self.copying -= topics
                return self._ends(topics, TARGET)
            case K.RESUME_COPY if self.copies:
                assert not topics & self.promoted, f"{effect}: applications may write there"
                self.copying |= topics
            case K.LIFT_HOLDS:
                self.held -= topics
            case K.SET_HOLDS:
                self.held |= topics
            case K.PROMOTE:
                self.promoted |= topics
            case K.DEMOTE:
                self.promoted -= topics
            case K.OPEN_OVERLAP:
                assert not topics & self.copying, f"{effect}: the copy goes on, at offsets of its own"
                self.overlap |= topics
            case K.CLOSE_OVERLAP:
                for tp in self.service.partitions:
                    if tp.topic in topics & self.overlap:
                        self._append_late(tp, 1_000_000)
                        if self.late_stops[tp]:
                            raise NotNow(f"late records of {tp}: {self.late_stops[tp]}")
                        if tp in self.forgone:
                            self.listed[tp] |= set(range(self.copied[tp], len(self.service.logs[SOURCE][tp])))
                self.overlap -= topics
            case K.FORGO_LATE:
                return self._forgo(effect.places)
            case K.PUT_UP_FENCE:
                fenced[SOURCE] |= topics
            case K.LIFT_FENCE:
                final = topics & self.copying & {tp.topic for tp in self.frozen}
                assert not final, f"{effect}: the ends of {sorted(final)} count as final, and writers come back"
                fenced[SOURCE] -= topics
            case K.PUT_UP_TARGET_FENCE:
                fenced[TARGET] |= topics
            case K.LIFT_TARGET_FENCE:
                fenced[TARGET] -= topics
            case K.FREEZE:
                self.frozen |= {tp: self.source_end(tp) for tp in self.service.partitions if tp.topic in topics}
                return self._ends(topics, SOURCE)
            case K.FREEZE_TARGET:
                return self._ends(topics & (self.promoted), TARGET)
            case K.COPY_TAIL:
                self._copy_tail(topics)
            case K.VERIFY_TAIL:
                self._verify_tail(topics)
            case K.PREPARE_GROUPS:
                self._prepare(groups)
            case K.WITHDRAW_COMMITS:
                self._withdraw(groups)
            case K.CAPTURE_COMMITS:
                self._capture(groups)
            case K.TRANSLATE_BACK:
                self._translate_back(groups)
            case K.APPEND_LATE | K.LIST_LATE:
                self._settle(append=effect.kind is K.APPEND_LATE)
            case K.BEGIN_REVERSE_COPY:
                self.is_reversing = True
            case K.END_REVERSE_COPY:
                self.is_reversing = False
            case K.COPY_BACK:
                self._all_back()
            case K.COMMIT_BACK:
                self._commit_back(groups)
            case K.UNFREEZE:
                self.frozen = {tp: end for tp, end in self.frozen.items() if tp.topic not in topics}
            case K.VERIFY_BACK | K.RESUME_COPY | K.UNFREEZE_TARGET | K.HAND_BACK | K.TAKE_AGAIN:
                pass
        return ()

    def _ends(self, topics: Iterable[TopicName], side: object) -> tuple[End, ...]:
        found = [tp for tp in self.service.partitions if tp.topic in set(topics)]
        ends = {tp: self.source_end(tp) if side is SOURCE else len(self.service.logs[TARGET][tp]) for tp in found}
        return tuple(End(tp.topic, tp.partition, Offset(end)) for tp, end in ends.items())

    def _copy_tail(self, topics: set[TopicName]) -> None:
        for tp in self.service.partitions:
            if tp.topic in topics:
                self._copy(tp, 1_000_000)
                if self.stops[tp]:
                    raise NeverSo(f"{tp} is stopped as {self.stops[tp]}")

    def _verify_tail(self, topics: set[TopicName]) -> None:
        for tp in self.service.partitions:
            if tp.topic in topics:
                end = self.frozen[tp]
                assert self.copied[tp] >= end, f"{tp} is compared up to {end}, and copied up to {self.copied[tp]}"
                self.verified[tp] = self.copied[tp]

    def _prepare(self, groups: list[Group]) -> None:
        for group in groups:
            if TARGET in group.on:
                raise NotNow(f"{group.name} has members on the target")
            self.prepared[group.name] = {tp: self._first_new(group, tp) for tp in group.reads}
            group.committed[TARGET] = dict(self.prepared[group.name])

    def _first_new(self, group: Group, tp: TopicPartition) -> int:
        """The first target offset behind what was copied whose record the group has not read on the source."""
        target, committed = self.service.logs[TARGET][tp], group.committed[SOURCE].get(tp, 0)
        for offset, entry in enumerate(target):
            is_read = self.on_source[tp].get(offset, committed) < committed
            if entry.origin is Origin.APPLICATION and not is_read:
                return offset
        return len(target)

    def _withdraw(self, groups: list[Group]) -> None:
        for group in groups:
            wanted = self.prepared.pop(group.name, None)
            if wanted is not None and group.committed[TARGET] == wanted:
                group.committed[TARGET] = {}

    def _capture(self, groups: list[Group]) -> None:
        for group in groups:
            if group.on:
                raise NotNow(f"{group.name} has members")
            # It relies on the gate: what is not copied has no place on the target, and the end is the best there is.
            committed = {tp: group.committed[SOURCE].get(tp, 0) for tp in group.reads}
            self.synced.discard(group.name)
            self.prepared[group.name] = {tp: min(at, self.copied[tp]) for tp, at in committed.items()}
            group.committed[TARGET] = dict(self.prepared[group.name])

    def _translate_back(self, groups: list[Group]) -> None:
        for group in groups:
            wanted = self.prepared.get(group.name)
            if wanted is not None and group.committed[TARGET] != wanted:
                if group.on:
                    raise NotNow(f"{group.name} has members")
                for tp, at in group.committed[TARGET].items():
                    known = group.committed[SOURCE].get(tp, 0)
                    group.committed[SOURCE][tp] = max(known, min(at, self.copied[tp]))
            self.prepared.pop(group.name, None)
            if wanted is not None and self.wave.scheme is Scheme.CONSUMERS_FIRST:
                self.synced.add(group.name)

    def forget(self) -> None:
        """The process died: what keeps late records from being appended must be found out anew."""
        self.late_stops = dict.fromkeys(self.late_stops, "")

    def _forgo(self, places: Iterable[TopicPartition]) -> tuple[End, ...]:
        self.forgone |= set(places)
        self.late_stops |= dict.fromkeys(places, "")
        return tuple(End(tp.topic, tp.partition, Offset(self.copied[tp])) for tp in places)

    def _settle(self, *, append: bool) -> None:
        for tp in self.service.partitions:
            for offset in self.late(tp):
                if append:
                    target = self.service.logs[TARGET][tp]
                    self.on_target[tp][offset] = len(target)
                    target.append(Entry(self.service.logs[SOURCE][tp][offset].record, Origin.LATE, offset))
                else:
                    self.listed[tp].add(offset)

    def _all_back(self) -> None:
        if any(SOURCE in group.on for group in self.service.groups.values()):
            raise NotNow("a group is active on the source")
        self._copy_back(1_000_000)

    def _commit_back(self, groups: list[Group]) -> None:
        for group in groups:
            if group.on:
                raise NotNow(f"{group.name} has members")
            for tp in group.reads:
                group.committed[SOURCE][tp] = self._first_unread(group, tp)

    def _first_unread(self, group: Group, tp: TopicPartition) -> int:
        """The first source offset that a group has neither read there nor on the target."""
        known, there = group.committed[SOURCE].get(tp, 0), group.committed[TARGET].get(tp, 0)
        if group.name not in self.prepared:
            return known
        source = self.service.logs[SOURCE][tp]
        for offset in range(known, len(source)):
            entry = source[offset]
            twin = entry.twin if entry.origin is Origin.REVERSE else self.on_target[tp].get(offset)
            if twin is not None and self.service.logs[TARGET][tp][twin].origin is Origin.COPY:
                counts = self.wave.scheme is Scheme.CONSUMERS_FIRST  # elsewhere the history was read on the source
                twin = twin if counts else None
            if twin is None or twin >= there:
                return offset
        return len(source)
