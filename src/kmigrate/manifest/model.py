"""The manifest has two shapes: `ManifestDocument` as its author writes it, `Manifest` as other rooms read it.

Rule: the document knows keys, types and defaults, and is what editors get as a JSON Schema; the manifest has
the clusters' settings resolved. Both are frozen. The names in YAML are camelCase, in Python snake_case.

Reference: docs/manifest.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, ValidationError

from kmigrate.kafka_types import TopicName
from kmigrate.manifest.settings import NO_PROPERTIES, ClientProperties, ClusterSettings

API_VERSION = "kmigrate/v1"
KIND = "Migration"
INTERNAL_TOPIC_PREFIX = "__"

_LITERAL = re.compile(r"(?:[a-zA-Z0-9_-]|\\?\.|\\-)+")


def _alias(name: str) -> str:
    return "class" if name == "offsets_class" else to_camel(name)


def _name(text: str) -> str:
    if text in (".", ".."):
        raise PydanticCustomError("name", "must not be '.' or '..'")
    return text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        reason = {"text": text, "reason": str(error)}
        raise PydanticCustomError("regex", "'{text}' is not a regular expression: {reason}", reason) from error
    return text


def literal_name(expression: str) -> str | None:
    r"""The one name that an expression without metacharacters stands for, or None.

    A dot counts as plain, escaped (`pay\.orders`) or not (`pay.orders`, which also matches more than that one name).
    """
    return expression.replace("\\", "") if _LITERAL.fullmatch(expression) else None


def is_start(text: str) -> bool:
    """Whether a text is `earliest`, `latest` or an ISO time with its zone."""
    if text in ("earliest", "latest"):
        return True
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _start(text: str) -> str:
    if not is_start(text):
        raise PydanticCustomError("start", "must be earliest, latest or a time like 2024-05-01T00:00:00Z")
    return text


def _replication_factor(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    try:
        return handler(value)
    except ValidationError:  # one sentence instead of one for each alternative
        raise PydanticCustomError(
            "replication_factor", "must be source, fit or a whole number from 1 to 32767"
        ) from None


def _auto_or(most: int) -> Callable[[object, ValidatorFunctionWrapHandler], object]:
    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            told = "must be auto or a whole number from 1 to {most}"
            raise PydanticCustomError("auto_or", told, {"most": most}) from None

    return check


def _topic(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", text):
        raise PydanticCustomError("topic", "must be a topic's name: 1 to 249 letters, digits, '.', '_' or '-'")
    return text


def _principal(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*:.+", text):
        raise PydanticCustomError("principal", "must be a principal as Kafka writes it: User:name")
    return text


def _secret_reference(text: str) -> str:
    if not re.fullmatch(r"\$\{(env|file):[^}]+\}", text):
        raise PydanticCustomError(
            "secret_reference", "must be ${env:NAME} or ${file:path}: no password stands in a manifest"
        )
    return text


Topic: TypeAlias = Annotated[str, AfterValidator(_topic)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,100}$"), AfterValidator(_name)]
Regex: TypeAlias = Annotated[str, AfterValidator(_regex)]
Start: TypeAlias = Annotated[str, AfterValidator(_start)]
ReplicationFactor: TypeAlias = Literal["source", "fit"] | int
Principal: TypeAlias = Annotated[str, AfterValidator(_principal)]
SecretReference: TypeAlias = Annotated[str, AfterValidator(_secret_reference)]
Budget: TypeAlias = Annotated[int, Field(ge=0)]
Properties: TypeAlias = Annotated[
    Mapping[str, str],  # the text as written, also of `30000` and `true`
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}),
]


class Scheme(StrEnum):
    """Who moves when: order, pause and latency are traded against each other."""

    PRODUCERS_FIRST = "producers-first"
    """Strict order, at the price of a pause: consumers drain the source before they move."""
    PRODUCERS_LATER = "producers-later"
    """Low latency, at the price of order: consumers read both clusters for a while."""
    CONSUMERS_FIRST = "consumers-first"
    """Production never stops, at the price of live replication until the producers move."""


class History(StrEnum):
    """What of the persisted records comes along, where producers move before the copy is no longer needed."""

    NONE = "none"
    """Nothing: the target's topics begin empty."""
    STOPPED = "stopped"
    """Everything: the writers stop for a moment, and the target goes on exactly where the source ends."""
    ROLLING = "rolling"
    """What was copied before the first application write; writers are restarted one after the other."""


