"""The waves of a migration: the manifest's words, applied to the topics and groups that there are.  (pure)

Rule: a topic or a group is in the first wave that names it, or in none, and what is in none is told. What would be torn
apart, or left behind, by a wave that moves alone is a problem with the way to mend it, found before anything begins.
A group whose wave nobody names goes with the topics that it reads; it never decides which topics are in a wave.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kmigrate.kafka_types import TopicName
from kmigrate.manifest import ApplicationSection, FenceChoice, Manifest, WaveWish, wishes_of
from kmigrate.manifest.waves import matches
from kmigrate.plan.surroundings import Surroundings
from kmigrate.plan.waves import CutoverPlan, plan_cutover
from kmigrate.schemes.crossings import find_crossings
from kmigrate.schemes.order import Application, moves_of, wave_problems
from kmigrate.schemes.wave import Limits, Wave
from kmigrate.security.fence import FenceKind

Reads = Mapping[str, Collection[TopicName]]
"""Each group and the topics that it is known to read; none of them: that is not known."""


class WaveProblem(NamedTuple):
    """Why waves cannot move as the manifest has them, and how that is mended."""

    told: str
    way: str


class Outside(NamedTuple):
    """What moves with no wave."""

    topics: tuple[TopicName, ...] = ()
    groups: tuple[str, ...] = ()


def waves_of(manifest: Manifest, topics: Collection[TopicName], groups: Reads) -> tuple[Wave, ...]:
    """The waves in the manifest's order; none without a scheme. `topics` and `groups` are those that take part."""
    return _Sorting.of(manifest, topics, groups).waves()


def outside_of(manifest: Manifest, topics: Collection[TopicName], groups: Reads) -> Outside:
    """What no wave takes along; nothing where there is no wave."""
    sorting = _Sorting.of(manifest, topics, groups)
    if not sorting.wishes:
        return Outside()
    return Outside(
        topics=tuple(sorted(topic for topic in sorting.topics if topic not in sorting.topic_home)),
        groups=tuple(sorted(group for group in sorting.groups if group not in sorting.group_home)),
    )


def problems_of(
    manifest: Manifest,
    topics: Collection[TopicName],
    groups: Reads,
    transactions: Mapping[str, Collection[TopicName]] | None = None,
) -> tuple[WaveProblem, ...]:
    """Everything that speaks against these waves; `transactions` are transactional ids with what they write."""
    return tuple(dict.fromkeys(_Sorting.of(manifest, topics, groups).problems(transactions or {})))


def plan_of(manifest: Manifest, seen: Surroundings) -> CutoverPlan:
    """The cutover as `plan` shows it; nothing without a scheme."""
    topics, groups = [each.name for each in seen.topics], seen.groups_moving(manifest)
    outside = outside_of(manifest, topics, groups)
    return plan_cutover(
        wishes_of(manifest),
        waves_of(manifest, topics, groups),
        problems=problems_of(manifest, topics, groups, seen.transactions),
        topics_outside=outside.topics,
        groups_outside=outside.groups,
    )


def fence_kind_of(manifest: Manifest, wave: str) -> FenceKind | None:
    """How the writers of a wave are kept away; None where no fence is wanted. Raises KeyError for no wave."""
    wishes = {wish.name: wish for wish in wishes_of(manifest)}
    fence = wishes[wave].fence
    return None if fence is FenceChoice.NONE else FenceKind(fence.value)


def limits_of(manifest: Manifest) -> Limits:
    """The time limits of `spec.cutover`."""
    wanted = manifest.cutover
    return Limits(
        freeze_seconds=float(wanted.freeze_seconds),
        still_seconds=float(wanted.still_seconds),
        approval_seconds=float(wanted.approval_seconds),
        tail_offsets=wanted.tail_offsets,
        auto_hold_seconds=float(wanted.auto_hold_seconds),
    )


