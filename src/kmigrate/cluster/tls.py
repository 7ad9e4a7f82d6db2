"""TLS contexts as the settings want them, and what is said when a handshake fails.

Rule: certificates and keys in files are read again when they changed, so that every new connection goes by what lies
there then. A failed handshake sends nothing of ours; the reasons name what a person can mend.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from kmigrate.access.pem import unfold_pem
from kmigrate.access.security import ClientCertificate, Pem, PemText, Tls

_KEPT_CONTEXTS = 16
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_HANDSHAKE_BYTES = 16 << 10
_CERTIFICATE_WANTED = ("certificate required", "bad certificate", "handshake failure")

Signature = tuple[tuple[int, int, int] | None, ...]


class TlsFailed(Exception):
    """Why there is no TLS: a reason for a person, and a way out."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


class Contexts:
    """The contexts of one process, each made once for each state of its files."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Tls, tuple[Signature, ssl.SSLContext]] = {}

    def context(self, tls: Tls) -> ssl.SSLContext:
        """The context; raises TlsFailed where certificates or keys cannot be used."""
        now = _signature(tls)
        with self._lock:
            kept = self._kept.get(tls)
            if kept is not None and kept[0] == now:
                return kept[1]
        made = make_context(tls)
        with self._lock:
            while len(self._kept) >= _KEPT_CONTEXTS:
                del self._kept[next(iter(self._kept))]
            self._kept[tls] = (now, made)
        return made


def make_context(tls: Tls) -> ssl.SSLContext:
    """A context from what lies in the files now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _VERSIONS[tls.versions[0]]
    context.maximum_version = _VERSIONS[tls.versions[-1]]
    if not tls.check_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.check_hostname = tls.check_host_name
        load_trust(context, tls.trust)
    if tls.certificate is not None:
        _load_certificate(context, tls.certificate)
    return context


def load_trust(context: ssl.SSLContext, trust: Pem | None) -> None:
    """Whom the context believes; raises TlsFailed."""
    if trust is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    try:
        context.load_verify_locations(cadata=read_pem(trust))
    except ssl.SSLError:
        raise TlsFailed(f"{trust} holds no certificate that can be read", "it must be PEM") from None


class Shaken(NamedTuple):
    """A connection behind its handshake.

    TLS works between two buffers, and a socket of its own: so one system call moves as many records as there are.
    """

    opened: socket.socket
    engine: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO

    def read_into(self, view: memoryview) -> int:
        """Decrypts what is there, a record at most; raises SSLWantReadError where more has to come."""
        return cast(int, self.engine.read(len(view), cast(Any, view)))

    def flush(self) -> None:
        """Sends what TLS has to say."""
        if self.outgoing.pending:
            self.opened.sendall(self.outgoing.read())


def shake_hands(opened: socket.socket, context: ssl.SSLContext, tls: Tls, host: str, timeout_seconds: float) -> Shaken:
    """TLS over a fresh connection to the broker that advertises itself as `host`; raises TlsFailed or TimeoutError."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        shaken = Shaken(opened, context.wrap_bio(incoming, outgoing, server_hostname=host), incoming, outgoing)
        _shake(shaken, time.monotonic() + timeout_seconds)
    except TimeoutError:
        raise
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError):
            opened.sendall(outgoing.read())  # the alert that tells the broker why
        opened.close()
        raise explain(error, tls) from None
    return shaken


def _shake(shaken: Shaken, deadline: float) -> None:
    """Goes to and fro until both sides are done; raises TimeoutError at the deadline."""
    is_done = False
    while not is_done:
        with contextlib.suppress(ssl.SSLWantReadError):
            shaken.engine.do_handshake()
            is_done = True
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the handshake takes too long")
        shaken.opened.settimeout(left)
        shaken.flush()
        if not is_done:
            came = shaken.opened.recv(_HANDSHAKE_BYTES)
            if not came:
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "it closed the connection")
            shaken.incoming.write(came)


def explain(error: Exception, tls: Tls) -> TlsFailed:
    """What a failed handshake means; a mismatch of names is left to `presented_names`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unverified(error)
    if isinstance(error, ssl.SSLEOFError | ConnectionError) or not isinstance(error, ssl.SSLError):
        return TlsFailed(
            f"the broker ended the TLS handshake ({_words(error)})",
            "perhaps this listener speaks PLAINTEXT: security.protocol must be that of the listener",
        )
    if getattr(error, "reason", "") in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"):
        return TlsFailed(
            "the broker does not speak TLS here",
            "perhaps this listener speaks PLAINTEXT: security.protocol must be that of the listener",
        )
    return TlsFailed(refusal(error, tls) or f"TLS failed: {_words(error)}", "the broker's log says more")


