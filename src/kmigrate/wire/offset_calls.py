"""Committed offsets of many groups, read and written by hand: what a sync of thousands of groups does every second.

`OffsetsSeen` remembers how each group's part of an answer looked: a group that says the same again is not read again,
and has the very same value. Reference: OffsetFetch v8, OffsetCommit v7 (KIP-709).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby, repeat
from typing import Any, NamedTuple

from kmigrate.kafka_types import (
    UNKNOWN_EPOCH,
    BrokerAddress,
    LeaderEpoch,
    Offset,
    Partition,
    TopicName,
    TopicPartition,
)
from kmigrate.wire.call import Call, HandCall, check_end
from kmigrate.wire.calls import by_topic
from kmigrate.wire.group_calls import Committed, Coordinator, GroupOffsets
from kmigrate.wire.library import (
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    ListGroupsRequest,
    ListGroupsResponse,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
)
from kmigrate.wire.varints import read_uvarint, skip_tags, uvarint

NO_GENERATION = -1
NO_MEMBER = ""
"""Who commits from outside of a group: the coordinator refuses that unless the group is empty."""

_GROUP_KEY = 0
_WITHOUT_MEMBERS = frozenset({"Empty", "Dead"})
_FETCHED = struct.Struct(">iqi")
"""Partition, offset, leader epoch."""
_FETCHED_PLAIN = struct.Struct(">iqiBhB")
"""The same with metadata that are null or empty, an error code and no tags."""
_COMMIT = struct.Struct(">iqih")
"""Partition, offset, leader epoch, length of the metadata."""
_COMMITTED = struct.Struct(">ih")
"""Partition, error code."""

Value = tuple[int, str] | tuple[int, str, int]
"""A committed offset and its metadata; a leader epoch behind them is left out."""


class ListedGroup(NamedTuple):
    """A group as one of its cluster's brokers lists it; brokers before 3.8 tell no type (empty)."""

    group_id: str
    protocol_type: str
    state: str
    group_type: str

    @property
    def has_members(self) -> bool:
        """Whether anybody takes part now."""
        return self.state not in _WITHOUT_MEMBERS


class ListedGroups(NamedTuple):
    """The answer to ListGroups: the groups that this broker coordinates and this principal may describe."""

    error: int
    groups: tuple[ListedGroup, ...]


class Member(NamedTuple):
    """A member of a group, and where it runs; `instance_id` is that of a static member.

    `assigned` are the partitions that it has now; None: it tells them in a way that only its kind of client knows.
    """

    member_id: str
    client_id: str
    host: str
    instance_id: str | None
    assigned: tuple[TopicPartition, ...] | None = None


class DescribedGroup(NamedTuple):
    """A group as its coordinator describes it; one that does not exist has the state Dead."""

    error: int
    state: str
    protocol_type: str
    members: tuple[Member, ...]


