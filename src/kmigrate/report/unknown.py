"""What a report does not know, and why.  (pure)

Rule: whatever is null in the account is named here, so that nobody takes silence for an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kmigrate.kafka_types import Side
from kmigrate.report.account import NotKnown, PartitionAccount, TopicAccount
from kmigrate.runner.groups_document import GroupsDocument
from kmigrate.runner.ledger import Ledger
from kmigrate.runner.status import StatusDocument
from kmigrate.state.journal import CHAINED
from kmigrate.topics.intended import Origin

_WHY_SETTINGS = {
    Origin.SOURCE: "the source did not tell its settings; they are read from it again when the hold ends",
    Origin.TARGET: "it was made by hand, and the target did not tell its settings when it was first seen",
    Origin.LOST: "local state was lost, and with it whether it was made by hand and with which settings",
    None: "it is not under hold, and no hold of it was ended",
}


def list_unknown(
    status: StatusDocument | None,
    groups: GroupsDocument | None,
    ledger: Ledger,
    topics: Sequence[TopicAccount],
) -> Iterator[NotKnown]:
    """Everything that is not known."""
    if status is None:
        yield NotKnown(what="states, positions and ends of partitions", why="no owner ever saved a status")
    else:
        yield from _of_partitions(topics)
    releases = ledger.releases
    for side in Side:
        if side not in ledger.cluster_ids:
            yield NotKnown(what=f"the id of the {side} cluster", why="no run or apply has recorded it in this folder")
        if side not in releases:
            yield NotKnown(
                what=f"which release of Kafka the {side} cluster runs",
                why="no run has noted what its brokers offer; they do not tell it otherwise",
            )
    if ledger.begun_ms is None:
        yield NotKnown(what="when the migration began", why="no first run is recorded in this folder")
    yield NotKnown(
        what="markers and filler of single partitions",
        why="markers are counted for topics, since the last owner started; of filler only what was allotted is kept",
    )
    if groups is None:
        yield NotKnown(what="the consumer groups", why="no owner has looked at them yet")
    yield from _of_settings(topics)
    yield from _of_verifications(topics)
    if ledger.fences and ledger.fences[0].number > 1:
        yield NotKnown(
            what=f"fences below number {ledger.fences[0].number}",
            why="they were lifted; the last 100 lifted ones are kept",
        )
    if any(each.kind == CHAINED for each in ledger.journal):
        yield NotKnown(
            what="whether what was journaled before the entry `chained` was changed before it was written",
            why="the version of kmigrate that wrote it had no chain",
        )
    unreadable = [str(each.number) for each in ledger.journal if "unreadable" in each.detail or each.at_ms < 0]
    if unreadable:
        yield NotKnown(
            what="time or detail of entries of the journal",
            why="they cannot be read: somebody changed them",
            count=len(unreadable),
            where=tuple(unreadable),
        )


def _of_partitions(topics: Sequence[TopicAccount]) -> Iterator[NotKnown]:
    untold = [name for name, each in _all(topics) if each.state is None]
    yield from _some("state and position of partitions", "the last status does not tell of them", untold)
    told = [(name, each) for name, each in _all(topics) if each.state is not None]
    whys: tuple[tuple[str, str, Callable[[PartitionAccount], bool]], ...] = (
        ("the position of partitions", "nothing is known to be copied of them", lambda each: each.position is None),
        ("the source's end of partitions", "the source has not told it", lambda each: each.source_end is None),
        ("the target's end of partitions", "no standing of it is proven", lambda each: each.target_end is None),
        ("the offset class of partitions", "it is not decided yet", lambda each: each.offset_class is None),
        ("where partitions begin", "it is not decided, or an earlier version did", lambda each: each.begins_at is None),
    )
    for what, why, is_missing in whys:
        yield from _some(what, why, [name for name, each in told if is_missing(each)])


def _of_settings(topics: Sequence[TopicAccount]) -> Iterator[NotKnown]:
    for origin, why in _WHY_SETTINGS.items():
        names = [each.topic for each in topics if each.settings.intended is None and each.settings.origin is origin]
        yield from _some("the intended settings of topics", why, names)


def _of_verifications(topics: Sequence[TopicAccount]) -> Iterator[NotKnown]:
    never = [name for name, each in _all(topics) if not each.verifications]
    yield from _some("whether both sides hold the same", "no `kmigrate verify` has compared them", never)
    not_records = [
        name
        for name, each in _all(topics)
        if each.verifications and not any(found.mode == "records" for found in each.verifications)
    ]
    yield from _some("whether the records are the same", "only ends or counts were compared", not_records)


def _all(topics: Sequence[TopicAccount]) -> Iterator[tuple[str, PartitionAccount]]:
    return ((f"{topic.topic}-{each.partition}", each) for topic in topics for each in topic.partitions)


def _some(what: str, why: str, names: Sequence[str]) -> Iterator[NotKnown]:
    if names:
        yield NotKnown(what=what, why=why, count=len(names), where=tuple(names))
