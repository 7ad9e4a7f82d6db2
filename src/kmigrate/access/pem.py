"""PEM text is looked at before anything connects: what a file or a property holds, and what it cannot be.

Reference: `DefaultSslEngineFactory.PemParser`, which does not mind missing line ends; OpenSSL does.
"""

from __future__ import annotations

import re
import textwrap

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)


def unfold_pem(text: str) -> str:
    """The blocks of the text with the line ends that OpenSSL wants; what stands between them is left out."""
    return "".join(_unfold(kind, body) for kind, body in _BLOCK.findall(text))


def _unfold(kind: str, body: str) -> str:
    lines = body.strip() if ":" in body else "\n".join(textwrap.wrap("".join(body.split()), 64))
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n"


def has_certificate(text: str) -> bool:
    return any(kind.endswith("CERTIFICATE") for kind, _ in _BLOCK.findall(text))


def has_key(text: str) -> bool:
    return any(kind.endswith("PRIVATE KEY") for kind, _ in _BLOCK.findall(text))


def has_locked_key(text: str) -> bool:
    """Whether there is a key that needs a password."""
    return any(
        kind == "ENCRYPTED PRIVATE KEY" or (kind.endswith("PRIVATE KEY") and "ENCRYPTED" in body)
        for kind, body in _BLOCK.findall(text)
    )