class OffsetsSeen:
    """How each group's part of the answers looked last; of one cluster, used by one thread."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[bytes, GroupOffsets]] = {}
        self._partitions: dict[bytes, _Partitions] = {}

    def forget(self, groups: Collection[str]) -> None:
        """These groups are not asked for any more."""
        for group in groups:
            self._parts.pop(group, None)

    def read_group(self, body: bytes, view: memoryview, at: int) -> tuple[str, GroupOffsets, int]:
        """(group id, its offsets, where its part ends)."""
        begin = at
        name, at = _read_text(view, at)
        known = self._parts.get(name)
        if known is not None and body.startswith(known[0], begin):
            return name, known[1], begin + len(known[0])
        found, at = self._read_offsets(view, at)
        self._parts[name] = body[begin:at], found
        return name, found, at

    def _read_offsets(self, view: memoryview, at: int) -> tuple[GroupOffsets, int]:
        partitions: dict[TopicPartition, Committed] = {}
        topics, at = read_uvarint(view, at)
        for _ in range(topics - 1):
            size, at = read_uvarint(view, at)
            known = self._partitions_of(bytes(view[at : at + size - 1]))
            count, at = read_uvarint(view, at + size - 1)
            end = at + (count - 1) * _FETCHED_PLAIN.size
            if end <= len(view) and (plain := _read_plain(view[at:end], known)) is not None:
                partitions.update(plain)
                at = skip_tags(view, end)
                continue
            for _ in range(count - 1):
                index, offset, epoch = _FETCHED.unpack_from(view, at)
                at += _FETCHED.size
                metadata = ""
                if view[at] < 2:  # null or empty, as almost always
                    at += 1
                else:
                    metadata, at = _read_text(view, at)
                error = int.from_bytes(view[at : at + 2], "big", signed=True)
                at = at + 3 if view[at + 2] == 0 else skip_tags(view, at + 2)
                partitions[known[index]] = Committed(error, Offset(offset), LeaderEpoch(epoch), metadata)
            at = skip_tags(view, at)
        (error,) = struct.unpack_from(">h", view, at)
        return GroupOffsets(error, partitions), skip_tags(view, at + 2)

    def _partitions_of(self, name: bytes) -> _Partitions:
        """A topic's partitions, the same objects again and again."""
        found = self._partitions.get(name)
        if found is None:
            found = self._partitions[name] = _Partitions(TopicName(name.decode()))
        return found


class _Partitions(dict[int, TopicPartition]):
    """The partitions of a topic by number; those that are not known are made when they are asked for."""

    def __init__(self, topic: TopicName, known: Iterable[TopicPartition] = ()) -> None:
        super().__init__((each.partition, each) for each in known)
        self._topic = topic

    def __missing__(self, index: int) -> TopicPartition:
        made = self[index] = TopicPartition(self._topic, Partition(index))
        return made


def _read_plain(view: memoryview, known: _Partitions) -> dict[TopicPartition, Committed] | None:
    """The commits of a topic none of which has metadata, as almost always; None where one has."""
    fields = [*zip(*_FETCHED_PLAIN.iter_unpack(view), strict=True)]
    if not fields:
        return {}
    indexes, offsets, epochs, metadata, errors, tags = fields
    if max(metadata) > 1 or any(tags):
        return None
    values = map(tuple.__new__, repeat(Committed), zip(errors, offsets, epochs, repeat("")))
    return dict(zip(map(known.__getitem__, indexes), values, strict=True))


def _read_text(view: memoryview, at: int) -> tuple[str, int]:
    size, at = read_uvarint(view, at)
    if size == 0:
        return "", at
    end = at + size - 1
    if end > len(view):
        raise IndexError("a text goes beyond the answer's end")
    return str(view[at:end], "utf-8"), end


def _text(text: str) -> bytes:
    encoded = text.encode()
    return uvarint(len(encoded) + 1) + encoded


def fetch_offsets(
    groups: Sequence[str], seen: OffsetsSeen, *, require_stable: bool = False
) -> HandCall[Mapping[str, GroupOffsets]]:
    """Every commit of many groups of one coordinator; brokers offer it from 3.0 on.

    With `require_stable` a partition with a pending transactional commit has the error UNSTABLE_OFFSET_COMMIT.
    Topics that this principal may not describe are left out silently.
    """

    def build(_version: int) -> Any:
        group_class = OffsetFetchRequest.OffsetFetchRequestGroup
        return OffsetFetchRequest(
            groups=[group_class(group_id=group, topics=None) for group in groups], require_stable=require_stable
        )

    def parse(answer: Any) -> Mapping[str, GroupOffsets]:
        return {
            group.group_id: GroupOffsets(
                group.error_code,
                {
                    TopicPartition(topic.name, part.partition_index): Committed(
                        part.error_code, part.committed_offset, part.committed_leader_epoch, part.metadata or ""
                    )
                    for topic in group.topics
                    for part in topic.partitions
                },
            )
            for group in answer.groups
        }

    def lay_out() -> bytes:
        parts = [uvarint(len(groups) + 1)]
        for group in groups:
            parts += (_text(group), b"\0\0")  # all topics, no tags
        parts.append(b"\1\0" if require_stable else b"\0\0")
        return b"".join(parts)

    def read(view: memoryview) -> Mapping[str, GroupOffsets]:
        body = bytes(view)
        view = memoryview(body)
        found: dict[str, GroupOffsets] = {}
        count, at = read_uvarint(view, 4)
        for _ in range(count - 1):
            group, offsets, at = seen.read_group(body, view, at)
            found[group] = offsets
        check_end(view, skip_tags(view, at))
        return found

    return HandCall(
        what="OffsetFetch",
        key=9,
        request=OffsetFetchRequest,
        response=OffsetFetchResponse,
        oldest=8,
        newest=8,
        build=build,
        parse=parse,
        is_flexible=True,
        lay_out=lay_out,
        read=read,
    )


