"""Calls that read access control lists, add to them, and take single rules away.

Sources: DescribeAclsRequest.json, CreateAclsRequest.json, DeleteAclsRequest.json; for the codes ResourceType and
PatternType of org.apache.kafka.common.resource, AclOperation and AclPermissionType of org.apache.kafka.common.acl.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from kmigrate.wire.call import Call
from kmigrate.wire.library import (
    CreateAclsRequest,
    CreateAclsResponse,
    DeleteAclsRequest,
    DeleteAclsResponse,
    DescribeAclsRequest,
    DescribeAclsResponse,
)

_ANY = 1


class ResourceType(IntEnum):
    """What a right is about."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


class PatternType(IntEnum):
    """Whether a resource's name is the whole name (`*`: any), or how names begin."""

    LITERAL = 3
    PREFIXED = 4


class AclOperation(IntEnum):
    """What may be done, by its code in a rule, and its place in what a broker tells of our own rights."""

    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14
    TWO_PHASE_COMMIT = 15


class Permission(IntEnum):
    """Whether it may or must not be done."""

    DENY = 2
    ALLOW = 3


class Acl(NamedTuple):
    """One rule: this principal, from this host, may or must not do this with resources of that name."""

    resource_type: ResourceType
    name: str
    pattern_type: PatternType
    principal: str
    host: str
    operation: AclOperation
    permission: Permission

    @property
    def resource(self) -> str:
        """`topic pay.*` for a prefix `pay.`, else `topic orders`."""
        what = self.resource_type.name.lower().replace("_", " ")
        return f"{what} {self.name}{'*' if self.pattern_type is PatternType.PREFIXED else ''}"

    @property
    def words(self) -> str:
        """`allow User:app READ`, and the host if it is not any."""
        host = "" if self.host == "*" else f" from {self.host}"
        return f"{self.permission.name.lower()} {self.principal} {self.operation.name}{host}"


class AclsTold(NamedTuple):
    """What a cluster told: an error code and message, its rules, and how many it has that have no name here."""

    error: int
    message: str
    acls: tuple[Acl, ...]
    unknown: int


class Outcome(NamedTuple):
    """What became of one creation, or of one deletion."""

    error: int
    message: str


def describe_acls() -> Call[AclsTold]:
    """Every rule of a cluster; needs DESCRIBE on the cluster."""

    def build(_version: int) -> Any:
        return DescribeAclsRequest(
            resource_type_filter=_ANY,
            resource_name_filter=None,
            pattern_type_filter=_ANY,
            principal_filter=None,
            host_filter=None,
            operation=_ANY,
            permission_type=_ANY,
        )

    return Call(
        what="DescribeAcls",
        request=DescribeAclsRequest,
        response=DescribeAclsResponse,
        oldest=1,
        newest=3,
        build=build,
        parse=_parse,
    )


def _parse(answer: Any) -> AclsTold:
    acls, unknown = [], 0
    for resource in answer.resources:
        for each in resource.acls:
            try:
                acls.append(
                    Acl(
                        ResourceType(resource.resource_type),
                        resource.resource_name,
                        PatternType(resource.pattern_type),
                        each.principal,
                        each.host,
                        AclOperation(each.operation),
                        Permission(each.permission_type),
                    )
                )
            except ValueError:
                unknown += 1
    return AclsTold(answer.error_code, answer.error_message or "", tuple(sorted(acls)), unknown)


def create_acls(acls: Sequence[Acl]) -> Call[tuple[Outcome, ...]]:
    """Adds rules; one that is there already is left as it is. Needs ALTER on the cluster.

    The outcomes come in the order of the rules.
    """

    def build(_version: int) -> Any:
        return CreateAclsRequest(
            creations=[
                CreateAclsRequest.AclCreation(
                    resource_type=int(each.resource_type),
                    resource_name=each.name,
                    resource_pattern_type=int(each.pattern_type),
                    principal=each.principal,
                    host=each.host,
                    operation=int(each.operation),
                    permission_type=int(each.permission),
                )
                for each in acls
            ]
        )

    return Call(
        what="CreateAcls",
        request=CreateAclsRequest,
        response=CreateAclsResponse,
        oldest=3 if any(each.resource_type is ResourceType.USER for each in acls) else 1,
        newest=3,
        build=build,
        parse=lambda answer: tuple(Outcome(each.error_code, each.error_message or "") for each in answer.results),
    )


def delete_acls(acls: Sequence[Acl]) -> Call[tuple[Outcome, ...]]:
    """Takes exactly these rules away; one that is not there is no error. Needs ALTER on the cluster.

    The outcomes come in the order of the rules.
    """

    def build(_version: int) -> Any:
        return DeleteAclsRequest(
            filters=[
                DeleteAclsRequest.DeleteAclsFilter(
                    resource_type_filter=int(each.resource_type),
                    resource_name_filter=each.name,
                    pattern_type_filter=int(each.pattern_type),
                    principal_filter=each.principal,
                    host_filter=each.host,
                    operation=int(each.operation),
                    permission_type=int(each.permission),
                )
                for each in acls
            ]
        )

    return Call(
        what="DeleteAcls",
        request=DeleteAclsRequest,
        response=DeleteAclsResponse,
        oldest=3 if any(each.resource_type is ResourceType.USER for each in acls) else 1,
        newest=3,
        build=build,
        parse=lambda answer: tuple(map(_deleted, answer.filter_results)),
    )


def _deleted(result: Any) -> Outcome:
    """What became of a filter: its own error, else that of the rule that it found."""
    for each in (result, *result.matching_acls):
        if each.error_code:
            return Outcome(each.error_code, each.error_message or "")
    return Outcome(0, "")