class Ending(StrEnum):
    """How the writers of `consumers-first` move: a short pause, or no order across the two clusters."""

    CLEAN = "clean"
    """They stop, the rest is copied and verified, they start on the target."""
    OVERLAP = "overlap"
    """They are restarted one after the other; records of both clusters mix on the target."""


class FenceChoice(StrEnum):
    """What keeps writers away while they are to stand still: brokers, or only the operator's word."""

    NONE = "none"
    """Nothing: log ends must stand still for longer than clients retry."""
    ACL = "acl"
    """Rules that deny WRITE, as `kmigrate fence put --kind acl`."""
    MIN_ISR = "min-isr"
    """`min.insync.replicas` above the replica count, as `kmigrate fence put --kind min-isr`."""


class OffsetsClass(StrEnum):
    """Which offsets records get: the more equal, the more the gaps of the source cost."""

    AUTO = "auto"
    """The plan decides for each partition."""
    IDENTICAL = "identical"
    """The same offsets; gaps are filled."""
    SHIFTED = "shifted"
    """The same distances; only the start differs."""
    MAPPED = "mapped"
    """An exact translation table; nothing is filled."""


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=_alias,
        field_title_generator=lambda name, _: _alias(name),
        validate_by_name=True,
        hide_input_in_errors=True,
    )


class Metadata(_Section):
    """Which migration this is."""

    name: Name = Field(description="Names the migration, its folder and its group kmigrate-<name>.")


class SourceSection(_Section):
    """A cluster and how to reach it."""

    cluster_id: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Guard: refuse any cluster with another id."
    )
    properties_file: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, repr=False, description="A Java client.properties; relative to the manifest's folder."
    )
    properties: Properties = Field(default={}, repr=False, description="Java client keys; they win over the file's.")
    address_map: Properties = Field(default={}, description="Advertised address to the one reachable from here.")


class TargetSection(SourceSection):
    """The cluster that the migration leads to."""

    client_properties: Properties = Field(
        default={}, repr=False, description="What applications will use on the target."
    )


class Selection(_Section):
    """Names chosen by regular expressions that match the whole name."""

    include: tuple[Regex, ...] = Field(default=(".*",), description="A name must match one of these …")
    exclude: tuple[Regex, ...] = Field(default=(), description="… and none of these.")

    @cached_property
    def patterns(self) -> tuple[tuple[re.Pattern[str], ...], tuple[re.Pattern[str], ...]]:
        """`include` and `exclude`, compiled once."""
        return tuple(map(re.compile, self.include)), tuple(map(re.compile, self.exclude))

    def selects(self, name: str) -> bool:
        """Whether the name is included and not excluded."""
        include, exclude = self.patterns
        return any(p.fullmatch(name) for p in include) and not any(p.fullmatch(name) for p in exclude)


class Offsets(_Section):
    """Offset classes and what equality may cost."""

    offsets_class: OffsetsClass = Field(default=OffsetsClass.AUTO, description="For all topics.")
    topics: Mapping[Regex, OffsetsClass] = Field(
        default={}, description="For topics whose whole name matches; the first match counts."
    )
    pad_budget: Budget = Field(default=2_000_000_000, description="Filler records per partition at most.")
    pad_budget_total: Budget = Field(default=10_000_000_000, description="Filler records in all at most.")
    gap_budget: Budget = Field(default=1_000_000, description="Markers per partition for the planned backlog.")

    def class_of(self, topic: str) -> OffsetsClass:
        """The class asked for this topic."""
        matching = (wanted for regex, wanted in self.topics.items() if re.fullmatch(regex, topic))
        return next(matching, self.offsets_class)