def commit_from_outside(
    group_id: str, offsets: Mapping[TopicPartition, Value]
) -> HandCall[Mapping[TopicPartition, int]]:
    """Commits (offset, metadata) per partition without being a member: an error code each.

    While the group has members every partition is refused with UNKNOWN_MEMBER_ID. The leader epoch is -1: one above
    the topic's own would make consumers refresh their metadata for ever.
    """
    known = {name: [*each] for name, each in groupby(sorted(offsets), key=lambda partition: partition.topic)}
    asked = [(name, [(each, offsets[each]) for each in its]) for name, its in known.items()]

    def build(_version: int) -> Any:
        topic_class = OffsetCommitRequest.OffsetCommitRequestTopic
        part_class = topic_class.OffsetCommitRequestPartition
        topics = []
        for name, values in asked:
            parts = [
                part_class(
                    partition_index=partition.partition,
                    committed_offset=value[0],
                    committed_leader_epoch=UNKNOWN_EPOCH,
                    committed_metadata=value[1],
                )
                for partition, value in values
            ]
            topics.append(topic_class(name=name, partitions=parts))
        return OffsetCommitRequest(
            group_id=group_id,
            generation_id_or_member_epoch=NO_GENERATION,
            member_id=NO_MEMBER,
            group_instance_id=None,
            topics=topics,
        )

    def parse(answer: Any) -> Mapping[TopicPartition, int]:
        return {
            TopicPartition(topic.name, part.partition_index): part.error_code
            for topic in answer.topics
            for part in topic.partitions
        }

    def lay_out() -> bytes:
        name = group_id.encode()
        parts = [struct.pack(f">h{len(name)}sihhi", len(name), name, NO_GENERATION, 0, -1, len(asked))]
        pack = _COMMIT.pack
        for topic, values in asked:
            encoded = topic.encode()
            parts.append(struct.pack(f">h{len(encoded)}si", len(encoded), encoded, len(values)))
            for partition, value in values:
                text = value[1].encode() if value[1] else b""
                parts.append(pack(partition[1], value[0], UNKNOWN_EPOCH, len(text)) + text)
        return b"".join(parts)

    def read(view: memoryview) -> Mapping[TopicPartition, int]:
        errors: dict[TopicPartition, int] = {}
        (topics,) = struct.unpack_from(">i", view, 4)
        at = 8
        for _ in range(topics):
            (size,) = struct.unpack_from(">h", view, at)
            name, at = TopicName(str(view[at + 2 : at + 2 + size], "utf-8")), at + 2 + size
            (count,) = struct.unpack_from(">i", view, at)
            at, end = at + 4, at + 4 + count * _COMMITTED.size
            if end > len(view):
                raise IndexError("partitions go beyond the answer's end")
            partitions = _Partitions(name, known.get(name, ()))
            errors.update((partitions[index], error) for index, error in _COMMITTED.iter_unpack(view[at:end]))
            at = end
        check_end(view, at)
        return errors

    return HandCall(
        what="OffsetCommit",
        key=8,
        request=OffsetCommitRequest,
        response=OffsetCommitResponse,
        oldest=7,
        newest=7,
        build=build,
        parse=parse,
        is_flexible=False,
        lay_out=lay_out,
        read=read,
    )


