"""The scripted engine as a process of its own: `python -m tests.tui.fake_engine`.

It prints a message of the day first, as a server does, and keeps what it computes in `there`, a
folder beside the explorer's cache.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from depthtui.data.pipe import BrokenConnection, standard_pipe
from depthtui.data.protocol import Configure, StartSweep
from depthtui.tui.messages import EngineEvent, EngineMessage
from tests.builders.engines import FakeEngine


def main() -> None:
    print("Welcome to gpu!", flush=True)
    pipe = standard_pipe()
    pipe.greet()
    print("Loading extension modules")
    engine = FakeEngine(saves=True)

    def post(message: EngineMessage) -> None:
        assert isinstance(message, EngineEvent)
        pipe.send(message.event)

    engine.start(post)
    while True:
        try:
            command = pipe.receive()
        except BrokenConnection:
            return
        match command:
            case Configure(cache_dir=cache):
                there = Path(cache).parent / "there"
                command = replace(command, cache_dir=str(there))
            case StartSweep(folder=folder):
                command = replace(command, folder=str(there / Path(folder).name))
        engine.send(command)


if __name__ == "__main__":
    main()
