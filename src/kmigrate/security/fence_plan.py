"""What a fence would consist of on a cluster, what speaks against it, and what its operator must know.  (pure)

Rule: what cannot be known and would decide counts against the fence, unless the operator's word takes its place.
Brokers never tell the values of `super.users` and `allow.everyone.if.no.acl.found`: only whether they are set.

References: AclAuthorizer, StandardAuthorizerData (which rules decide); Partition.effectiveMinIsr (since Kafka 3.7 the
replica count caps `min.insync.replicas`, KAFKA-15583); KIP-98 for the markers that end transactions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kmigrate.kafka_types import Side, TopicName
from kmigrate.security.acls import concerns
from kmigrate.security.fence import EVERYONE, MIN_ISR, AclPiece, FenceKind, SettingPiece
from kmigrate.security.fence_moves import show_min_isr
from kmigrate.security.told import Told
from kmigrate.wire.acl_calls import Acl, AclOperation, PatternType, Permission, ResourceType
from kmigrate.words import count_of

NAMES_SHOWN = 5
MIN_ISR_MARGIN = 1000
"""How far above the replica count the setting goes: replicas that are added meanwhile must not open the fence."""
NO_FENCE_HINT = "docs/fences.md says what else keeps writers away, or slows them down until they are stopped"
"""Where there is no fence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceWish:
    """What the operator asks for. `acks_all`: their word that every writer uses acks=all.

    `everyone_without_rules`: their word on `allow.everyone.if.no.acl.found` (None: none was given).
    """

    kind: FenceKind
    principals: tuple[str, ...] = (EVERYONE,)
    acks_all: bool = False
    everyone_without_rules: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceFacts:
    """What was seen of a cluster before anything is put there.

    `replicas` has the topics that are to be fenced, with the most replicas of a partition. `rules` are the cluster's.
    `is_everyone_set`, `are_super_users_set`: whether a broker has such a setting; None: it does not say. `we_write`:
    kmigrate itself writes to these topics. `caps_min_isr`: the brokers are Kafka 3.7 or newer; None: not known.
    `own` is each topic's own `min.insync.replicas`. `refused` says of topics why kmigrate may not alter them.
    `transactions` counts open ones per topic; None: not known.
    """

    side: Side
    replicas: Mapping[TopicName, int]
    internal: Collection[TopicName] = ()
    rules: Told[tuple[Acl, ...]] = field(default_factory=lambda: Told(value=None, reason="not asked"))
    is_everyone_set: bool | None = None
    are_super_users_set: bool | None = None
    may_alter_cluster: bool = False
    grant_line: str = ""
    ours: str | None = None
    we_write: bool = False
    caps_min_isr: bool | None = None
    own: Mapping[TopicName, str | None] = field(default_factory=dict)
    refused: Mapping[TopicName, str] = field(default_factory=dict)
    transactions: Mapping[TopicName, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FencePlan:
    """The pieces, what speaks against them (then nothing is put), and what the operator must know."""

    acls: tuple[AclPiece, ...] = ()
    settings: tuple[SettingPiece, ...] = ()
    objections: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def plan_fence(wish: FenceWish, facts: FenceFacts) -> FencePlan:
    """What the fence consists of, or why there is none."""
    internal = sorted(facts.internal)
    against = [f"{_some(internal)}: the brokers themselves write there"] if internal else []
    if wish.kind is FenceKind.ACL:
        return _plan_acls(wish, facts, against)
    return _plan_min_isr(wish, facts, against)


def writers(rules: Iterable[Acl], topic: str) -> tuple[str, ...]:
    """The principals that rules allow to write to a topic."""
    return tuple(sorted({each.principal for each in rules if _is_about(each, topic) and _allows_writing(each)}))


# -- acl ------------------------------------------------------------------------------------------------------------


def _plan_acls(wish: FenceWish, facts: FenceFacts, against: list[str]) -> FencePlan:
    rules = facts.rules.value
    if facts.rules.is_off:
        against.append(f"the {facts.side} has no authorizer: no rule keeps anybody from writing")
    elif rules is None:
        against.append(f"the {facts.side} does not tell its rules ({facts.rules.reason})")
    elif facts.rules.reason:
        against.append(f"not all rules of the {facts.side} are understood: {facts.rules.reason}")
    if not facts.may_alter_cluster and not facts.rules.is_off:
        against.append(
            f"rules can be put and lifted only with ALTER on the cluster, which is not granted: {facts.grant_line}"
        )
    if facts.we_write and ({EVERYONE, facts.ours} & {*wish.principals} or facts.ours is None):
        against.append(
            f"kmigrate writes to these topics of the {facts.side} as {facts.ours or 'somebody it cannot tell'}:"
            " name the writers with --principal, without it"
        )
    if rules is None:
        return FencePlan(objections=tuple(against))
    everyone = wish.everyone_without_rules if facts.is_everyone_set is not False else False
    bare = [topic for topic in facts.replicas if not any(_is_about(each, topic) for each in rules)]
    if bare and everyone is None:
        against.append(
            f"{_some(bare)} {_has(bare)} no rule at all, and brokers do not tell whether everybody may use such topics:"
            f" say what their allow.everyone.if.no.acl.found is with --everyone-without-rules true or"
            " false (spec.cutover.everyoneWithoutRules in a manifest that leads a cutover)"
        )
    if against:
        return FencePlan(objections=tuple(against))
    wanted = [_allow_all(topic) for topic in bare if everyone]
    wanted += [_deny(topic, principal) for topic in facts.replicas for principal in wish.principals]
    there = frozenset(rules)
    pieces = tuple(AclPiece(each, each in there) for each in wanted)
    return FencePlan(acls=pieces, notes=tuple(_acl_notes(wish, facts, rules, bare, bool(everyone), pieces)))


def _acl_notes(
    wish: FenceWish,
    facts: FenceFacts,
    rules: Collection[Acl],
    bare: Sequence[str],
    everyone: bool,
    pieces: Sequence[AclPiece],
) -> list[str]:
    notes = []
    allowed: dict[str, list[str]] = {}
    for topic in facts.replicas:
        for principal in writers(rules, topic):
            allowed.setdefault(principal, []).append(topic)
    told = [f"{each} ({count_of(len(topics), 'topic')})" for each, topics in sorted(allowed.items())]
    notes.append(f"rules allow writing to: {_some(told)}" if told else "no rule allows anybody to write")
    if EVERYONE not in wish.principals:
        free = sorted(allowed.keys() - {*wish.principals})
        if free or (everyone and bare):
            notes.append(f"not denied, and may go on writing: {_some(free) if free else 'everybody else'}")
    if facts.are_super_users_set is False:
        notes.append("no super.users are set; brokers that say they are one would pass")
    else:
        notes.append(
            "super users pass every rule, and brokers do not tell whom super.users names: be sure no writer is"
        )
    if bare and everyone:
        notes.append(
            f"{_some(bare)} {_has(bare)} no rule, and everybody may use such topics: a DENY alone would block readers"
            f" too, so that {EVERYONE} is allowed ALL there beside it, until the fence is lifted"
        )
    elif bare:
        notes.append(f"{_some(bare)} {_has(bare)} no rule: nobody but super users may write there as it is")
    if standing := sum(each.was_there for each in pieces):
        notes.append(
            f"{count_of(standing, 'rule')} of the fence {'is' if standing == 1 else 'are'} there already, and stay"
        )
    notes += _transaction_notes(facts, "they can still be ended: markers pass, log ends may move by them")
    notes.append(
        "writers are refused with TOPIC_AUTHORIZATION_FAILED, which is final for most: Java producers fail the record"
        " at once, Kafka Streams ends its threads, Connect fails its tasks; they must be started again. An idempotent"
        " producer that starts behind the fence, and may write nowhere else, ends with CLUSTER_AUTHORIZATION_FAILED"
    )
    return notes


def _deny(topic: str, principal: str) -> Acl:
    return Acl(ResourceType.TOPIC, topic, PatternType.LITERAL, principal, "*", AclOperation.WRITE, Permission.DENY)


def _allow_all(topic: str) -> Acl:
    return Acl(ResourceType.TOPIC, topic, PatternType.LITERAL, EVERYONE, "*", AclOperation.ALL, Permission.ALLOW)


def _is_about(acl: Acl, topic: str) -> bool:
    return acl.resource_type is ResourceType.TOPIC and concerns(acl, topic)


def _allows_writing(acl: Acl) -> bool:
    return acl.permission is Permission.ALLOW and acl.operation in (AclOperation.WRITE, AclOperation.ALL)


# -- min.insync.replicas --------------------------------------------------------------------------------------------


def _plan_min_isr(wish: FenceWish, facts: FenceFacts, against: list[str]) -> FencePlan:
    if facts.caps_min_isr is None:
        against.append(
            f"the release of the {facts.side}'s brokers is not known: from Kafka 3.7 on this would be no fence"
        )
    elif facts.caps_min_isr:
        against.append(
            f"the brokers of the {facts.side} are Kafka 3.7 or newer: they take no more than the replica count for"
            f" {MIN_ISR}, so that writers would pass. Use --kind acl, or stop the writers"
        )
    if facts.we_write:
        against.append(f"kmigrate itself writes to these topics of the {facts.side}, with acks=all")
    if not wish.acks_all:
        against.append(
            "who writes with acks=0 or acks=1 passes, and brokers do not tell who does: say that every writer uses"
            " acks=all with --acks-all-attested"
        )
    against += [f"topic {topic} cannot be altered: {why}" for topic, why in sorted(facts.refused.items())[:NAMES_SHOWN]]
    unread = sorted(facts.replicas.keys() - facts.own.keys())
    if unread:
        against.append(f"{_some(unread)} {'does' if len(unread) == 1 else 'do'} not tell what {MIN_ISR} was before")
    if facts.transactions is None:
        against.append("open transactions are not told (READ on the topics), and they could not end behind this fence")
    elif open_ones := {topic: count for topic, count in facts.transactions.items() if count}:
        against.append(
            f"{count_of(sum(open_ones.values()), 'open transaction')} in {_some(sorted(open_ones))}: their markers are"
            " refused too, so that they would hold every reader back until the fence is lifted. Use --kind acl"
        )
    if against:
        return FencePlan(objections=tuple(against))
    pieces = tuple(
        SettingPiece(topic, facts.own[topic], str(count + MIN_ISR_MARGIN)) for topic, count in facts.replicas.items()
    )
    own = sorted({show_min_isr(each.before) for each in pieces})
    return FencePlan(
        settings=pieces,
        notes=(
            f"the topics have {_some(own)}",
            "who writes with acks=0 or acks=1 passes",
            "writers are refused with NOT_ENOUGH_REPLICAS and retry until their delivery.timeout.ms (by default 120 s"
            " in Java, 300 s in librdkafka); what they still hold then is written as soon as the fence is lifted",
            "what is appended, but not acknowledged, when the fence goes up is answered"
            " NOT_ENOUGH_REPLICAS_AFTER_APPEND: it is in the log, and a writer without idempotence appends it again"
            " after the fence",
        ),
    )


def _transaction_notes(facts: FenceFacts, what: str) -> list[str]:
    if facts.transactions is None:
        return ["open transactions are not told"]
    count = sum(facts.transactions.values())
    return [f"{count_of(count, 'open transaction')}: {what}"] if count else []


def _some(names: Sequence[str]) -> str:
    more = f" … and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _has(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"
