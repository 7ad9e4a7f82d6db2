"""A broker that only acknowledges: what the copier costs when the target costs nothing.

It stands before a real broker of an empty topic and hands everything on but two requests. Produce is answered at once
and its records are dropped; ListOffsets tells the ends as if they had been kept. Run as `python -m bench.sink PORT`,
where PORT is the broker's; the first line that it prints is its own port. It ends with its standard input.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections import defaultdict
from types import TracebackType
from typing import Self

from kafka.protocol.consumer.offsets import ListOffsetsRequest, ListOffsetsResponse

from kmigrate.wire import calls, produce

_HOST = "127.0.0.1"
_SIZE = struct.Struct(">i")
_REQUEST = struct.Struct(">hhih")
_INTEGERS = struct.Struct(">ii")
_LAST_OFFSET_DELTA = 23
_BATCH_HEAD_BYTES = 12
_LIST_OFFSETS = 2
_PART = struct.Struct(">ihqqqih")
_NEVER = -1

Ends = defaultdict[tuple[bytes, int], int]


class Sink:
    """The process as a context manager; `port` is where it listens."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sink", str(self._broker_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # closes its standard input


def answer_produce(request: memoryview, ends: Ends) -> bytes:
    """The framed answer to a framed-off Produce request of version 8, as if every batch had been appended."""
    _key, version, correlation_id, length = _REQUEST.unpack_from(request)
    if version != produce.VERSION:
        raise ValueError(f"Produce of version {version} is not understood")
    at = _REQUEST.size + max(0, length) + 2 + 2 + 4  # no transactional id, acks, time-out
    (topics,) = _SIZE.unpack_from(request, at)
    at += 4
    body = _INTEGERS.pack(correlation_id, topics)
    for _ in range(topics):
        name_length = int.from_bytes(request[at : at + 2], "big")
        topic = bytes(request[at + 2 : at + 2 + name_length])
        at += 2 + name_length
        (parts,) = _SIZE.unpack_from(request, at)
        at += 4
        body += len(topic).to_bytes(2, "big") + topic + parts.to_bytes(4, "big")
        for _ in range(parts):
            index, size = _INTEGERS.unpack_from(request, at)
            at += 8
            base = ends[topic, index]
            ends[topic, index] = base + _count_offsets(request[at : at + size])
            at += size
            body += _PART.pack(index, 0, base, _NEVER, 0, 0, _NEVER)
    body += bytes(4)
    return _SIZE.pack(len(body)) + body


def _count_offsets(batches: memoryview) -> int:
    count, at = 0, 0
    while at < len(batches):
        (size,) = _SIZE.unpack_from(batches, at + 8)
        count += _SIZE.unpack_from(batches, at + _LAST_OFFSET_DELTA)[0] + 1
        at += _BATCH_HEAD_BYTES + size
    return count


def answer_list_offsets(request: memoryview, ends: Ends) -> bytes:
    """The framed answer to a framed-off ListOffsets request: every log starts at 0."""
    _key, version, correlation_id, _length = _REQUEST.unpack_from(request)
    asked = ListOffsetsRequest.decode(request, version=version, header=True)
    topic_class = ListOffsetsResponse.ListOffsetsTopicResponse
    answer = ListOffsetsResponse(
        version=version,
        throttle_time_ms=0,
        topics=[
            topic_class(
                name=topic.name,
                partitions=[
                    topic_class.ListOffsetsPartitionResponse(
                        partition_index=part.partition_index,
                        error_code=0,
                        timestamp=_NEVER,
                        offset=ends[topic.name.encode(), part.partition_index] if part.timestamp == calls.LATEST else 0,
                        leader_epoch=0,
                    )
                    for part in topic.partitions
                ],
            )
            for topic in asked.topics
        ],
    )
    answer.with_header(correlation_id=correlation_id)
    return bytes(answer.encode(header=True, framed=True))


def _serve(client: socket.socket, broker_port: int, ends: Ends) -> None:
    buffer = bytearray(64 << 20)
    with client, socket.create_connection((_HOST, broker_port)) as broker:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (request := _receive(client, buffer)) is not None:
            key = int.from_bytes(request[:2], "big")
            if key == produce.API_KEY:
                client.sendall(answer_produce(request, ends))
            elif key == _LIST_OFFSETS:
                client.sendall(answer_list_offsets(request, ends))
            else:
                broker.sendall(_SIZE.pack(len(request)))
                broker.sendall(request)
                answer = _receive(broker, buffer)
                if answer is None:
                    return
                client.sendall(_SIZE.pack(len(answer)))
                client.sendall(answer)


def _receive(link: socket.socket, buffer: bytearray) -> memoryview | None:
    """One message without its length; None at the end."""
    head = link.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        return None
    view = memoryview(buffer)[: _SIZE.unpack(head)[0]]
    have = 0
    while have < len(view):
        got = link.recv_into(view[have:])
        if not got:
            return None
        have += got
    return view


def main(arguments: list[str]) -> None:
    """Serves until standard input ends."""
    ends: Ends = defaultdict(int)
    listener = socket.create_server((_HOST, 0))
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, int(arguments[0]), ends), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