def refusal(error: Exception, tls: Tls) -> str:
    """What the broker's alert says about our certificate; empty if it says nothing of it.

    In TLS 1.3 it comes after the handshake, with the first answer.
    """
    if not isinstance(error, ssl.SSLError):
        return ""
    words = _words(error)
    if "alert" not in words:
        return ""
    if tls.certificate is None and any(alert in words for alert in _CERTIFICATE_WANTED):
        return f"the broker wants a client certificate, and none is set ({words})"
    if tls.certificate is not None:
        return f"the broker does not accept the client certificate {tls.certificate.certificates} ({words})"
    return f"the broker ended TLS ({words})"


class NameMismatch(TlsFailed):
    """The certificate is good, and somebody else's."""


def presented_names(opened: socket.socket, tls: Tls, timeout_seconds: float) -> list[str]:
    """The names in the certificate of a server; nothing is sent to it beside the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    load_trust(context, tls.trust)
    if tls.certificate is not None:
        _load_certificate(context, tls.certificate)
    opened.settimeout(timeout_seconds)
    with context.wrap_socket(opened) as shaken:
        told: Mapping[str, Any] = shaken.getpeercert() or {}
    subject = [value for part in told.get("subject", ()) for key, value in part if key == "commonName"]
    return [str(value) for _, value in told.get("subjectAltName", ())] or [str(value) for value in subject]


def _unverified(error: ssl.SSLCertVerificationError) -> TlsFailed:
    words = error.verify_message or str(error)
    if "mismatch" in words.lower():
        return NameMismatch(words, "")
    if "expired" in words:
        return TlsFailed("the broker's certificate has expired", "give the broker a new one")
    if "not yet valid" in words:
        return TlsFailed("the broker's certificate is not valid yet", "compare the clocks of both machines")
    return TlsFailed(
        f"the broker's certificate is not signed by an authority that is trusted here ({words})",
        "name the authority's certificate in ssl.truststore.location, with ssl.truststore.type=PEM",
    )


def _words(error: Exception) -> str:
    """OpenSSL's reason in plain letters."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, str) and reason:
        return reason.lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _signature(tls: Tls) -> Signature:
    """What tells whether a file is another one than before."""
    mine = tls.certificate
    return tuple(map(_state, (tls.trust, *(() if mine is None else (mine.certificates, mine.key)))))


def _state(pem: Pem | None) -> tuple[int, int, int] | None:
    if pem is None or isinstance(pem, PemText):
        return None
    try:
        found = pem.path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def read_pem(pem: Pem) -> str:
    """The text as OpenSSL wants it; raises TlsFailed."""
    if isinstance(pem, PemText):
        return pem.text.reveal()
    try:
        return unfold_pem(pem.path.read_text(encoding="ascii", errors="replace"))
    except OSError as error:
        raise TlsFailed(f"{pem} cannot be read: {error.strerror}", "every new connection reads it") from None


def _load_certificate(context: ssl.SSLContext, mine: ClientCertificate) -> None:
    password = mine.key_password.reveal() if mine.key_password is not None else ""
    key = mine.key
    with (
        _as_file(read_pem(mine.certificates)) as chain,
        _as_file(read_pem(key) if key is not None else None) as key_path,
    ):
        try:
            context.load_cert_chain(str(chain), key_path and str(key_path), password=lambda: password)
        except (OSError, ValueError):  # an SSLError is an OSError
            raise TlsFailed(
                f"{mine.key or mine.certificates} is no private key for the certificate {mine.certificates}, "
                "or ssl.key.password is wrong",
                "certificate and key must belong together; where both are exchanged, exchange them at once",
            ) from None


@contextlib.contextmanager
def _as_file(text: str | None) -> Iterator[Path | None]:
    """A path under which OpenSSL can read the text; on Linux it lies in memory."""
    if text is None:
        yield None
    elif hasattr(os, "memfd_create"):
        number = os.memfd_create("pem")
        try:
            with open(number, "wb", closefd=False) as file:
                file.write(text.encode())
            yield Path(f"/proc/self/fd/{number}")
        finally:
            os.close(number)
    else:
        with tempfile.NamedTemporaryFile("w") as named:
            named.write(text)
            named.flush()
            yield Path(named.name)
