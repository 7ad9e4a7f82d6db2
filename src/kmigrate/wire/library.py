"""The codec library's messages, under their names: the library is loaded when the first of them is used.

Rule: only here is the library imported. What is laid out and read by hand (`HandCall`) never loads it, so that a
command which asks nothing else begins at once.

The library's package imports its producer, consumer and admin clients, which nobody uses here, and which take longer
than all messages together. So it is entered without running its own `__init__`, unless that has run already.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_PACKAGE = "kafka"
_APIS = {
    "admin.acl": ("CreateAcls", "DeleteAcls", "DescribeAcls"),
    "admin.client_quotas": ("AlterClientQuotas", "DescribeClientQuotas"),
    "admin.cluster": ("DescribeCluster", "DescribeLogDirs", "DescribeQuorum"),
    "admin.configs": ("DescribeConfigs", "IncrementalAlterConfigs"),
    "admin.groups": ("DescribeGroups", "ListGroups"),
    "admin.topics": ("CreatePartitions", "CreateTopics", "DeleteRecords", "DeleteTopics"),
    "admin.transactions": ("DescribeProducers", "DescribeTransactions", "ListTransactions"),
    "admin.users": ("AlterUserScramCredentials", "DescribeUserScramCredentials"),
    "consumer.group": (
        "Heartbeat",
        "JoinGroup",
        "LeaveGroup",
        "OffsetCommit",
        "OffsetDelete",
        "OffsetFetch",
        "SyncGroup",
    ),
    "consumer.offsets": ("ListOffsets", "OffsetForLeaderEpoch"),
    "metadata.api_versions": ("ApiVersions",),
    "metadata.find_coordinator": ("FindCoordinator",),
    "metadata.metadata": ("Metadata",),
    "producer.produce": ("Produce",),
    "producer.transaction": ("WriteTxnMarkers",),
    "sasl": ("SaslAuthenticate", "SaslHandshake"),
}
"""Module of the library's protocol → the APIs in it that are used here."""


class Message:
    """Stands for one message class of the library."""

    __slots__ = ("_class", "_module", "_name")

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name
        self._class: Any = None

    def __call__(self, *values: Any, **fields: Any) -> Any:
        return self._loaded()(*values, **fields)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loaded(), name)

    def _loaded(self) -> Any:
        if self._class is None:
            self._class = getattr(_load(f"protocol.{self._module}"), self._name)
        return self._class


_MESSAGES = {
    f"{api}{kind}": Message(module, f"{api}{kind}")
    for module, apis in _APIS.items()
    for api in apis
    for kind in ("Request", "Response")
}


def __getattr__(name: str) -> Any:
    """`from kmigrate.wire.library import MetadataRequest` gives the message of that name."""
    try:
        return _MESSAGES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def name_of_error(code: int) -> str | None:
    """The library's name for an error code."""
    return getattr(_load("errors").for_code(code), "message", None) or None


def _load(module: str) -> ModuleType:
    if _PACKAGE not in sys.modules:
        sys.modules.setdefault(_PACKAGE, _without_clients())  # of two threads one wins; both then find the same
    return import_module(f"{_PACKAGE}.{module}")


def _without_clients() -> ModuleType:
    """The library's package as a place where its modules are found, and nothing else."""
    found = PathFinder.find_spec(_PACKAGE)
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    package = ModuleType(_PACKAGE)
    package.__spec__ = ModuleSpec(_PACKAGE, None, is_package=True)
    package.__path__ = list(found.submodule_search_locations)
    return package