def list_groups() -> Call[ListedGroups]:
    """The groups that a broker coordinates, with state (from 2.6) and type (from 3.8)."""

    def parse(answer: Any) -> ListedGroups:
        return ListedGroups(
            answer.error_code,
            tuple(
                ListedGroup(
                    each.group_id,
                    each.protocol_type,
                    getattr(each, "group_state", None) or "",
                    (getattr(each, "group_type", None) or "").lower(),
                )
                for each in answer.groups
            ),
        )

    return Call(
        what="ListGroups",
        request=ListGroupsRequest,
        response=ListGroupsResponse,
        oldest=4,
        newest=5,
        build=lambda version: (
            ListGroupsRequest(states_filter=[], types_filter=[])
            if version >= 5
            else ListGroupsRequest(states_filter=[])
        ),
        parse=parse,
    )


def find_coordinators(groups: Sequence[str]) -> Call[Mapping[str, Coordinator]]:
    """The brokers that coordinate these groups; brokers offer it from 3.0 on (KIP-699)."""

    def parse(answer: Any) -> Mapping[str, Coordinator]:
        return {
            each.key: Coordinator(each.error_code, BrokerAddress(each.node_id, each.host, each.port))
            for each in answer.coordinators
        }

    return Call(
        what="FindCoordinator",
        request=FindCoordinatorRequest,
        response=FindCoordinatorResponse,
        oldest=4,
        newest=4,
        build=lambda _version: FindCoordinatorRequest(key_type=_GROUP_KEY, coordinator_keys=list(groups)),
        parse=parse,
    )


def describe_classic_groups(groups: Sequence[str]) -> Call[Mapping[str, DescribedGroup]]:
    """State and members of groups of one coordinator; one of another protocol has the state Dead."""

    def parse(answer: Any) -> Mapping[str, DescribedGroup]:
        return {
            group.group_id: DescribedGroup(
                group.error_code,
                group.group_state,
                group.protocol_type,
                tuple(
                    Member(
                        m.member_id,
                        m.client_id,
                        m.client_host.lstrip("/"),
                        getattr(m, "group_instance_id", None),
                        read_assignment(bytes(m.member_assignment or b""))
                        if group.protocol_type == "consumer"
                        else None,
                    )
                    for m in group.members
                ),
            )
            for group in answer.groups
        }

    return Call(
        what="DescribeGroups",
        request=DescribeGroupsRequest,
        response=DescribeGroupsResponse,
        oldest=3,
        newest=5,
        build=lambda _version: DescribeGroupsRequest(groups=list(groups), include_authorized_operations=False),
        parse=parse,
    )


def read_assignment(data: bytes) -> tuple[TopicPartition, ...] | None:
    """The partitions in a consumer's assignment (ConsumerProtocolAssignment v0 to v3); None if it is not one.

    A member that has none yet has no bytes at all.
    """
    if not data:
        return ()
    found: list[TopicPartition] = []
    try:
        (topics,) = struct.unpack_from(">i", data, 2)
        at = 6
        for _ in range(topics):
            (length,) = struct.unpack_from(">h", data, at)
            name = TopicName(data[at + 2 : at + 2 + length].decode())
            at += 2 + length
            (count,) = struct.unpack_from(">i", data, at)
            numbers = struct.unpack_from(f">{count}i", data, at + 4)
            found += (TopicPartition(name, Partition(number)) for number in numbers)
            at += 4 + 4 * count
    except (struct.error, UnicodeDecodeError):
        return None
    return tuple(found)


class _ConsumerGroupDescribe:
    """What the codec library does not have; see `describe_consumer_groups`."""


