"""PEM text is read as Java reads it, and written as OpenSSL wants it."""

from __future__ import annotations

import pytest

from kmigrate.access.pem import has_certificate, has_key, has_locked_key, unfold_pem

BODY = "QUJD" * 20


def block(kind: str, body: str = BODY) -> str:
    return f"-----BEGIN {kind}-----{body}-----END {kind}-----"


def test_one_line_becomes_many() -> None:
    text = block("CERTIFICATE", f" {BODY} ") + block("PRIVATE KEY")
    assert unfold_pem(text).splitlines() == [
        "-----BEGIN CERTIFICATE-----",
        BODY[:64],
        BODY[64:],
        "-----END CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY-----",
        BODY[:64],
        BODY[64:],
        "-----END PRIVATE KEY-----",
    ]


def test_what_stands_between_blocks_is_left_out() -> None:
    assert "friendlyName" not in unfold_pem("Bag Attributes\n friendlyName: x\n" + block("CERTIFICATE"))


def test_headers_of_an_old_key_keep_their_lines() -> None:
    body = f"\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{BODY}\n"
    assert "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n" in unfold_pem(block("RSA PRIVATE KEY", body))
    assert has_locked_key(block("RSA PRIVATE KEY", body))


@pytest.mark.parametrize(
    ("kind", "certificate", "key", "locked"),
    [
        ("CERTIFICATE", True, False, False),
        ("TRUSTED CERTIFICATE", True, False, False),
        ("PRIVATE KEY", False, True, False),
        ("EC PRIVATE KEY", False, True, False),
        ("ENCRYPTED PRIVATE KEY", False, True, True),
        ("PUBLIC KEY", False, False, False),
    ],
)
def test_what_a_block_is(kind: str, certificate: bool, key: bool, locked: bool) -> None:
    text = block(kind)
    assert (has_certificate(text), has_key(text), has_locked_key(text)) == (certificate, key, locked)


def test_a_cut_block_is_none() -> None:
    assert not has_certificate(block("CERTIFICATE")[:-3])
    assert unfold_pem("hello") == ""
