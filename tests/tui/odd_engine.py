"""A child process for tests of the engine client: `python -m tests.tui.odd_engine`.

What it does with each command is in the command's `cache_dir`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import count

from depthtui.data.pipe import standard_pipe
from depthtui.data.protocol import Notice


def main() -> None:
    pipe = standard_pipe()
    pipe.greet()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        match pipe.receive().cache_dir:
            case "say":
                pipe.send(Notice("hello"))
            case "say much":
                pipe.send(Notice("of many words " * 100_000))
            case "print":
                os.write(1, b"to stdout\n")
                os.write(2, b"CUDA error: [/] \x1b[2J\n=====\n\n")
                pipe.send(Notice("printed"))
            case "babble":
                os.write(2, b"a line of the log\n" * 10_000)
                pipe.send(Notice("babbled"))
            case "count":
                for number in count():
                    pipe.send(Notice(str(number)))
            case "orphan":
                pipe.send(Notice(str(subprocess.Popen(["sleep", "600"]).pid)))
            case "exit":
                sys.exit(3)
            case "garbage":
                pipe._write(b"no such thing")
            case "close":
                pipe.close()
                signal.pause()
            case "deaf":
                signal.pause()


if __name__ == "__main__":
    main()
