"""A child process for tests of the engine client: `python -m tests.tui.odd_engine FD`.

What it does with each command is in the command's `cache_dir`.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection

from depthtui.data.codec import decode, encode
from depthtui.data.protocol import Notice


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        match decode(connection.recv_bytes()).cache_dir:
            case "say":
                connection.send_bytes(encode(Notice("hello")))
            case "print":
                os.write(1, b"to stdout\n")
                os.write(2, b"CUDA error: [/] \x1b[2J\n\n")
                connection.send_bytes(encode(Notice("printed")))
            case "exit":
                sys.exit(3)
            case "garbage":
                connection.send_bytes(b"no such thing")
            case "close":
                connection.close()
                signal.pause()
            case "deaf":
                signal.pause()


if __name__ == "__main__":
    main()
