"""application/vnd.amazon.eventstream: messages of the SageMaker runtime API, with their checksums.

Layout (big-endian): total length, headers length, CRC-32 of these eight bytes; headers; payload;
CRC-32 of everything before it. Header: name length (1), name, type (1), value; only strings (type 7,
two bytes of length) are written, all types are read past.
"""
import struct
import zlib

MAX_HEADERS = 128 << 10
MAX_PAYLOAD = 24 << 20
SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


class BadMessage(Exception):
    pass


def encode(headers, payload=b""):
    head = b"".join(bytes([len(k)]) + k.encode() + b"\x07" + struct.pack(">H", len(v.encode())) + v.encode()
                    for k, v in headers.items())
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return message + struct.pack(">I", zlib.crc32(message))


def part(data):
    return encode({":message-type": "event", ":event-type": "PayloadPart",
                   ":content-type": "application/octet-stream"}, data)


def exception(kind, payload):
    return encode({":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"},
                  payload)


def read_headers(data):
    out, at = {}, 0
    while at < len(data):
        n = data[at]
        name = data[at + 1:at + 1 + n].decode()
        kind = data[at + 1 + n]
        at += 2 + n
        if kind in (6, 7):
            n, = struct.unpack_from(">H", data, at)
            at += 2
        elif kind in SIZES:
            n = SIZES[kind]
        else:
            raise BadMessage(f"header {name!r} of type {kind}")
        if name in out or at + n > len(data):
            raise BadMessage(f"header {name!r}: twice, or cut short")
        out[name] = data[at:at + n].decode() if kind == 7 else data[at:at + n]
        at += n
    return out


class Decoder:
    """Takes bytes in any pieces; gives (headers, payload) of whole messages."""

    def __init__(self):
        self.data = b""

    def feed(self, data):
        self.data += data
        while len(self.data) >= 12:
            total, n_headers, crc = struct.unpack(">III", self.data[:12])
            if zlib.crc32(self.data[:8]) != crc:
                raise BadMessage("checksum of the prelude")
            if n_headers > MAX_HEADERS or not 16 + n_headers <= total <= 16 + n_headers + MAX_PAYLOAD:
                raise BadMessage("lengths")
            if len(self.data) < total:
                return
            message, self.data = self.data[:total], self.data[total:]
            if zlib.crc32(message[:-4]) != struct.unpack(">I", message[-4:])[0]:
                raise BadMessage("checksum of the message")
            yield read_headers(message[12:12 + n_headers]), message[12 + n_headers:-4]
