"""References name a secret instead of holding it: `${env:NAME}` and `${file:path}`.

Rule: what cannot be resolved is told, never passed on as text. `$${` stands for a plain `${`; a `${` that is
followed by no `word:` is plain text, since passwords may contain it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmigrate.manifest.files import read_limited

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<kind>[A-Za-z]+):(?P<name>[^}]*)(?P<end>\}?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A text with its references put in; `secret` says whether there were any."""

    value: str
    secret: bool

    def __repr__(self) -> str:
        return f"Resolved(value={'***' if self.secret else self.value!r}, secret={self.secret})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unresolved:
    """One reason for each reference that leads nowhere."""

    reasons: tuple[str, ...]


def resolve_references(written: str, *, folder: Path, environ: Mapping[str, str]) -> Resolved | Unresolved:
    """The text with every reference replaced; a relative `${file:…}` starts from `folder`."""
    reasons: list[str] = []
    secret = False

    def replace(match: re.Match[str]) -> str:
        nonlocal secret
        if match["kind"] is None:
            return "${"
        secret = True
        kind, name = match["kind"], match["name"]
        if not match["end"]:
            reasons.append(f"the reference ${{{kind}:… has no closing brace")
        elif kind == "env":
            if name in environ:
                return environ[name]
            reasons.append(f"environment variable {name!r} is not set")
        elif kind == "file":
            try:
                return _read_secret(folder / name)
            except OSError as error:
                reasons.append(f"file {name!r} cannot be read: {error.strerror}")
            except UnicodeDecodeError:
                reasons.append(f"file {name!r} is not UTF-8 text")
        else:
            reasons.append(f"${{{kind}:…}} is no reference: write ${{env:…}} or ${{file:…}}, and $${{ for a plain ${{")
        return ""

    value = _REFERENCE.sub(replace, written)
    if reasons:
        return Unresolved(reasons=tuple(reasons))
    return Resolved(value=value, secret=secret)


def _read_secret(path: Path) -> str:
    """The file's text without the newline that an editor leaves at its end."""
    text = read_limited(path).decode("utf-8")
    return text.removesuffix("\n").removesuffix("\r")
