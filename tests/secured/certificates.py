"""An authority of a test's own, made with `openssl`; brokers and clients read its PEM files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = ("DNS:localhost", "IP:127.0.0.1")

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout")
_CA_CONFIG = """\
[ca]
default_ca = own
[own]
database = index.txt
serial = serial.txt
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """A certificate and its key, each in a file, and both in one as Java's PEM key store wants them."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates; `certificate` is what trusts them all."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        _openssl(
            folder, "req", "-x509", "-nodes", *_KEY, "ca.key", "-out", "ca.pem", "-days", "2", "-subj", f"/CN={name}"
        )
        (folder / "ca.cnf").write_text(_CA_CONFIG)

    def issue(
        self, name: str, *, names: Sequence[str] = (), password: str | None = None, expired: bool = False
    ) -> KeyPair:
        """A certificate for /CN=name that lists `names`; `password` encrypts its key."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "index.txt").write_text("")
        (folder / "serial.txt").write_text("1000\n")
        extensions = f"subjectAltName={','.join(names)}\n" if names else "basicConstraints=CA:FALSE\n"
        (folder / "extensions").write_text(extensions)
        locked = ("-passout", f"pass:{password}") if password else ("-nodes",)
        _openssl(folder, "req", *locked, *_KEY, "key.pem", "-out", "request.pem", "-subj", f"/CN={name}")
        dates = ("-startdate", "200101000000Z", "-enddate", "200102000000Z") if expired else ("-days", "2")
        ours = ("-config", "../ca.cnf", "-cert", str(self.certificate), "-keyfile", str(self._key))
        _openssl(
            folder,
            *("ca", "-batch", "-notext", *ours, *dates, "-extfile", "extensions"),
            *("-in", "request.pem", "-out", "certificate.pem"),
        )
        both = folder / "both.pem"
        both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
        return KeyPair(certificate=folder / "certificate.pem", key=folder / "key.pem", both=both)


def _openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    assert program is not None, "tests of TLS need the `openssl` command on the PATH"
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {' '.join(arguments)}:\n{done.stderr}"
