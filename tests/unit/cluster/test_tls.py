"""A failed handshake is told in words a person can act on; contexts follow their files."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from kmigrate.access.security import ClientCertificate, PemFile, PemText, Secret, Tls
from kmigrate.cluster import tls as tls_module
from kmigrate.cluster.tls import Contexts, TlsFailed, explain, make_context, refusal


def ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] words (_ssl.c:1)")
    error.reason = reason
    return error


MINE = Tls(certificate=ClientCertificate(certificates=PemFile(Path("/mine.pem"))))


@pytest.mark.parametrize(
    ("error", "tls", "words"),
    [
        (ssl_error("WRONG_VERSION_NUMBER"), Tls(), "the broker does not speak TLS here"),
        (ssl.SSLEOFError(8, "EOF"), Tls(), "the broker ended the TLS handshake (EOF)"),
        (ConnectionResetError(104, "Connection reset by peer"), Tls(), "the broker ended the TLS handshake"),
        (ssl_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), Tls(), "wants a client certificate, and none is set"),
        (ssl_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), Tls(), "wants a client certificate, and none is set"),
        (ssl_error("TLSV1_ALERT_UNKNOWN_CA"), MINE, "does not accept the client certificate /mine.pem"),
        (ssl_error("TLSV1_ALERT_PROTOCOL_VERSION"), Tls(), "the broker ended TLS (tlsv1 alert protocol version)"),
        (ssl_error("NO_CIPHERS_AVAILABLE"), Tls(), "TLS failed: no ciphers available"),
        (ValueError("server_hostname cannot be an empty string"), Tls(), "server_hostname"),
    ],
)
def test_a_failed_handshake_is_explained(error: Exception, tls: Tls, words: str) -> None:
    assert words in str(explain(error, tls))


def test_only_an_alert_is_the_brokers_refusal() -> None:
    assert refusal(OSError("x"), MINE) == ""
    assert refusal(ssl_error("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), MINE) == ""


def test_a_context_checks_certificate_and_host_name_unless_told_otherwise() -> None:
    checked = make_context(Tls())
    assert (checked.check_hostname, checked.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert checked.minimum_version == ssl.TLSVersion.TLSv1_2
    unnamed = make_context(Tls(check_host_name=False))
    assert (unnamed.check_hostname, unnamed.verify_mode) == (False, ssl.CERT_REQUIRED)
    unchecked = make_context(Tls(check_certificate=False, check_host_name=False))
    assert (unchecked.check_hostname, unchecked.verify_mode) == (False, ssl.CERT_NONE)
    assert make_context(Tls(versions=("TLSv1.3",))).minimum_version == ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (Tls(trust=PemFile(Path("/nowhere/ca.pem"))), "/nowhere/ca.pem cannot be read: No such file or directory"),
        (
            Tls(trust=PemText("ssl.truststore.certificates", Secret("hunter2"))),
            "ssl.truststore.certificates holds no certificate that can be read",
        ),
        (
            Tls(certificate=ClientCertificate(certificates=PemText("ssl.certificate.pem", Secret("hunter2")))),
            "ssl.certificate.pem is no private key for the certificate ssl.certificate.pem",
        ),
    ],
)
def test_what_cannot_be_loaded_is_named_and_not_shown(tls: Tls, words: str) -> None:
    with pytest.raises(TlsFailed, match=words) as caught:
        make_context(tls)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_context_is_made_again_when_a_file_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Tls] = []

    def make(tls: Tls) -> ssl.SSLContext:
        made.append(tls)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(tls_module, "make_context", make)
    file = tmp_path / "ca.pem"
    file.write_text("one")
    contexts, tls = Contexts(), Tls(trust=PemFile(file))
    assert contexts.context(tls) is contexts.context(tls)
    (tmp_path / "new.pem").write_text("two")
    (tmp_path / "new.pem").rename(file)
    contexts.context(tls)
    file.unlink()
    contexts.context(tls)
    assert len(made) == 3
    contexts.context(Tls())
    assert contexts.context(Tls()) is contexts.context(Tls())
    assert len(made) == 4
