"""An engine that floods its explorer: `python -m tests.tui.evil_engine FLOOD`.

It greets, and sends one event, or prints one line, again and again.
"""

from __future__ import annotations

import os
import sys
from itertools import count

from depthtui.data.pipe import standard_pipe
from depthtui.data.protocol import Event, Failed, Notice, Progress

QUESTIONS = 2_000
"""Questions about a model's code, after which there is silence."""


def event(flood: str, number: int) -> Event:
    """One event of a flood."""
    match flood:
        case "notice":
            return Notice(f"notice {number}")
        case "long notice":
            return Notice(f"notice {number} " + "of many words " * 100_000)
        case "failed":
            return Failed(f"failure {number}")
        case "progress":
            return Progress(f"step {number}", number, 0, "steps")
    return Failed("needs code", code_in="/etc")


def main() -> None:
    flood = " ".join(sys.argv[1:])
    pipe = standard_pipe()
    pipe.greet()
    for number in count():
        if flood == "stderr":
            os.write(2, b"a line of the log, again and again\n" * 1000)
            if number == 100:
                pipe.send(Notice("the log is long"))
        elif flood == "code" and number == QUESTIONS:
            pipe.receive()
            pipe.receive()
            pipe.receive()
        else:
            pipe.send(event(flood, number))


if __name__ == "__main__":
    main()
