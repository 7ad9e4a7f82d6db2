"""Principals are renamed and users set as the manifest says; a password stands in no manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmigrate.errors import ManifestError
from kmigrate.manifest import load_manifest, read_passwords

HEAD = """\
apiVersion: kmigrate/v1
kind: Migration
metadata: {name: m}
spec:
  source: {properties: {bootstrap.servers: "a:1"}}
  target: {properties: {bootstrap.servers: "b:1"}}
"""
USERS = """\
  principals: {"User:app": "User:CN=app,O=new"}
  users:
    app: {mechanism: SCRAM-SHA-256, password: "${env:APP}"}
    batch: {mechanism: SCRAM-SHA-512, password: "${file:batch.txt}", iterations: 8192}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "m.yaml"
    path.write_text(HEAD + text)
    return path


def problems(folder: Path, text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifest(write(folder, text), environ={})
    return str(caught.value)


def test_passwords_are_read_when_they_are_needed(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path, USERS), environ={})
    assert manifest.principals == {"User:app": "User:CN=app,O=new"}
    assert (manifest.users["app"].iterations, manifest.users["batch"].iterations) == (4096, 8192)
    (tmp_path / "batch.txt").write_text("two\n")
    assert read_passwords(manifest, environ={"APP": "one"}) == {"app": "one", "batch": "two"}


def test_every_reference_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path, USERS), environ={})
    with pytest.raises(ManifestError) as caught:
        read_passwords(manifest, environ={})
    assert "spec.users.app.password: environment variable 'APP' is not set" in str(caught.value)
    assert "spec.users.batch.password: file 'batch.txt' cannot be read" in str(caught.value)
    (tmp_path / "batch.txt").write_text("\n")
    with pytest.raises(ManifestError, match="leads to nothing"):
        read_passwords(manifest, environ={"APP": "one"})


def test_a_password_in_the_manifest_is_refused_and_not_repeated(tmp_path: Path) -> None:
    told = problems(tmp_path, "  users: {app: {mechanism: SCRAM-SHA-256, password: sesame}}\n")
    assert "m.yaml:7: spec.users.app.password must be ${env:NAME} or ${file:path}" in told
    assert "sesame" not in told
    half = problems(tmp_path, '  users: {app: {mechanism: SCRAM-SHA-256, password: "sesame${env:X}"}}\n')
    assert "sesame" not in half


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("  principals: {app: User:x}\n", "must be a principal as Kafka writes it: User:name"),
        ('  principals: {"User:app": ":x"}\n', "must be a principal"),
        ("  users: {app: {mechanism: PLAIN, password: '${env:X}'}}\n", "SCRAM-SHA-256"),
        ("  users: {app: {mechanism: SCRAM-SHA-256, password: '${env:X}', iterations: 5}}\n", "at least 4096"),
        ("  users: {app: {mechanism: SCRAM-SHA-256}}\n", "spec.users.app.password is missing"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, told: str) -> None:
    assert told in problems(tmp_path, text)


def test_no_repr_shows_a_reference(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path, USERS), environ={})
    assert "env:APP" not in repr(manifest)
