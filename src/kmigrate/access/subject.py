"""Whose a certificate is, in the words of Kafka's default principal builder: those of Java's RFC 2253.  (pure)

Java writes the last part of the subject first, with the keywords that RFC 2253 knows; any other attribute is its
dotted number and the hexadecimal digits of its value, an e-mail address among them.

References: RFC 5280 §4.1, X.690 (DER); `sun.security.x509.AVA.toRFC2253String`; `DefaultKafkaPrincipalBuilder`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

_CERTIFICATE = re.compile(r"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END", re.DOTALL)
_SEQUENCE, _SET, _OID, _VERSION = 0x30, 0x31, 0x06, 0xA0
_KEYWORDS = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}
_TEXTS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1B: "ascii", 0x1E: "utf-16-be"}
"""Tags of texts, and how their bytes are read."""
_ESCAPED = ',=+<>#;"\\'


class NoSubject(ValueError):
    """Why no subject can be told; holds nothing of the text."""


def subject_of(pem: str) -> str:
    """The subject of the first certificate in a PEM text, `CN=app,OU=shop,C=DE`; raises NoSubject."""
    match = _CERTIFICATE.search(pem)
    if match is None:
        raise NoSubject("it holds no certificate")
    try:
        return _subject(base64.b64decode("".join(match[1].split()), validate=True))
    except (binascii.Error, IndexError, StopIteration, UnicodeDecodeError, ValueError):
        raise NoSubject("its certificate cannot be read") from None


class _Item(NamedTuple):
    tag: int
    body: bytes
    whole: bytes


def _subject(der: bytes) -> str:
    certificate = next(_items(der))
    fields = list(_items(next(_items(certificate.body)).body))
    serial, _algorithm, _issuer, _validity, subject = fields[fields[0].tag == _VERSION :][:5]
    if subject.tag != _SEQUENCE or serial.tag != 0x02:
        raise ValueError("no certificate")
    parts = [each for each in _items(subject.body) if each.tag == _SET]
    return ",".join("+".join(map(_attribute, _items(part.body))) for part in reversed(parts))


def _items(data: bytes) -> Iterator[_Item]:
    """The DER items that lie one behind another; IndexError where one is cut off."""
    at = 0
    while at < len(data):
        length, body = data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length, body = int.from_bytes(data[body : body + count], "big"), body + count
        end = body + length
        if end > len(data):
            raise IndexError("cut off")
        yield _Item(data[at], data[body:end], data[at:end])
        at = end


def _attribute(item: _Item) -> str:
    kind, value = _items(item.body)
    if kind.tag != _OID:
        raise ValueError("no attribute")
    number = _dotted(kind.body)
    keyword = _KEYWORDS.get(number)
    if keyword is None or value.tag not in _TEXTS:
        return f"{keyword or number}=#{value.whole.hex()}"
    return f"{keyword}={_escaped(value.body.decode(_TEXTS[value.tag]))}"


def _dotted(body: bytes) -> str:
    numbers: list[int] = []
    number = 0
    for byte in body:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - first * 40, *numbers[1:])))


def _escaped(text: str) -> str:
    lead = len(text) - len(text.lstrip(" \r"))
    trail = len(text.rstrip(" \r"))
    return "".join(
        "\\00" if letter == "\0" else f"\\{letter}" if letter in _ESCAPED or not lead <= at < trail else letter
        for at, letter in enumerate(text)
    )
