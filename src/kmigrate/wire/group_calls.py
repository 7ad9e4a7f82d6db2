"""What is asked of a group's coordinator, one function an API: each returns a `Call` whose answer is a plain value.

The classic protocol, dynamic members only, in versions that brokers from 2.8 to 4.3 offer. All but `find_coordinator`
go to the coordinator. Sources: Kafka's message schemas (clients/src/main/resources/common/message) and KIP-394, by
which a member's first JoinGroup is answered with MEMBER_ID_REQUIRED and the member id to join with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kmigrate.kafka_types import (
    UNKNOWN_EPOCH,
    BrokerAddress,
    LeaderEpoch,
    Offset,
    TopicName,
    TopicPartition,
)
from kmigrate.wire.call import Call
from kmigrate.wire.library import (
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)

_GROUP_KEY = 0


class Coordinator(NamedTuple):
    """The answer to FindCoordinator: `address` counts only without an error."""

    error: int
    address: BrokerAddress


class GroupMember(NamedTuple):
    """A member, and what it says of itself in its JoinGroup."""

    member_id: str
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The answer to JoinGroup; `members` is empty unless `leader` is `member_id`.

    With MEMBER_ID_REQUIRED only `member_id` counts.
    """

    error: int
    generation: int
    leader: str
    member_id: str
    members: tuple[GroupMember, ...]


class Synced(NamedTuple):
    """The answer to SyncGroup: what the group's leader assigned to this member."""

    error: int
    assignment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDescription:
    """A group as its coordinator sees it; a group that does not exist has the state "Dead".

    Members' metadata are empty unless the group is "Stable".
    """

    error: int
    state: str
    protocol_type: str
    members: tuple[GroupMember, ...]


class Committed(NamedTuple):
    """A group's commit for one partition; offset -1: there is none."""

    error: int
    offset: Offset
    leader_epoch: LeaderEpoch
    metadata: str


class GroupOffsets(NamedTuple):
    """The answer to OffsetFetch."""

    error: int
    partitions: Mapping[TopicPartition, Committed]


def find_coordinator(group_id: str) -> Call[Coordinator]:
    """The broker that coordinates a group; any broker answers."""

    def parse(answer: Any) -> Coordinator:
        return Coordinator(answer.error_code, BrokerAddress(answer.node_id, answer.host, answer.port))

    return Call(
        what="FindCoordinator",
        request=FindCoordinatorRequest,
        response=FindCoordinatorResponse,
        oldest=1,
        newest=2,
        build=lambda _version: FindCoordinatorRequest(key=group_id, key_type=_GROUP_KEY),
        parse=parse,
    )


def join_group(
    group_id: str,
    member_id: str,
    *,
    session_timeout_ms: int,
    rebalance_timeout_ms: int,
    protocol_type: str,
    protocol: str,
    metadata: bytes,
) -> Call[Joined]:
    """Enters a group, or the next generation of it; answered when all members joined or were dropped.

    That takes up to the longest rebalance time-out in the group.
    """

    def build(_version: int) -> Any:
        return JoinGroupRequest(
            group_id=group_id,
            session_timeout_ms=session_timeout_ms,
            rebalance_timeout_ms=rebalance_timeout_ms,
            member_id=member_id,
            group_instance_id=None,
            protocol_type=protocol_type,
            protocols=[JoinGroupRequest.JoinGroupRequestProtocol(name=protocol, metadata=metadata)],
        )

    def parse(answer: Any) -> Joined:
        return Joined(
            error=answer.error_code,
            generation=answer.generation_id,
            leader=answer.leader,
            member_id=answer.member_id,
            members=tuple(GroupMember(m.member_id, bytes(m.metadata or b"")) for m in answer.members),
        )

    return Call(
        what="JoinGroup",
        request=JoinGroupRequest,
        response=JoinGroupResponse,
        oldest=5,
        newest=5,
        build=build,
        parse=parse,
    )


def sync_group(group_id: str, generation: int, member_id: str, assignments: Mapping[str, bytes]) -> Call[Synced]:
    """Brings the leader's assignments (member id → bytes) and waits for one's own; others bring none."""

    def build(_version: int) -> Any:
        return SyncGroupRequest(
            group_id=group_id,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=None,
            assignments=[
                SyncGroupRequest.SyncGroupRequestAssignment(member_id=member, assignment=assignment)
                for member, assignment in assignments.items()
            ],
        )

    return Call(
        what="SyncGroup",
        request=SyncGroupRequest,
        response=SyncGroupResponse,
        oldest=3,
        newest=3,
        build=build,
        parse=lambda answer: Synced(answer.error_code, bytes(answer.assignment or b"")),
    )


