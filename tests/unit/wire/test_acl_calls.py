"""Rules, quotas and users go through Kafka's own messages and come back as our values."""

from __future__ import annotations

import pytest
from kafka.protocol.admin.acl import (
    CreateAclsRequest,
    CreateAclsResponse,
    DeleteAclsRequest,
    DeleteAclsResponse,
    DescribeAclsRequest,
    DescribeAclsResponse,
)
from kafka.protocol.admin.client_quotas import (
    AlterClientQuotasRequest,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)
from kafka.protocol.admin.groups import ListGroupsResponse
from kafka.protocol.admin.users import AlterUserScramCredentialsRequest, DescribeUserScramCredentialsResponse

from kmigrate.wire.acl_calls import (
    Acl,
    AclOperation,
    Outcome,
    PatternType,
    Permission,
    ResourceType,
    create_acls,
    delete_acls,
    describe_acls,
)
from kmigrate.wire.offset_calls import list_groups
from kmigrate.wire.quota_calls import alter_client_quotas, describe_client_quotas
from kmigrate.wire.user_calls import Salted, ScramMechanism, describe_users, set_credential

READ = Acl(
    ResourceType.TOPIC, "pay.", PatternType.PREFIXED, "User:app", "10.0.0.1", AclOperation.READ, Permission.ALLOW
)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_rule_is_asked_for_and_one_of_an_unknown_kind_is_counted(version: int) -> None:
    call = describe_acls()
    request = DescribeAclsRequest.decode(call.encode(version, 1, "us")[4:], version=version, header=True)
    asked = (request.resource_type_filter, request.pattern_type_filter, request.operation, request.permission_type)
    assert asked == (1, 1, 1, 1)
    resource_class = DescribeAclsResponse.DescribeAclsResource
    rules = [
        resource_class.AclDescription(principal="User:app", host="10.0.0.1", operation=each, permission_type=3)
        for each in (3, 99)
    ]
    answer = DescribeAclsResponse(
        version=version,
        error_code=0,
        error_message=None,
        resources=[resource_class(resource_type=2, resource_name="pay.", pattern_type=4, acls=rules)],
    )
    answer.with_header(correlation_id=1)
    told = call.decode(version, answer.encode(header=True))
    assert (told.error, told.acls, told.unknown) == (0, (READ,), 1)


@pytest.mark.parametrize("version", [1, 3])
def test_a_rule_is_created_as_it_is(version: int) -> None:
    call = create_acls([READ])
    request = CreateAclsRequest.decode(call.encode(version, 1, "us")[4:], version=version, header=True)
    (sent,) = request.creations
    assert (sent.resource_type, sent.resource_name, sent.resource_pattern_type) == (2, "pay.", 4)
    assert (sent.principal, sent.host, sent.operation, sent.permission_type) == ("User:app", "10.0.0.1", 3, 3)
    result = CreateAclsResponse.AclCreationResult(error_code=54, error_message="no")
    answer = CreateAclsResponse(version=version, results=[result])
    answer.with_header(correlation_id=1)
    assert call.decode(version, answer.encode(header=True)) == (Outcome(54, "no"),)


def test_a_rule_about_users_needs_a_broker_that_knows_them() -> None:
    about_user = READ._replace(resource_type=ResourceType.USER, pattern_type=PatternType.LITERAL)
    assert create_acls([about_user]).version({30: (1, 2)}) is None
    assert create_acls([READ]).version({30: (1, 2)}) == 2


def test_quotas_of_every_entity_are_asked_for_and_defaults_have_no_name() -> None:
    call = describe_client_quotas()
    request = DescribeClientQuotasRequest.decode(call.encode(1, 1, "us")[4:], version=1, header=True)
    assert (request.components, request.strict) == ([], False)
    entry_class = DescribeClientQuotasResponse.EntryData
    entity = [
        entry_class.EntityData(entity_type="user", entity_name="app"),
        entry_class.EntityData(entity_type="client-id", entity_name=None),
    ]
    values = [entry_class.ValueData(key="request_percentage", value=12.5)]
    answer = DescribeClientQuotasResponse(
        version=1, error_code=0, error_message=None, entries=[entry_class(entity=entity, values=values)]
    )
    answer.with_header(correlation_id=1)
    assert call.decode(1, answer.encode(header=True)).quotas == {
        (("client-id", None), ("user", "app")): {"request_percentage": 12.5}
    }


