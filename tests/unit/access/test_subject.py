"""Subjects are printed as Java prints them: the expected texts are what its X500Principal.getName said of the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kmigrate.access.subject import NoSubject, subject_of


def certificate(folder: Path, subject: str) -> str:
    program = shutil.which("openssl")
    assert program is not None, "tests of TLS need the `openssl` command on the PATH"
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", "key.pem")
    command = [program, "req", "-x509", "-utf8", "-nodes", *key, "-out", "c.pem", "-multivalue-rdn", "-subj", subject]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return (folder / "c.pem").read_text()


@pytest.mark.parametrize(
    ("subject", "printed"),
    [
        ("/CN=copier", "CN=copier"),
        (
            "/C=DE/ST=Bayern/L=Nürnberg/O=Shop, Inc./CN=the copier",
            "CN=the copier,O=Shop\\, Inc.,L=Nürnberg,ST=Bayern,C=DE",
        ),
        ("/DC=org/DC=example/UID=u1/CN= lead and trail ", "CN=\\ lead and trail\\ ,UID=u1,DC=example,DC=org"),
        (
            "/CN=x/emailAddress=a@b.org/serialNumber=17",
            "2.5.4.5=#13023137,1.2.840.113549.1.9.1=#16076140622e6f7267,CN=x",
        ),
        ('/CN=q"u\\\\o<t>e;#=/O=#x', 'O=\\#x,CN=q\\"u\\\\o\\<t\\>e\\;\\#\\='),
        ("/OU=one+CN=two/O=three", "O=three,CN=two+OU=one"),
        ("/title=Dr/CN=n/street=Main 1/GN=Given", "2.5.4.42=#0c05476976656e,STREET=Main 1,CN=n,2.5.4.12=#0c024472"),
    ],
)
def test_a_subject_is_printed_as_java_prints_it(tmp_path: Path, subject: str, printed: str) -> None:
    assert subject_of(certificate(tmp_path, subject)) == printed


def test_the_first_of_several_certificates_counts(tmp_path: Path) -> None:
    leaf, issuer = certificate(tmp_path, "/CN=leaf"), certificate(tmp_path, "/CN=issuer")
    key = (tmp_path / "key.pem").read_text()
    assert subject_of(f"{key}Bag Attributes\n{leaf}{issuer}") == "CN=leaf"


def test_what_is_no_certificate_has_no_subject(tmp_path: Path) -> None:
    whole = certificate(tmp_path, "/CN=copier")
    lines = whole.splitlines()
    cut = "\n".join([lines[0], lines[1], lines[-1]])
    broken = whole.replace(lines[1], "#" * 64)
    for text in ("", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", cut, broken):
        with pytest.raises(NoSubject):
            subject_of(text)
