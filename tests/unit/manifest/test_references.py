"""References are replaced, escaped ones are not, and what leads nowhere is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmigrate.manifest.files import MAX_FILE_BYTES
from kmigrate.manifest.references import Resolved, Unresolved, resolve_references

ENVIRON = {"USER_NAME": "ann", "EMPTY": "", "NESTED": "${env:USER_NAME}"}


@pytest.mark.parametrize(
    ("written", "value", "secret"),
    [
        ("plain", "plain", False),
        ("${env:USER_NAME}", "ann", True),
        ("<${env:USER_NAME}|${env:EMPTY}>", "<ann|>", True),
        ("${env:NESTED}", "${env:USER_NAME}", True),  # what a secret holds is not looked into
        ("$${env:USER_NAME}", "${env:USER_NAME}", False),
        ("pa${ss $x $$ {}", "pa${ss $x $$ {}", False),
    ],
)
def test_a_text_is_resolved(tmp_path: Path, written: str, value: str, secret: bool) -> None:
    resolved = resolve_references(written, folder=tmp_path, environ=ENVIRON)
    assert resolved == Resolved(value=value, secret=secret)


@pytest.mark.parametrize(
    ("content", "value"), [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("a\nb\n\n", "a\nb\n"), ("", "")]
)
def test_a_file_loses_the_newline_at_its_end(tmp_path: Path, content: str, value: str) -> None:
    (tmp_path / "pw").write_text(content, newline="")
    for written in ("${file:pw}", f"${{file:{tmp_path / 'pw'}}}"):
        assert resolve_references(written, folder=tmp_path, environ={}) == Resolved(value=value, secret=True)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("${env:NOPE}", "environment variable 'NOPE' is not set"),
        ("${env:}", "environment variable '' is not set"),
        ("${file:nope}", "file 'nope' cannot be read: No such file or directory"),
        ("${file:}", "file '' cannot be read: Is a directory"),
        ("${file:a\0b}", "file 'a\\x00b' cannot be read: not a path"),
        ("${file:binary}", "file 'binary' is not UTF-8 text"),
        ("${file:huge}", f"file 'huge' cannot be read: larger than {MAX_FILE_BYTES} bytes"),
        ("${env:NOPE", "the reference ${env:… has no closing brace"),
        ("${vault:x}", "${vault:…} is no reference: write ${env:…} or ${file:…}, and $${ for a plain ${"),
    ],
)
def test_what_leads_nowhere_is_named(tmp_path: Path, written: str, reason: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert resolve_references(written, folder=tmp_path, environ=ENVIRON) == Unresolved(reasons=(reason,))


def test_every_reference_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    outcome = resolve_references("${env:A}${env:USER_NAME}${env:B}", folder=tmp_path, environ=ENVIRON)
    assert isinstance(outcome, Unresolved)
    assert len(outcome.reasons) == 2


def test_a_resolved_secret_is_not_printed(tmp_path: Path) -> None:
    assert "ann" not in repr(resolve_references("${env:USER_NAME}", folder=tmp_path, environ=ENVIRON))