def test_a_quota_is_set_and_nothing_is_removed() -> None:
    call = alter_client_quotas({(("client-id", None), ("user", "app")): {"request_percentage": 12.5}})
    request = AlterClientQuotasRequest.decode(call.encode(1, 1, "us")[4:], version=1, header=True)
    (entry,) = request.entries
    assert [(each.entity_type, each.entity_name) for each in entry.entity] == [("client-id", None), ("user", "app")]
    assert [(op.key, op.value, op.remove) for op in entry.ops] == [("request_percentage", 12.5, False)]
    assert not request.validate_only


def test_users_are_told_without_their_credentials() -> None:
    result_class = DescribeUserScramCredentialsResponse.DescribeUserScramCredentialsResult
    infos = [result_class.CredentialInfo(mechanism=each, iterations=4096) for each in (1, 9)]
    answer = DescribeUserScramCredentialsResponse(
        version=0,
        error_code=0,
        error_message=None,
        results=[
            result_class(user="app", error_code=0, error_message=None, credential_infos=infos),
            result_class(user="gone", error_code=91, error_message="no", credential_infos=[]),
        ],
    )
    answer.with_header(correlation_id=1)
    told = describe_users().decode(0, answer.encode(header=True))
    assert told.users == {"app": {ScramMechanism.SCRAM_SHA_256: 4096}}


def test_a_credential_is_sent_salted() -> None:
    call = set_credential(Salted("app", ScramMechanism.SCRAM_SHA_512, 8192, b"salt", b"salted"))
    request = AlterUserScramCredentialsRequest.decode(call.encode(0, 1, "us")[4:], version=0, header=True)
    (sent,) = request.upsertions
    assert (sent.name, sent.mechanism, sent.iterations) == ("app", 2, 8192)
    assert (bytes(sent.salt), bytes(sent.salted_password)) == (b"salt", b"salted")
    assert request.deletions == []


def test_groups_with_members_are_told_apart_from_empty_ones() -> None:
    groups = [
        ListGroupsResponse.ListedGroup(group_id=state, protocol_type="consumer", group_state=state)
        for state in ("Stable", "Empty", "PreparingRebalance", "Dead")
    ]
    answer = ListGroupsResponse(version=4, error_code=0, groups=groups)
    answer.with_header(correlation_id=1)
    told = list_groups().decode(4, answer.encode(header=True))
    running = tuple((each.group_id, each.protocol_type) for each in told.groups if each.has_members)
    assert running == (("Stable", "consumer"), ("PreparingRebalance", "consumer"))


@pytest.mark.parametrize("version", [1, 3])
def test_exactly_these_rules_are_deleted(version: int) -> None:
    other = READ._replace(name="*", pattern_type=PatternType.LITERAL)
    call = delete_acls([READ, other])
    request = DeleteAclsRequest.decode(call.encode(version, 1, "us")[4:], version=version, header=True)
    asked = [
        (
            each.resource_type_filter,
            each.resource_name_filter,
            each.pattern_type_filter,
            each.principal_filter,
            each.host_filter,
            each.operation,
            each.permission_type,
        )
        for each in request.filters
    ]
    assert asked == [tuple(READ), tuple(other)]


def test_a_deletion_fails_by_its_filter_or_by_what_it_found() -> None:
    result_class = DeleteAclsResponse.DeleteAclsFilterResult
    found = result_class.DeleteAclsMatchingAcl(
        error_code=42,
        error_message="no",
        resource_type=2,
        resource_name="pay.",
        pattern_type=4,
        principal="User:app",
        host="*",
        operation=3,
        permission_type=3,
    )
    answer = DeleteAclsResponse(
        version=3,
        filter_results=[
            result_class(error_code=0, error_message=None, matching_acls=[]),
            result_class(error_code=31, error_message="denied", matching_acls=[]),
            result_class(error_code=0, error_message=None, matching_acls=[found]),
        ],
    )
    answer.with_header(correlation_id=1)
    told = delete_acls([READ] * 3).decode(3, answer.encode(header=True))
    assert told == (Outcome(0, ""), Outcome(31, "denied"), Outcome(42, "no"))
