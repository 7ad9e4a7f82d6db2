"""Reads rules, quotas and users of a cluster; what it does not tell is a value with the reason."""

from __future__ import annotations

from kmigrate.cluster.client import ClusterClient
from kmigrate.errors import ClusterError
from kmigrate.security.quotas import Quotas
from kmigrate.security.told import Told
from kmigrate.wire import acl_calls, quota_calls, user_calls
from kmigrate.wire.acl_calls import Acl
from kmigrate.wire.call import error_name
from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.user_calls import Credentials

SECURITY_DISABLED = 54


def ask_acls(client: ClusterClient) -> Told[tuple[Acl, ...]]:
    """Every rule of a cluster; none where it has no authorizer."""
    try:
        told = client.any(acl_calls.describe_acls())
    except ClusterError as error:
        return Told(value=None, reason=error.reason)
    if told.error == SECURITY_DISABLED:
        return Told(value=(), reason=f"the {client.side} has no authorizer: there are no rules", is_off=True)
    if told.error:
        return Told(value=None, reason=_refusal("DescribeAcls", told.error, told.message, "DESCRIBE"))
    if told.unknown:
        return Told(value=told.acls, reason=f"{told.unknown} rules of kinds that kmigrate does not know are left out")
    return Told(value=told.acls)


def ask_quotas(client: ClusterClient) -> Told[Quotas]:
    """The quotas of every client."""
    try:
        told = client.any(quota_calls.describe_client_quotas())
    except ClusterError as error:
        return Told(value=None, reason=error.reason)
    if told.error:
        return Told(value=None, reason=_refusal("DescribeClientQuotas", told.error, told.message, "DESCRIBE_CONFIGS"))
    return Told(value=told.quotas)


def ask_users(client: ClusterClient) -> Told[Credentials]:
    """Every SCRAM user; a cluster whose release does not know the question is taken to tell nothing."""
    try:
        told = client.controller(user_calls.describe_users())
    except ClusterError as error:
        return Told(value=None, reason=error.reason)
    if told.error:
        return Told(value=None, reason=_refusal("DescribeUserScramCredentials", told.error, told.message, "DESCRIBE"))
    return Told(value=told.users)


def _refusal(what: str, code: int, message: str, right: str) -> str:
    if code == ErrorCode.CLUSTER_AUTHORIZATION_FAILED:
        return f"{what}: the right {right} on the cluster is missing"
    return f"{what}: {error_name(code)} ({code})" + (f": {message}" if message else "")
