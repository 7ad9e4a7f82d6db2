"""PLAIN and OAUTHBEARER, and the two calls that carry them."""

from __future__ import annotations

import struct

import pytest

from kmigrate.wire.sasl import (
    Authenticated,
    BearerExchange,
    Handshake,
    PlainExchange,
    SaslFailed,
    sasl_authenticate,
    sasl_handshake,
)


def test_plain_is_one_message() -> None:
    ours = PlainExchange("user", "pä,ss")
    assert ours.first() == "\0user\0pä,ss".encode()
    assert ours.next(b"") is None


def test_a_token_is_one_message() -> None:
    ours = BearerExchange("abc.def.", [("logicalCluster", "lkc-1")])
    assert ours.first() == b"n,,\x01auth=Bearer abc.def.\x01logicalCluster=lkc-1\x01\x01"
    assert ours.next(b"") is None


def test_a_token_that_is_refused_ends_the_exchange_one_message_later() -> None:
    ours = BearerExchange("abc")
    assert ours.next(b'{"status":"invalid_token"}') == b"\x01"
    with pytest.raises(SaslFailed, match="invalid_token"):
        ours.next(b"")


def test_a_handshake_is_laid_out_as_kafka_wants_it() -> None:
    call = sasl_handshake("PLAIN")
    assert call.encode(1, 7, "k")[4:] == struct.pack(">hhih1s", 17, 1, 7, 1, b"k") + b"\0\5PLAIN"
    answer = struct.pack(">ihi", 7, 33, 1) + b"\0\5PLAIN"
    assert call.decode(1, answer) == Handshake(33, ("PLAIN",))


def test_a_step_is_laid_out_as_kafka_wants_it() -> None:
    call = sasl_authenticate(b"abc")
    assert call.encode(1, 7, "k")[4:] == struct.pack(">hhih1si", 36, 1, 7, 1, b"k", 3) + b"abc"
    answer = struct.pack(">ihh", 7, 58, 2) + b"no" + struct.pack(">i2sq", 2, b"ch", 9000)
    assert call.decode(1, answer) == Authenticated(58, "no", b"ch", 9000)


def test_a_step_of_the_first_version_tells_no_lifetime() -> None:
    answer = struct.pack(">ihhi", 7, 0, -1, 0)
    assert sasl_authenticate(b"abc").decode(0, answer) == Authenticated(0, "", b"", 0)