def heartbeat(group_id: str, generation: int, member_id: str) -> Call[int]:
    """Keeps a member's session alive: the error code, REBALANCE_IN_PROGRESS when it has to join again."""
    return Call(
        what="Heartbeat",
        request=HeartbeatRequest,
        response=HeartbeatResponse,
        oldest=3,
        newest=3,
        build=lambda _version: HeartbeatRequest(
            group_id=group_id, generation_id=generation, member_id=member_id, group_instance_id=None
        ),
        parse=lambda answer: int(answer.error_code),
    )


def leave_group(group_id: str, member_id: str) -> Call[int]:
    """Takes a member out of its group, from whichever connection: the error code of group or member."""

    def build(_version: int) -> Any:
        member = LeaveGroupRequest.MemberIdentity(member_id=member_id, group_instance_id=None)
        return LeaveGroupRequest(group_id=group_id, members=[member])

    def parse(answer: Any) -> int:
        return next((code for code in (answer.error_code, *(m.error_code for m in answer.members)) if code), 0)

    return Call(
        what="LeaveGroup",
        request=LeaveGroupRequest,
        response=LeaveGroupResponse,
        oldest=3,
        newest=3,
        build=build,
        parse=parse,
    )


def describe_group(group_id: str) -> Call[GroupDescription]:
    """State and members of a group, without entering it."""

    def parse(answer: Any) -> GroupDescription:
        (group,) = answer.groups
        return GroupDescription(
            error=group.error_code,
            state=group.group_state,
            protocol_type=group.protocol_type,
            members=tuple(GroupMember(m.member_id, bytes(m.member_metadata or b"")) for m in group.members),
        )

    return Call(
        what="DescribeGroups",
        request=DescribeGroupsRequest,
        response=DescribeGroupsResponse,
        oldest=3,
        newest=4,
        build=lambda _version: DescribeGroupsRequest(groups=[group_id], include_authorized_operations=False),
        parse=parse,
    )


def offset_commit(
    group_id: str, generation: int, member_id: str, offsets: Mapping[TopicPartition, tuple[int, str]]
) -> Call[Mapping[TopicPartition, int]]:
    """Commits (offset, metadata) per partition, fenced by generation and member id: an error code each.

    The leader epoch is -1: one above the topic's own would make consumers refresh their metadata for ever. Topics must
    exist (else UNKNOWN_TOPIC_OR_PARTITION) and be readable to this principal.
    """
    topics: dict[TopicName, list[tuple[TopicPartition, int, str]]] = {}
    for partition, (offset, metadata) in offsets.items():
        topics.setdefault(partition.topic, []).append((partition, offset, metadata))

    def build(_version: int) -> Any:
        topic_class = OffsetCommitRequest.OffsetCommitRequestTopic
        return OffsetCommitRequest(
            group_id=group_id,
            generation_id_or_member_epoch=generation,
            member_id=member_id,
            group_instance_id=None,
            topics=[
                topic_class(
                    name=name,
                    partitions=[
                        topic_class.OffsetCommitRequestPartition(
                            partition_index=partition.partition,
                            committed_offset=offset,
                            committed_leader_epoch=UNKNOWN_EPOCH,
                            committed_metadata=metadata,
                        )
                        for partition, offset, metadata in commits
                    ],
                )
                for name, commits in topics.items()
            ],
        )

    def parse(answer: Any) -> Mapping[TopicPartition, int]:
        return {
            TopicPartition(topic.name, part.partition_index): part.error_code
            for topic in answer.topics
            for part in topic.partitions
        }

    return Call(
        what="OffsetCommit",
        request=OffsetCommitRequest,
        response=OffsetCommitResponse,
        oldest=7,
        newest=7,
        build=build,
        parse=parse,
    )


def offset_fetch(group_id: str, *, require_stable: bool = False) -> Call[GroupOffsets]:
    """Every commit of a group, whoever asks; topics this principal may not describe are left out silently.

    With `require_stable` a partition with a pending transactional commit has the error UNSTABLE_OFFSET_COMMIT.
    """

    def parse(answer: Any) -> GroupOffsets:
        found = {
            TopicPartition(topic.name, part.partition_index): Committed(
                part.error_code, part.committed_offset, part.committed_leader_epoch, part.metadata or ""
            )
            for topic in answer.topics
            for part in topic.partitions
        }
        return GroupOffsets(answer.error_code, found)

    return Call(
        what="OffsetFetch",
        request=OffsetFetchRequest,
        response=OffsetFetchResponse,
        oldest=5,
        newest=7,
        build=lambda _version: OffsetFetchRequest(group_id=group_id, topics=None, require_stable=require_stable),
        parse=parse,
    )
