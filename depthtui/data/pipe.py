"""Messages between the explorer and its engine, over two streams of bytes.

The engine begins with a greeting, a line of text with its version; text printed before this line
is not a message. Each message after it is its length in eight bytes, little-endian, the bytes of
`codec.encode`, and the end of a line: Slurm passes on whole lines only. No memory is allocated
for bytes that have not arrived.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import fields
from io import FileIO
from typing import Any

from depthtui import __version__
from depthtui.data.codec import CodecError, decode, encode, types_by_name
from depthtui.data.declared import check_declared

LONGEST_MESSAGE = 1 << 30
"""Most bytes of a message: results of the longest prompts need a tenth of this."""

_GREETING = b"depthtui engine greets: "
_MOST_PRINTED = 1 << 17
"""Most bytes before the greeting, such as a server's message of the day."""

_KEPT_PRINTED = 1 << 10

_LENGTH, _END = 8, b"\n"
_AT_ONCE = 1 << 20


class BrokenConnection(Exception):
    """The other side is gone, is no engine of this version, or has sent invalid data.

    The message is empty where the other side is gone.
    """


class Pipe:
    """One side of the connection.

    Args:
        incoming, outgoing: file descriptors, which are closed with the pipe.

    Attributes:
        printed: the end of the output up to the greeting; untrusted.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        self.printed = ""
        self._incoming = FileIO(incoming, "rb")
        self._outgoing = FileIO(outgoing, "wb")
        self._sending = threading.Lock()

    def close(self) -> None:
        """Close both streams."""
        self._incoming.close()
        self._outgoing.close()

    def greet(self) -> None:
        """Send the greeting, the first output of the engine.

        Raises:
            OSError: the other side is gone.
        """
        self._write(_GREETING + json.dumps(_own_greeting()).encode() + b"\n")

    def await_greeting(self) -> None:
        """Read up to the greeting.

        Raises:
            BrokenConnection: no greeting comes, or one of another version.
        """
        printed, start = bytearray(), 0
        try:
            while len(printed) < _MOST_PRINTED:
                # Read byte by byte: bytes after the greeting's line belong to a message.
                printed += self._some(1)
                if printed.endswith(b"\n"):
                    line, start = bytes(printed[start:]), len(printed)
                    if _GREETING in line:
                        return _check_greeting(line.partition(_GREETING)[2])
        finally:
            self.printed = printed[-_KEPT_PRINTED:].decode("utf-8", "replace")
        raise BrokenConnection("It prints other things than an engine does.")

    def send(self, message: Any) -> None:
        """Send a message; safe from several threads.

        Raises:
            OSError: the other side is gone.
            CodecError: the message, or a value in it, is of no known type.
        """
        data = encode(message)
        self._write(len(data).to_bytes(_LENGTH, "little"), data, _END)

    def receive(self) -> Any:
        """Wait for the next message.

        Raises:
            BrokenConnection: the other side is gone, or sends something other than a message.
        """
        size = int.from_bytes(self._read(_LENGTH), "little")
        if size > LONGEST_MESSAGE:
            raise BrokenConnection(f"It sent a message of {size:,} bytes, more than any has.")
        data, end = self._read(size), self._read(len(_END))
        if end != _END:
            raise BrokenConnection("It sent a message of another length than it says.")
        try:
            message = decode(data)
            check_declared(message)
        except CodecError as error:
            raise BrokenConnection(f"It sent a message that cannot be read: {error}.") from error
        return message

    def _write(self, *parts: bytes) -> None:
        with self._sending:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    rest = rest[self._outgoing.write(rest) :]

    def _read(self, size: int) -> bytes:
        """Read `size` bytes, without allocating memory before they arrive."""
        parts = []
        while size:
            parts.append(self._some(min(size, _AT_ONCE)))
            size -= len(parts[-1])
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        try:
            part = self._incoming.read(size)
        except (OSError, ValueError):
            part = b""
        if not part:
            raise BrokenConnection("")
        return part


def standard_pipe() -> Pipe:
    """A pipe over standard input and output; prints go to standard error from now on."""
    pipe = Pipe(os.dup(0), os.dup(1))
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.dup2(2, 1)
    return pipe


def _own_greeting() -> dict[str, str]:
    """The version, and a digest of the fields of all messages."""
    declared = [
        f"{name}.{field.name}: {field.type}"
        for name, kind in sorted(types_by_name().items())
        for field in fields(kind)
    ]
    digest = hashlib.sha256("\n".join(declared).encode()).hexdigest()[:16]
    return {"version": __version__, "messages": digest}


def _check_greeting(line: bytes) -> None:
    if line.endswith(b"\r\n"):
        raise BrokenConnection(
            "The engine's command gives it a terminal, which changes what it sends: leave out -t."
        )
    own_greeting = _own_greeting()
    try:
        greeting = json.loads(line)
        version, messages = str(greeting["version"])[:40], greeting["messages"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BrokenConnection("The engine's greeting cannot be read.") from None
    if version != own_greeting["version"]:
        raise BrokenConnection(
            f"The engine has depthtui {version} and this explorer {own_greeting['version']}: "
            "install the same version in both places."
        )
    if messages != own_greeting["messages"]:
        raise BrokenConnection(
            f"The engine has another depthtui {version} than this explorer: "
            "install the same one in both places."
        )
