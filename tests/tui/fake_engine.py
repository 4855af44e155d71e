"""The scripted engine as a process of its own: `python -m tests.tui.fake_engine`.

It prints a message of the day first, as a server does.
"""

from __future__ import annotations

from depthtui.data.pipe import BrokenConnection, standard_pipe
from depthtui.tui.messages import EngineEvent, EngineMessage
from tests.builders.engines import FakeEngine


def main() -> None:
    print("Welcome to gpu!", flush=True)
    pipe = standard_pipe()
    pipe.greet()
    print("Loading extension modules")
    engine = FakeEngine()

    def post(message: EngineMessage) -> None:
        assert isinstance(message, EngineEvent)
        pipe.send(message.event)

    engine.start(post)
    while True:
        try:
            engine.send(pipe.receive())
        except BrokenConnection:
            return


if __name__ == "__main__":
    main()
