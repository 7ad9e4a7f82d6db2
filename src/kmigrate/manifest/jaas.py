"""A `sasl.jaas.config` is read, never executed: the login module's name and its options.

Rule: nothing of a text that cannot be read is quoted, as any part of it may be a secret.

Reference: `org.apache.kafka.common.security.JaasConfig`, which reads it with `java.io.StreamTokenizer`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"\s+|//[^\n]*|/\*.*?\*/"
    r"|(?P<quoted>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<sign>[=;])"
    r"|(?P<word>[\w.$-]+)",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\([0-3]?[0-7]{1,2}|.)", re.DOTALL)
_NAMED_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_FLAGS = ("required", "requisite", "sufficient", "optional")


class JaasError(ValueError):
    """Why a text is no JAAS configuration; says nothing of what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginModule:
    """One login module; `name` is its class without the package."""

    name: str
    options: Mapping[str, str] = field(repr=False)


def parse_jaas(text: str) -> LoginModule:
    """The one login module of the text; raises JaasError."""
    tokens = _tokens(text)
    if not tokens or tokens[-1] != ("sign", ";"):
        raise JaasError("it must end with a semicolon")
    (kind, name), *rest = tokens[:-1] or [("", "")]
    if kind != "word":
        raise JaasError("it must begin with the class of a login module")
    if not rest or rest[0][1].lower() not in _FLAGS:
        raise JaasError("`required` must stand behind the class of the login module")
    if ("sign", ";") in rest:
        raise JaasError("it must hold one login module")
    options: dict[str, str] = {}
    named = rest[1:]
    for at in range(0, len(named), 3):
        option = named[at : at + 3]
        if len(option) != 3 or option[1] != ("sign", "=") or "sign" in (option[0][0], option[2][0]):
            raise JaasError('its options must be written as key="value"')
        options[option[0][1]] = option[2][1]
    return LoginModule(name=name.rpartition(".")[2], options=options)


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise JaasError("a value with special characters must stand in double quotes, and quotes must be closed")
        at = match.end()
        if match.lastgroup == "quoted":
            found.append(("quoted", _ESCAPE.sub(_unescape, match["quoted"][1:-1])))
        elif match.lastgroup is not None:
            found.append((match.lastgroup, match[match.lastgroup]))
    return found


def _unescape(match: re.Match[str]) -> str:
    escaped = match[1]
    return chr(int(escaped, 8)) if escaped.isdecimal() and escaped[0] < "8" else _NAMED_ESCAPES.get(escaped, escaped)