def describe_consumer_groups(groups: Sequence[str]) -> HandCall[Mapping[str, DescribedGroup]]:
    """The same of groups of the new protocol (KIP-848, ConsumerGroupDescribe v0); others: GROUP_ID_NOT_FOUND."""

    def no_library(_: Any) -> Any:
        raise NotImplementedError("the codec library does not know ConsumerGroupDescribe")

    def lay_out() -> bytes:
        return uvarint(len(groups) + 1) + b"".join(map(_text, groups)) + b"\0\0"  # no authorized operations, no tags

    def read(view: memoryview) -> Mapping[str, DescribedGroup]:
        found: dict[str, DescribedGroup] = {}
        count, at = read_uvarint(view, 4)
        for _ in range(count - 1):
            (error,) = struct.unpack_from(">h", view, at)
            _message, at = _read_text(view, at + 2)
            group, at = _read_text(view, at)
            state, at = _read_text(view, at)
            _assignor, at = _read_text(view, at + 8)
            members, at = _read_members(view, at)
            at = skip_tags(view, at + 4)
            found[group] = DescribedGroup(error, state, "consumer", members)
        check_end(view, skip_tags(view, at))
        return found

    return HandCall(
        what="ConsumerGroupDescribe",
        key=69,
        request=_ConsumerGroupDescribe,
        response=_ConsumerGroupDescribe,
        oldest=0,
        newest=0,
        build=no_library,
        parse=no_library,
        is_flexible=True,
        lay_out=lay_out,
        read=read,
    )


def _read_members(view: memoryview, at: int) -> tuple[tuple[Member, ...], int]:
    members = []
    count, at = read_uvarint(view, at)
    for _ in range(count - 1):
        member_id, at = _read_text(view, at)
        instance_id, at = _read_text(view, at)
        _rack, at = _read_text(view, at)
        client_id, at = _read_text(view, at + 4)
        host, at = _read_text(view, at)
        topics, at = read_uvarint(view, at)
        for _ in range(topics - 1):
            _topic, at = _read_text(view, at)
        _regex, at = _read_text(view, at)
        assigned, at = _read_assignment(view, at)
        _target, at = _read_assignment(view, at)
        at = skip_tags(view, at)
        members.append(Member(member_id, client_id, host.lstrip("/"), instance_id or None, assigned))
    return tuple(members), at


def _read_assignment(view: memoryview, at: int) -> tuple[tuple[TopicPartition, ...], int]:
    found: list[TopicPartition] = []
    topics, at = read_uvarint(view, at)
    for _ in range(topics - 1):
        name, at = _read_text(view, at + 16)
        count, at = read_uvarint(view, at)
        numbers = struct.unpack_from(f">{count - 1}i", view, at)
        found += (TopicPartition(TopicName(name), Partition(number)) for number in numbers)
        at = skip_tags(view, at + 4 * (count - 1))
    return tuple(found), skip_tags(view, at)


def delete_offsets(
    group_id: str, partitions: Collection[TopicPartition]
) -> Call[tuple[int, Mapping[TopicPartition, int]]]:
    """Forgets a group's commits (KIP-496): (error of the group, error of each partition)."""

    def build(_version: int) -> Any:
        topic_class = OffsetDeleteRequest.OffsetDeleteRequestTopic
        return OffsetDeleteRequest(
            group_id=group_id,
            topics=[
                topic_class(
                    name=name,
                    partitions=[topic_class.OffsetDeleteRequestPartition(partition_index=index) for index in indexes],
                )
                for name, indexes in by_topic(partitions)
            ],
        )

    def parse(answer: Any) -> tuple[int, Mapping[TopicPartition, int]]:
        return answer.error_code, {
            TopicPartition(topic.name, part.partition_index): part.error_code
            for topic in answer.topics
            for part in topic.partitions
        }

    return Call(
        what="OffsetDelete",
        request=OffsetDeleteRequest,
        response=OffsetDeleteResponse,
        oldest=0,
        newest=0,
        build=build,
        parse=parse,
    )
