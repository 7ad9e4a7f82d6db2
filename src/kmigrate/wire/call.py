"""One request and what its answer means; the only module that touches the codec library's machinery.

A `Call` carries no connection: `encode` gives the bytes to send, `decode` the value of the answer. The library
builds its messages from Kafka's own schemas (clients/src/main/resources/common/message).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kmigrate.wire.error_codes import ErrorCode
from kmigrate.wire.library import ApiVersionsRequest, ApiVersionsResponse, name_of_error
from kmigrate.wire.varints import skip_tags

T = TypeVar("T")
_REQUEST_HEADER = struct.Struct(">ihhih")
"""Size of what follows, api key, version, correlation id, length of the client id."""
_VERSIONS_HEAD = struct.Struct(">hi")
"""Error code, number of ranges."""
_VERSION_RANGE = struct.Struct(">hhh")
_NAMES = {code.value: code.name for code in ErrorCode}

VersionRanges = Mapping[int, tuple[int, int]]
"""What a broker offers: api key → (lowest, highest) version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """A request to a broker.

    `what` names it in messages to users; `build` gets the version and returns the library's message; `parse` turns the
    library's answer into our value.
    """

    what: str
    request: type[Any]
    response: type[Any]
    oldest: int
    newest: int
    build: Callable[[int], Any]
    parse: Callable[[Any], T]

    @property
    def api_key(self) -> int:
        return int(self.request.API_KEY)

    def version(self, offered: VersionRanges) -> int | None:
        """The highest version both sides speak, or None."""
        lowest, highest = offered.get(self.api_key, (0, -1))
        version = min(self.newest, highest)
        return version if version >= max(self.oldest, lowest) else None

    def encode(self, version: int, correlation_id: int, client_id: str) -> bytes:
        """The framed request."""
        message = self.build(version)
        message.API_VERSION = version
        message.with_header(correlation_id=correlation_id, client_id=client_id)
        return bytes(message.encode(header=True, framed=True))

    def decode(self, version: int, answer: memoryview | bytes) -> T:
        """The value of an answer that begins with its correlation id (the frame's length already removed)."""
        return self.parse(self.response.decode(memoryview(bytes(answer)), version=version, header=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class HandCall(Call[T]):
    """A request that is made so often, or first, that it is laid out and read by hand, in its newest version.

    `lay_out` gives the request's body, `read` the value of an answer's body; `is_flexible` says that both headers end
    with tagged fields (KIP-482). `build` and `parse` do the same by the library: what both must agree on, and how
    brokers are asked that offer older versions only.
    """

    key: int
    is_flexible: bool
    lay_out: Callable[[], bytes]
    read: Callable[[memoryview], T]

    @property
    def api_key(self) -> int:
        return self.key

    def encode(self, version: int, correlation_id: int, client_id: str) -> bytes:
        """The framed request."""
        if version != self.newest:
            return Call.encode(self, version, correlation_id, client_id)
        name, body = client_id.encode(), self.lay_out()
        tags = b"\0" if self.is_flexible else b""
        size = _REQUEST_HEADER.size - 4 + len(name) + len(tags) + len(body)
        return _REQUEST_HEADER.pack(size, self.api_key, version, correlation_id, len(name)) + name + tags + body

    def decode(self, version: int, answer: memoryview | bytes) -> T:
        """The value of an answer that begins with its correlation id; raises ValueError if it is cut or too long."""
        if version != self.newest:
            return Call.decode(self, version, answer)
        view = memoryview(answer)
        try:
            return self.read(view[skip_tags(view, 4) :] if self.is_flexible else view[4:])
        except (struct.error, IndexError) as error:
            raise ValueError(f"it ends early: {error}") from error


def check_end(body: memoryview, end: int) -> None:
    """Raises ValueError unless an answer ends where it should."""
    if end != len(body):
        raise ValueError(f"it is {len(body)} bytes long, {end} of which were expected")


def api_versions() -> Call[tuple[int, VersionRanges]]:
    """Asks a broker which versions of which requests it offers: (error code, ranges)."""
    return HandCall(
        what="ApiVersions",
        request=ApiVersionsRequest,
        response=ApiVersionsResponse,
        key=18,
        oldest=0,
        newest=0,
        build=lambda _version: ApiVersionsRequest(),
        parse=lambda answer: (
            answer.error_code,
            {key.api_key: (key.min_version, key.max_version) for key in answer.api_keys},
        ),
        is_flexible=False,
        lay_out=lambda: b"",
        read=_read_api_versions,
    )


def _read_api_versions(body: memoryview) -> tuple[int, VersionRanges]:
    error, count = _VERSIONS_HEAD.unpack_from(body, 0)
    end = _VERSIONS_HEAD.size + max(0, count) * _VERSION_RANGE.size
    check_end(body, end)
    return error, {key: (low, high) for key, low, high in _VERSION_RANGE.iter_unpack(body[_VERSIONS_HEAD.size : end])}


def error_name(code: int) -> str:
    """Kafka's name for a numeric error code, as Kafka's own Errors.java spells it where we decide on it."""
    if code in _NAMES:
        return _NAMES[code]
    return name_of_error(code) or f"ERROR_{code}"
