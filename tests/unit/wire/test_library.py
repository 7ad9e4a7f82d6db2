"""The codec library is loaded by the first message that needs it, and never with its clients."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kmigrate.wire import library
from kmigrate.wire.library import MetadataRequest

_CODE = """
import sys
from kmigrate.wire import acl_calls, calls, group_calls, offset_calls, sasl
from kmigrate.wire.call import api_versions, error_name
from kmigrate.kafka_types import Partition, TopicName, TopicPartition

def loaded():
    return {name for name in sys.modules if name == "kafka" or name.startswith("kafka.")}

place = TopicPartition(TopicName("orders"), Partition(0))
for call in (api_versions(), calls.metadata(None), calls.list_offsets([place], -1)):
    call.encode(call.newest, 1, "us")
    call.version({call.api_key: (0, call.newest)})
error_name(6)
assert not loaded(), loaded()
call = calls.describe_producers([place])
call.encode(call.newest, 1, "us")
assert error_name(54) == "SECURITY_DISABLED"
assert "kafka.protocol.admin.transactions" in loaded()
assert not loaded() & {"kafka.consumer", "kafka.producer", "kafka.admin", "kafka.net"}, loaded()
"""


def test_what_is_laid_out_by_hand_does_not_load_it() -> None:
    subprocess.run([sys.executable, "-P", "-c", _CODE], check=True)


def test_every_message_that_is_named_is_there() -> None:
    for message in library._MESSAGES.values():
        assert message.API_KEY >= 0
    assert MetadataRequest(topics=None).topics is None


def test_there_are_no_others() -> None:
    with pytest.raises(AttributeError, match="NoSuchRequest"):
        library.__getattr__("NoSuchRequest")
