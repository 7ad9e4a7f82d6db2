"""The one table of findings: what a check can find, how much it weighs, and what to do about it.  (pure)

`kmigrate check` prints from it, `docs/check.md` is generated from it. Rule: a finding is one of these, in these words;
what changes from case to case are the words in braces, which come with a default where that is always the same.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple


class Level(enum.Enum):
    """How much a finding weighs."""

    BLOCK = "BLOCKER"
    """The copy would fail or be wrong: it must be mended before the first write."""
    WARN = "WARNING"
    """The copy will be right, but something may surprise, or somebody must do something."""
    UNKNOWN = "UNKNOWN"
    """It could not be examined; the reason is told."""
    NOTE = "NOTE"
    """Worth knowing."""
    PASS = "OK"


LEVELS: Mapping[Level, str] = {
    Level.BLOCK: "must be mended before the first write: the copy would fail or be wrong; exit 4",
    Level.WARN: "the copy will be right; something may surprise, or somebody must do something",
    Level.UNKNOWN: "it could not be examined, and the reason says why; taken as no objection",
    Level.NOTE: "worth knowing",
    Level.PASS: "examined, and nothing speaks against it",
}
"""Level → what it means, from the heaviest on."""


class FindingId(enum.Enum):
    """What was found; scripts go by it."""

    CLUSTER_UNREACHABLE = "CLUSTER_UNREACHABLE"
    BROKER_UNREACHABLE = "BROKER_UNREACHABLE"
    BROKER_TOO_OLD = "BROKER_TOO_OLD"
    BROKERS_REACHABLE = "BROKERS_REACHABLE"
    SAME_CLUSTER = "SAME_CLUSTER"
    WRONG_CLUSTER = "WRONG_CLUSTER"
    CLUSTER_IDS = "CLUSTER_IDS"
    VERSIONS = "VERSIONS"
    CLOCK_DIFFERENCE = "CLOCK_DIFFERENCE"
    PRINCIPAL = "PRINCIPAL"
    RIGHT_REQUIRED = "RIGHT_REQUIRED"
    RIGHT_OPTIONAL = "RIGHT_OPTIONAL"
    RIGHT_UNKNOWN = "RIGHT_UNKNOWN"
    RIGHTS = "RIGHTS"
    TOPIC_MISSING = "TOPIC_MISSING"
    NO_TOPIC_SELECTED = "NO_TOPIC_SELECTED"
    TOPICS_SELECTED = "TOPICS_SELECTED"
    NAME_COLLISION = "NAME_COLLISION"
    TOPIC_REFUSED = "TOPIC_REFUSED"
    REPLICATION_TOO_HIGH = "REPLICATION_TOO_HIGH"
    MIN_INSYNC_TOO_HIGH = "MIN_INSYNC_TOO_HIGH"
    BATCH_TOO_LARGE = "BATCH_TOO_LARGE"
    TARGET_SMALLER = "TARGET_SMALLER"
    TARGET_PARTITIONS_MORE = "TARGET_PARTITIONS_MORE"
    TARGET_PARTITIONS_FEWER = "TARGET_PARTITIONS_FEWER"
    TARGET_CONTENT_FOREIGN = "TARGET_CONTENT_FOREIGN"
    TARGET_CONTENT_OURS = "TARGET_CONTENT_OURS"
    TARGET_SETTINGS = "TARGET_SETTINGS"
    TARGET_LIMITS = "TARGET_LIMITS"
    CLASS_IMPOSSIBLE = "CLASS_IMPOSSIBLE"
    DISK_TOO_SMALL = "DISK_TOO_SMALL"
    DISK_ROOM = "DISK_ROOM"
    RETENTION_TOO_SHORT = "RETENTION_TOO_SHORT"
    RETENTION = "RETENTION"
    TOMBSTONES_OLD_SOURCE = "TOMBSTONES_OLD_SOURCE"
    TOMBSTONES_SHORT_LIVED = "TOMBSTONES_SHORT_LIVED"
    TRANSACTION_HANGING = "TRANSACTION_HANGING"
    TRANSACTION_OPEN = "TRANSACTION_OPEN"
    TRANSACTIONS = "TRANSACTIONS"
    QUOTA = "QUOTA"
    QUOTAS = "QUOTAS"
    GROUP_ACTIVE_ON_BOTH = "GROUP_ACTIVE_ON_BOTH"
    GROUP_UNSUPPORTED = "GROUP_UNSUPPORTED"
    GROUPS = "GROUPS"
    CLIENT_TOPIC_HIDDEN = "CLIENT_TOPIC_HIDDEN"
    CLIENT_TOPICS = "CLIENT_TOPICS"
    CLIENT_GROUP = "CLIENT_GROUP"
    NOT_EXAMINED = "NOT_EXAMINED"


class Entry(NamedTuple):
    """One row: `levels` it can have, the usual one first; `reason` and `remedy` are templates."""

    levels: tuple[Level, ...]
    title: str
    reason: str
    remedy: str
    meaning: str


_BLOCK, _WARN, _PASS, _NOTE = (Level.BLOCK,), (Level.WARN,), (Level.PASS,), (Level.NOTE,)
_EITHER = (Level.BLOCK, Level.WARN)

FINDINGS: Mapping[FindingId, Entry] = {
    FindingId.CLUSTER_UNREACHABLE: Entry(
        _BLOCK,
        "cluster unreachable",
        "the {side} cluster does not answer ({step}): {reason}",
        "correct bootstrap.servers of spec.{side}, or open the way from this machine",
        "None of the bootstrap servers answers, so nothing of this cluster is known. The step says how far it came:"
        " DNS, refused, time-out, TLS, SASL, or the network.",
    ),
    FindingId.BROKER_UNREACHABLE: Entry(
        _BLOCK,
        "broker unreachable",
        "{side} cluster, broker {broker} cannot be reached ({step}): {reason}",
        "this machine must reach every broker at the address that it advertises",
        "Whoever copies talks to the leader of each partition itself, so one broker that cannot be reached is enough to"
        " hold up its partitions. The step says how far it came: DNS, refused, time-out, TLS, SASL, or the network.",
    ),
    FindingId.BROKER_TOO_OLD: Entry(
        _BLOCK,
        "broker too old",
        "{side} cluster, broker {broker} is older than Kafka 2.8",
        "sources and targets from 2.8 on are supported",
        "Kafka 2.8 was the first that tells which producers a partition knows, and an exact copy rests on that.",
    ),
    FindingId.BROKERS_REACHABLE: Entry(
        _PASS,
        "brokers reachable",
        "every broker of the {side} cluster can be reached",
        "",
        "Each broker was connected to at the address that it advertises.",
    ),
    FindingId.SAME_CLUSTER: Entry(
        _BLOCK,
        "same cluster",
        "source and target are the same cluster ({cluster})",
        "compare bootstrap.servers of spec.source and spec.target",
        "A cluster is never copied onto itself. `run` refuses this with exit 6.",
    ),
    FindingId.WRONG_CLUSTER: Entry(
        _BLOCK,
        "wrong cluster",
        "{reason}",
        "{remedy}",
        "The manifest names a cluster id, and another cluster answers. `run` refuses this with exit 6.",
    ),
    FindingId.CLUSTER_IDS: Entry(
        _PASS,
        "cluster ids",
        "source {source}, target {target}",
        "",
        "Two different clusters, and those that the manifest names, if it does.",
    ),
    FindingId.VERSIONS: Entry(
        _NOTE,
        "versions",
        "the {side} cluster offers what Kafka {release} offers{mixed}",
        "",
        "Told from the ranges of requests that each broker offers; the oldest one counts.",
    ),
    FindingId.CLOCK_DIFFERENCE: Entry(
        (Level.WARN, Level.PASS, Level.UNKNOWN),
        "clock difference",
        "{side} cluster: {reason}",
        "{remedy}",
        "Brokers tell their clock only by the timestamps of topics with LogAppendTime: records that arrived between two"
        " looks bound it. Where there are none, the active controller's counts: KRaft clusters from 3.3 on tell it to"
        " who may DESCRIBE the cluster. Retention, spec.start as a time and look-ups by time rest on clocks that"
        " agree.",
    ),
    FindingId.PRINCIPAL: Entry(
        (Level.PASS, Level.UNKNOWN),
        "principal",
        "{side} cluster: {reason}",
        "",
        "The lines that grant a right name this principal, and quotas are looked up for it. It is what Kafka's default"
        " principal builder makes of the user, the token or the certificate; brokers with ssl.principal.mapping.rules,"
        " a principal.builder.class or another claim for users may know us by another name, and do not tell it.",
    ),
    FindingId.RIGHT_REQUIRED: Entry(
        _BLOCK,
        "required right missing",
        "{right} on the {side} is missing{where}; it is needed for {purpose}",
        "{command}",
        "Without this right nothing can be copied, or the lease cannot be held. All rights: docs/rights.md.",
    ),
    FindingId.RIGHT_OPTIONAL: Entry(
        (Level.WARN, Level.NOTE),
        "optional right missing",
        "{right} on the {side} is missing{where}; without it: {without}",
        "{command}",
        "The copy goes on without this right, in the way that is told. One that only a later command needs is a note."
        " All rights: docs/rights.md.",
    ),
    FindingId.RIGHT_UNKNOWN: Entry(
        (Level.UNKNOWN,),
        "right unknown",
        "whether {right} on the {side} is granted is not told{where}: {reason}",
        "{command}",
        "Brokers tell rights only to who may DESCRIBE. Taken as granted; the copy finds out.",
    ),
    FindingId.RIGHTS: Entry(
        _PASS,
        "rights",
        "all {count} rights on the {side} that were asked for are granted",
        "",
        "As told by the brokers (authorized operations), or by requests that cannot change anything.",
    ),
    FindingId.TOPIC_MISSING: Entry(
        _BLOCK,
        "topic missing",
        "the source cluster has no topic {topic}, which the manifest names in topics.include",
        "correct the name; or the user has no right to DESCRIBE the topic",
        "A topic that may not be described looks as if it were not there.",
    ),
    FindingId.NO_TOPIC_SELECTED: Entry(
        _WARN,
        "no topic selected",
        "no topic of the source is selected yet: new ones will be",
        "",
        "The expressions of the manifest match nothing that there is now.",
    ),
    FindingId.TOPICS_SELECTED: Entry(_PASS, "topics selected", "{topics} selected", "", "These are copied."),
    FindingId.NAME_COLLISION: Entry(
        _BLOCK,
        "name collision",
        "topic {topic} cannot be created on the target, which has {other}: the names differ only in '.' and '_'",
        "leave one of them out with topics.exclude, or delete {other} on the target if nobody needs it",
        "Kafka's metrics cannot tell such topics apart, so a broker refuses the second one.",
    ),
    FindingId.TOPIC_REFUSED: Entry(
        _BLOCK,
        "topic refused",
        "the target would not create {topics}: {reason}",
        "mend what the target objects to, or create the topic by hand, empty: it is accepted if its settings fit",
        "The target was asked to validate the creation without doing it. A policy or a limit of a managed service shows"
        " here.",
    ),
    FindingId.REPLICATION_TOO_HIGH: Entry(
        _BLOCK,
        "too few brokers for the replicas",
        "the target has {brokers}, but {factor} replicas are wanted for {count}: {topics}",
        "set `replicationFactor: fit` in the manifest's spec, or a number",
        "A topic cannot have more replicas than there are brokers.",
    ),
    FindingId.MIN_INSYNC_TOO_HIGH: Entry(
        _WARN,
        "min.insync.replicas",
        "min.insync.replicas={value} on the target, but {count} would have {factor} replicas: {topics}",
        "raise replicationFactor in the manifest's spec, or lower min.insync.replicas on the target",
        "With as many replicas as must be in sync, or fewer, writing stops while one broker is down; brokers before 3.7"
        " refuse every write where there are fewer.",
    ),
    FindingId.BATCH_TOO_LARGE: Entry(
        _BLOCK,
        "batches too large for the target",
        "max.message.bytes={bytes} of {topics} on the source is above socket.request.max.bytes={limit} of the target",
        "raise socket.request.max.bytes on the target's brokers",
        "No request above that limit reaches a broker, whatever the topic allows.",
    ),
    FindingId.TARGET_SMALLER: Entry(
        _WARN,
        "fewer brokers than the source",
        "the target has {target}, the source {source}",
        "see that it carries the load, or add brokers before the cutover",
        "The target is to be at least as large as the source.",
    ),
    FindingId.TARGET_PARTITIONS_MORE: Entry(
        _EITHER,
        "more partitions on the target",
        "topic {topic} has {have} partitions on the target and {want} on the source",
        "keys would go to other partitions: delete the target topic, or leave it out",
        "A topic that was copied before is only warned about.",
    ),
    FindingId.TARGET_PARTITIONS_FEWER: Entry(
        _WARN,
        "fewer partitions on the target",
        "topic {topic} will get {want} partitions on the target; it has {have}",
        "",
        "They are added before copying.",
    ),
    FindingId.TARGET_CONTENT_FOREIGN: Entry(
        _BLOCK,
        "records of others on the target",
        "topic {topic} on the target holds what is not this migration's, in {count}; {first}: {evidence}",
        "delete the topic on the target if nobody needs it, or leave it out with topics.exclude",
        "Nothing is ever written behind records of others: offsets would not be the same.",
    ),
    FindingId.TARGET_CONTENT_OURS: Entry(
        _PASS,
        "copied before",
        "{count} on the target hold what this migration copied before",
        "",
        "The copy goes on where it ended.",
    ),
    FindingId.TARGET_SETTINGS: Entry(
        _EITHER,
        "settings of a target topic",
        "topic {topic} exists on the target with settings that do not fit a copy: {settings}",
        "{command}",
        "It blocks where records would be changed, refused or deleted while they are copied, and nothing was copied"
        " yet.",
    ),
    FindingId.TARGET_LIMITS: Entry(
        _PASS,
        "limits of the target",
        "timestamps, batch sizes, replicas and settings: the target would create {topics} as they are wanted",
        "",
        "The target was asked to validate the creation of the topics under hold, without doing it.",
    ),
    FindingId.CLASS_IMPOSSIBLE: Entry(
        _BLOCK,
        "offset class impossible",
        "{reason}",
        "{remedy}",
        "The manifest asks for an offset class that a partition cannot have; `kmigrate plan` shows all classes.",
    ),
    FindingId.DISK_TOO_SMALL: Entry(
        (Level.BLOCK, Level.UNKNOWN),
        "disk room",
        "broker {broker} of the target has {free} to spare; about {needed} are needed there: {sum}",
        "add disks or brokers, copy fewer topics at a time, lower replicationFactor, or begin later with spec.start",
        "History, what arrives until the copy is done and for at least a day, and filler, before compaction, times the"
        " replicas, spread evenly. `limits.targetFreePercent` of each disk is left free.",
    ),
    FindingId.DISK_ROOM: Entry(
        (Level.PASS, Level.UNKNOWN),
        "disk room",
        "{reason}",
        "{remedy}",
        "As for `DISK_TOO_SMALL`. Where brokers do not tell (before 3.3, or without DESCRIBE on the cluster), declare"
        " `sizes.targetFreeBytes` in the manifest's spec.",
    ),
    FindingId.RETENTION_TOO_SHORT: Entry(
        _EITHER,
        "retention too short",
        "topic {topic} loses data in {loss}, the copy takes {copy} ({basis})",
        "kmigrate retention raise -f FILE -t {topic}, or a higher rate",
        "Records would be deleted on the source before they are copied: GAP_LOST. It blocks where the rate is a limit"
        " that was set, and warns where the rate is only assumed.",
    ),
    FindingId.RETENTION: Entry(
        (Level.PASS, Level.UNKNOWN),
        "retention",
        "{reason}",
        "",
        "Retention by time, and by size at the rate at which records arrived in the last hour, against the predicted"
        " time of the copy.",
    ),
    FindingId.TOMBSTONES_OLD_SOURCE: Entry(
        _WARN,
        "tombstones of an old source",
        "the source is older than Kafka 3.1, and {topics} are compacted: old tombstones may go at once (KIP-534)",
        "raise min.compaction.lag.ms on the source's topics for the time of copying, so that nothing is cleaned",
        "What lay uncleaned for longer than delete.retention.ms loses its tombstones with the second pass of the"
        " cleaner, so that a first copy cannot be guarded by that time: a deleted key may rise from the dead.",
    ),
    FindingId.TOMBSTONES_SHORT_LIVED: Entry(
        _WARN,
        "short-lived tombstones",
        "delete.retention.ms={value} of {topics}: partitions there will stop as TOMBSTONES_MAY_BE_LOST again and again",
        "raise delete.retention.ms on the source while copying, to a day for example",
        "A partition that was not read to its end within that time may have missed a tombstone, and says so. With a few"
        " seconds, nearly every write makes it so.",
    ),
    FindingId.TRANSACTION_HANGING: Entry(
        _WARN,
        "hanging transaction",
        "a transaction hangs in {partition} on the source since offset {offset} (producer id {producer}): {reason}",
        "{command}",
        "No coordinator will ever end it, so nothing behind it is readable, for consumers and for the copy.",
    ),
    FindingId.TRANSACTION_OPEN: Entry(
        (Level.NOTE, Level.UNKNOWN),
        "open transaction",
        "a transaction is open in {partition} on the source since offset {offset} (producer id {producer}): {reason}",
        "",
        "What follows it is copied when it ends.",
    ),
    FindingId.TRANSACTIONS: Entry(
        _PASS, "transactions", "no transaction holds a partition of the source back", "", "Asked once, at this moment."
    ),
    FindingId.QUOTA: Entry(
        _WARN,
        "quota",
        "the {side} limits {entity}: {values}",
        "raise the quota for the time of copying, or set limits.bytesPerSecond below it",
        "A quota of Kafka's holds connections back, which slows the copy; a limit of kmigrate's own is smoother. The"
        " predicted time counts with it.",
    ),
    FindingId.QUOTAS: Entry(
        _PASS, "quotas", "the {side} has no quota that would hold us back", "", "As far as quotas are configured there."
    ),
    FindingId.GROUP_ACTIVE_ON_BOTH: Entry(
        _WARN,
        "group active on both sides",
        "{groups} have members on the source and on the target",
        "stop the members on the target, or leave the groups out with groups.exclude",
        "The offsets of a group that is active on the target are its own, and are not touched.",
    ),
    FindingId.GROUP_UNSUPPORTED: Entry(
        _WARN,
        "unsupported groups",
        "{kind} groups are not moved: {groups}",
        "note where they stand, and set them up on the target by hand",
        "Share and streams groups keep their progress in ways that cannot be carried over.",
    ),
    FindingId.GROUPS: Entry(
        _PASS, "groups", "{count} on the source, none of them active on both sides", "", "Selected by the manifest."
    ),
    FindingId.CLIENT_TOPIC_HIDDEN: Entry(
        _BLOCK,
        "topic not visible to the application",
        "topic {topic} is not visible",
        "correct the name, or grant DESCRIBE on the topic to the application's user",
        "Only with `--as-client`: the topic is not there, or may not be described.",
    ),
    FindingId.CLIENT_TOPICS: Entry(
        (Level.NOTE, Level.BLOCK),
        "the application's topics",
        "{topics}: may {allowed}",
        "an application needs READ to consume and WRITE to produce",
        "Only with `--as-client`: as the cluster tells for this user. It blocks for a topic that was named and that the"
        " application can do nothing with.",
    ),
    FindingId.CLIENT_GROUP: Entry(
        (Level.BLOCK, Level.PASS),
        "the application's group",
        "the application {may} join the group {group}",
        "{remedy}",
        "Only with `--as-client`, where the properties have a `group.id`.",
    ),
    FindingId.NOT_EXAMINED: Entry(
        (Level.UNKNOWN,),
        "not examined",
        "{what} could not be examined: {reason}",
        "{remedy}",
        "Something else is in the way, or does not answer; mend that, and check again.",
    ),
}
"""Finding → what it is. Docs, `check`, `plan` and `run` read this table."""