class Wave(_Section):
    """Topics and groups that move together; what is not said of it counts as in `spec`."""

    name: Name
    topics: tuple[Regex, ...] = Field(default=(), description="Regular expressions for whole names.")
    groups: tuple[Regex, ...] = Field(
        default=(), description="The same for groups; none: those that read topics of this wave only."
    )
    scheme: Scheme | None = None
    history: History | None = None
    ending: Ending | None = None
    fence: FenceChoice | None = None
    way_back: bool | None = None


class ApplicationSection(_Section):
    """Something that reads topics and writes others, and moves as one."""

    name: Name
    groups: tuple[Regex, ...] = Field(default=(), description="The groups that it reads as.")
    reads: tuple[Regex, ...] = Field(default=(), description="The topics that it reads; none: what its groups do.")
    writes: tuple[Regex, ...] = Field(default=(), description="The topics that it writes.")
    own_checkpoints: bool = Field(
        default=False, description="It keeps its positions itself: an operator attests that it stopped and started."
    )


class CutoverSection(_Section):
    """How long the steps of a cutover may take or must hold, and how much may be left."""

    freeze_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=600, description="Writers that are kept waiting for so long are free again."
    )
    still_seconds: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=330, description="Without a fence log ends must stand still for so long."
    )
    approval_seconds: Annotated[int, Field(ge=1, le=604_800)] = Field(
        default=900, description="An approval counts for so long."
    )
    auto_hold_seconds: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=30, description="A step that is taken by itself must have been ready for so long."
    )
    tail_offsets: Annotated[int, Field(ge=0)] = Field(
        default=10_000, description="Offsets of a partition that may be left to verify while writers wait."
    )
    everyone_without_rules: bool | None = Field(
        default=None,
        description="Your word, for a fence of rules: allow.everyone.if.no.acl.found; null: none is given.",
    )


class Limits(_Section):
    """What the migration may take from the clusters."""

    bytes_per_second: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Copied bytes a second at most; null: no limit."
    )
    broker_bytes_per_second: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="The same for each broker, read from or written to; null: no limit."
    )
    topic_bytes_per_second: Mapping[Annotated[str, Field(min_length=1)], Annotated[int, Field(ge=1)]] = Field(
        default={}, max_length=1000, description="The same for single topics, by name."
    )
    produce_latency_ms: Annotated[int, Field(ge=1, le=60_000)] | None = Field(
        default=None, description="Less is sent while the target answers later than this; null: no limit."
    )
    target_free_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        default=20, description="Copying pauses while less of a target broker's disks is free."
    )


class Sizes(_Section):
    """Sizes declared by hand, for clusters that do not tell them."""

    source_bytes: Budget | None = Field(
        default=None, description="What the selected topics hold on the source, one replica of each."
    )
    target_free_bytes: Budget | None = Field(
        default=None, description="What may be written to the disks of each broker of the target."
    )


class UserSection(_Section):
    """A SCRAM user of the target, whose credential no cluster tells."""

    mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"]
    password: SecretReference = Field(repr=False, description="${env:NAME} or ${file:path}; read by `apply` only.")
    iterations: Annotated[int, Field(ge=4096, le=16_384)] = 4096