@dataclass(slots=True, kw_only=True)
class _Sorting:
    """Topics, groups and applications, each in its wave; `topics` and `groups` are all that take part."""

    wishes: tuple[WaveWish, ...]
    topics: tuple[TopicName, ...]
    groups: dict[str, frozenset[TopicName]]
    applications: tuple[Application, ...]
    sections: tuple[ApplicationSection, ...]
    limits: Limits
    topic_home: dict[TopicName, str] = field(default_factory=dict)
    group_home: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest, topics: Collection[TopicName], groups: Reads) -> _Sorting:
        """Sorts everything."""
        inside = tuple(sorted(topics))
        reads = {group: frozenset(known) for group, known in sorted(groups.items())}
        applications = tuple(_application(each, inside, reads) for each in manifest.applications)
        for each in applications:  # what is declared is known
            for group in each.groups:
                reads[group] |= set(each.reads)
        sorting = cls(
            wishes=wishes_of(manifest),
            topics=inside,
            groups=reads,
            applications=applications,
            sections=manifest.applications,
            limits=limits_of(manifest),
        )
        sorting._sort()
        return sorting

    def _sort(self) -> None:
        for topic in self.topics:
            home = next((wish.name for wish in self.wishes if wish.wants_topic(topic)), None)
            if home is not None:
                self.topic_home[topic] = home
        for group, reads in self.groups.items():
            home = self._home_of(group, reads)
            if home is not None:
                self.group_home[group] = home

    def _home_of(self, group: str, reads: frozenset[TopicName]) -> str | None:
        """A group that is known to read nothing of any wave stays where it is, whoever names it."""
        homes = {self.topic_home[topic] for topic in reads if topic in self.topic_home}
        if reads and not homes:
            return None
        named = next((wish.name for wish in self.wishes if wish.wants_group(group)), None)
        if named is not None:
            return named
        open_to_all = [wish.name for wish in self.wishes if not wish.groups]
        if not reads:
            return open_to_all[0] if len(self.wishes) == 1 and open_to_all else None
        return next((name for name in open_to_all if homes == {name}), None)

    def waves(self) -> tuple[Wave, ...]:
        return tuple(self._wave(wish) for wish in self.wishes)

    def _wave(self, wish: WaveWish) -> Wave:
        topics = tuple(topic for topic in self.topics if self.topic_home.get(topic) == wish.name)
        groups = {
            group: tuple(sorted(reads))
            for group, reads in self.groups.items()
            if self.group_home.get(group) == wish.name
        }
        applications = [each for each in self.applications if _has_part(each, topics, groups)]
        wave = Wave(
            name=wish.name,
            scheme=wish.scheme,
            topics=topics,
            groups=tuple(groups),
            moves=moves_of(wish.scheme, topics, groups, applications),
            history=wish.history,
            ending=wish.ending,
            is_fenced=wish.fence is not FenceChoice.NONE,
            has_way_back=wish.has_way_back,
            limits=self.limits,
        )
        return wave if wave.ends_with_copy or not wave.has_way_back else replace(wave, has_way_back=False)

    # -- what speaks against it

    def problems(self, transactions: Mapping[str, Collection[TopicName]]) -> Iterator[WaveProblem]:
        waves = self.waves()
        yield from self._empty(waves)
        yield from self._named_twice()
        for wave in waves:
            for sentence in wave_problems(wave):
                told, _, way = sentence.partition("; ")
                yield WaveProblem(told, way or "docs/schemes says what each scheme takes")
        crossings = find_crossings(
            waves,
            groups={group: tuple(reads) for group, reads in self.groups.items()},
            transactions={name: tuple(topics) for name, topics in sorted(transactions.items())},
            applications=self.applications,
        )
        for crossing in crossings:
            yield WaveProblem(str(crossing), crossing.way)
        yield from self._left_behind()
        yield from self._names_nothing()

    def _empty(self, waves: tuple[Wave, ...]) -> Iterator[WaveProblem]:
        for wish, wave in zip(self.wishes, waves, strict=True):
            if wish.topics is not None and not wave.topics:
                yield WaveProblem(
                    f"wave {wave.name} has no topic: none that is selected is named by it, or an earlier wave has it",
                    f"correct the topics of wave {wave.name}, or remove it",
                )

    def _named_twice(self) -> Iterator[WaveProblem]:
        for what, names, wants in (
            ("topic", tuple(self.topic_home), WaveWish.wants_topic),
            ("group", tuple(self.group_home), WaveWish.wants_group),
        ):
            for name in names:
                wanted = [wish.name for wish in self.wishes if wants(wish, name)]
                if len(wanted) > 1:
                    yield WaveProblem(
                        f"{what} {name} is in the waves {' and '.join(wanted)}: a {what} moves with one wave",
                        f"let only one of the waves {' and '.join(wanted)} name {what} {name}",
                    )

    def _left_behind(self) -> Iterator[WaveProblem]:
        """Groups that move with no wave, although a wave takes what they read away from the source."""
        several = len(self.wishes) > 1
        for group, reads in self.groups.items():
            if group in self.group_home:
                continue
            homes = sorted({self.topic_home[topic] for topic in reads if topic in self.topic_home})
            if len(homes) == 1:
                wave = homes[0]
                shown = ", ".join(sorted(topic for topic in reads if self.topic_home.get(topic) == wave))
                yield WaveProblem(
                    f"group {group} reads {shown} of wave {wave}, and moves with no wave: it would be left behind",
                    f"add it to the groups of wave {wave}, or leave it out by spec.groups.exclude",
                )
            elif not reads and self.wishes:
                which = "a wave" if several else f"wave {self.wishes[0].name}"
                yield WaveProblem(
                    f"group {group} moves with no wave, and what it reads is not known",
                    f"add it to the groups of {which}, or leave it out by spec.groups.exclude",
                )

    def _names_nothing(self) -> Iterator[WaveProblem]:
        """Words of applications that stand for nothing that moves: most likely they are not spelled right."""
        if not self.wishes:
            return
        for each in self.sections:
            for verb, words, names in (
                ("reads", each.reads, self.topic_home),
                ("writes", each.writes, self.topic_home),
                ("reads as", each.groups, self.group_home),
            ):
                for word in words:
                    if not any(matches((word,), name) for name in names):
                        what = "group" if words is each.groups and verb == "reads as" else "topic"
                        yield WaveProblem(
                            f"application {each.name} {verb} {word!r}, and no wave has such a {what}",
                            f"correct it in spec.applications, or add the {what} to a wave",
                        )


def _application(
    section: ApplicationSection, topics: Collection[TopicName], groups: Mapping[str, Collection[TopicName]]
) -> Application:
    """What is declared; what it reads also as far as commits of its groups tell."""
    inside = set(topics)
    own = tuple(group for group in groups if matches(section.groups, group))
    reads = {topic for topic in topics if matches(section.reads, topic)}
    reads |= {topic for group in own for topic in groups[group] if topic in inside}
    return Application(
        name=section.name,
        groups=own,
        reads=tuple(sorted(reads)),
        writes=tuple(topic for topic in topics if matches(section.writes, topic)),
        has_own_checkpoints=section.own_checkpoints,
    )


def _has_part(application: Application, topics: Collection[TopicName], groups: Collection[str]) -> bool:
    inside = set(topics)
    return bool(
        inside & {*application.reads, *application.writes} or any(group in groups for group in application.groups)
    )