class Spec(_Section):
    """What is moved, from where to where, and how."""

    source: SourceSection
    target: TargetSection
    topics: Selection = Selection()
    groups: Selection = Selection()
    scheme: Scheme | None = Field(default=None, description="Who moves when; none: no cutover is planned.")
    history: History | None = Field(
        default=None,
        description="What persisted data comes along where producers move first (stopped) or later (rolling).",
    )
    ending: Ending | None = Field(default=None, description="How the writers of consumers-first move (clean).")
    fence: FenceChoice | None = Field(default=None, description="What keeps writers away while they wait (none).")
    way_back: bool | None = Field(default=None, description="Whether a reverse copy runs until the end (true).")
    applications: tuple[ApplicationSection, ...] = Field(
        default=(), description="What reads topics and writes others, or keeps its own checkpoints."
    )
    cutover: CutoverSection = CutoverSection()
    start: Start = Field(default="earliest", description="earliest, latest or an ISO time with its zone.")
    offsets: Offsets = Offsets()
    replication_factor: Annotated[
        Literal["source", "fit"] | Annotated[int, Field(ge=1, le=32_767)], WrapValidator(_replication_factor)
    ] = Field(default="source", description="As on the source, what fits the target, or a number.")
    principals: Mapping[Principal, Principal] = Field(
        default={}, description="Principals of the source to their names on the target; others keep theirs."
    )
    users: Mapping[Annotated[str, Field(min_length=1)], UserSection] = Field(
        default={}, description="SCRAM users to be set on the target, by their names there."
    )
    waves: tuple[Wave, ...] = Field(default=(), description="Default: one wave with everything.")
    pairs: Mapping[Topic, Topic] = Field(
        default={}, description="Topics that another tool copies, and their names on the target; for verify alone."
    )
    limits: Limits = Limits()
    sizes: Sizes = Sizes()
    workers: Annotated[Literal["auto"] | Annotated[int, Field(ge=1, le=64)], WrapValidator(_auto_or(64))] = Field(
        default="auto", description="Copying processes: a number, or as many as it takes."
    )
    lanes: Annotated[Literal["auto"] | Annotated[int, Field(ge=1, le=16)], WrapValidator(_auto_or(16))] = Field(
        default="auto", description="Pipelines for each pair of brokers: a number, or as many as it takes."
    )


class ManifestDocument(_Section):
    """A kmigrate manifest: one migration of topics from a source cluster to a target cluster."""

    api_version: Literal["kmigrate/v1"]
    kind: Literal["Migration"]
    metadata: Metadata
    spec: Spec


LEASE_PREFIX = "kmigrate-"
MIRROR_PREFIX = "__kmigrate."
"""How the groups begin that hold the leases of migrations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the operator wants, checked and resolved; no value in its repr is a secret.

    `path` is where it was read and does not count when two manifests are compared. `notices` are for the
    operator. `workers` and `lanes` None: as many as it takes.
    """

    name: str
    source: ClusterSettings
    target: ClusterSettings
    topics: Selection = field(default_factory=Selection)
    groups: Selection = field(default_factory=Selection)
    scheme: Scheme | None = None
    start: str = "earliest"
    offsets: Offsets = field(default_factory=Offsets)
    replication_factor: ReplicationFactor = "source"
    principals: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, UserSection] = field(default_factory=dict)
    waves: tuple[Wave, ...] = ()
    pairs: Mapping[str, str] = field(default_factory=dict)
    history: History | None = None
    ending: Ending | None = None
    fence: FenceChoice | None = None
    way_back: bool | None = None
    applications: tuple[ApplicationSection, ...] = ()
    cutover: CutoverSection = field(default_factory=CutoverSection)
    limits: Limits = field(default_factory=Limits)
    sizes: Sizes = field(default_factory=Sizes)
    workers: int | None = None
    lanes: int | None = None
    client_properties: ClientProperties = NO_PROPERTIES
    notices: tuple[str, ...] = ()
    path: Path = field(default=Path(), compare=False)

    @property
    def lease_group(self) -> str:
        """The group on the target that holds the migration's lease, and what it remembers there."""
        return f"{LEASE_PREFIX}{self.name}"

    @property
    def mirror_topic(self) -> TopicName:
        """The topic on the target that mirrors the migration's state."""
        return TopicName(f"{MIRROR_PREFIX}{self.name}")

    def topic_selected(self, name: str) -> bool:
        """Whether the topic moves; internal topics never do."""
        return not name.startswith(INTERNAL_TOPIC_PREFIX) and self.topics.selects(name)

    def literal_topics(self) -> tuple[str, ...]:
        """The selected topics that `include` names outright, in its order."""
        names = filter(None, map(literal_name, self.topics.include))
        return tuple(name for name in dict.fromkeys(names) if self.topic_selected(name))
