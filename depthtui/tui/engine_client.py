"""The explorer's end of the engine process.

The engine is a command that is started here, and never imported: the terminal process stays free of
torch, and the command may also reach another machine. Daemon threads move the bytes: the reader
turns them into messages for the app, and waits while the app has many to handle; the writer keeps a
busy engine from blocking a key press; a third one reads the log.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from depthtui.data.protocol import Command, Event, Progress, with_short_words
from depthtui.tui.messages import EngineDied, EngineEvent
from depthtui.tui.process_logs import ProcessLog, last_line_of
from depthtui.tui.signals import end_group
from depthtui.tui.state.engine_connection import EngineDeath, Post

if TYPE_CHECKING:
    from depthtui.data.pipe import Pipe

DEATH_GRACE = 2.0
"""Seconds for an engine that closed its pipe to exit by itself."""

MOST_UNHANDLED = 32
"""Most events that wait in the app's queue, where keys come behind them."""

_BREATH = 1 / 60
"""Seconds without events for an app that was behind: a flood does not keep a core busy."""

_QUIET = 0.5
"""Seconds without data after which the reason of the wait is shown."""

# -P: no module of the folder that depthtui was started in is imported.
LOCAL_COMMAND = (sys.executable, "-P", "-m", "depthtui.service.worker")
"""The command of the engine on this machine."""


def engine_over(ranks: int) -> tuple[str, ...]:
    """The command of the engine on this machine with this many ranks, started by torchrun."""
    if ranks == 1:
        return LOCAL_COMMAND
    python, *module = LOCAL_COMMAND
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks))
    return (python, "-P", *launcher, *module[1:])


class EngineClient:
    """Runs the engine in a process group of its own.

    Args:
        command: the command that runs the engine, and passes on its standard input and output.

    Attributes:
        killed: whether `kill` ended it.
        log: the output of the engine and its native libraries.
    """

    def __init__(self, command: Sequence[str] = LOCAL_COMMAND) -> None:
        self.killed = False
        self.log = ProcessLog()
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._post: Post = lambda message: None
        self._posted = self._handled = 0
        self._may_post = threading.Condition()

    @property
    def pid(self) -> int:
        """The process id of the command, or -1 before `start`."""
        return self._process.pid if self._process else -1

    def start(self, post: Post) -> None:
        self._post = post
        their_input, outgoing = os.pipe()
        incoming, their_output = os.pipe()
        their_log = self.log.open()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=their_input,
                stdout=their_output,
                stderr=their_log,
                # Without a terminal, programs such as ssh cannot ask questions over the screen.
                start_new_session=True,
            )
        except OSError:
            os.close(outgoing)
            os.close(incoming)
            raise
        finally:
            os.close(their_input)
            os.close(their_output)
            os.close(their_log)
        ends = incoming, outgoing
        self._reader = threading.Thread(target=self._read, args=ends, name="engine-reader")
        self._reader.daemon = True
        self._reader.start()

    def send(self, command: Command) -> None:
        self._commands.put(command)

    def kill(self) -> None:
        self.killed = True
        self._commands.put(None)
        if self._process is not None:
            end_group(self._process)
        with self._may_post:
            self._may_post.notify_all()

    def _read(self, incoming: int, outgoing: int) -> None:
        from depthtui.data.pipe import BrokenConnection, Pipe

        pipe = Pipe(incoming, outgoing)
        # Commands are sent only once the command has proved to be an engine.
        writer = threading.Thread(target=self._write, args=(pipe,), name="engine-writer")
        writer.daemon = True
        try:
            self._report_waiting(incoming)
            pipe.await_greeting()
            writer.start()
            while not self.killed:
                self._post_event(with_short_words(pipe.receive()))
        except BrokenConnection as error:
            self._commands.put(None)
            printed = pipe.printed if writer.ident is None else ""
            death = self._death(str(error), printed)
            if not self.killed:
                self._post(EngineDied(self, death))

    def _report_waiting(self, incoming: int) -> None:
        """Report the command's output while no data comes, such as that a job is queued."""
        last_words = ""
        while not select.select([incoming], [], [], _QUIET)[0]:
            words = self.log.last_line() or "Waiting for the engine"
            if words != last_words:
                last_words = words
                self._post_event(Progress(words, 0, 0, ""))

    def _write(self, pipe: Pipe) -> None:
        with contextlib.suppress(OSError):
            while (command := self._commands.get()) is not None:
                pipe.send(command)

    def _post_event(self, event: Event) -> None:
        """Post an event, unless the engine is killed; wait first where the app is behind."""
        if self._posted - self._handled >= MOST_UNHANDLED:
            with self._may_post:
                self._may_post.wait_for(lambda: self.killed or self._posted == self._handled)
            time.sleep(_BREATH)
        if not self.killed:
            self._posted += 1
            self._post(EngineEvent(self, event, partial(self._was_handled, self._posted)))

    def _was_handled(self, number: int) -> None:
        """Note that the app has handled an event, and all before it."""
        with self._may_post:
            self._handled = number
            self._may_post.notify()

    def _death(self, problem: str, printed: str) -> EngineDeath:
        """Reap the command; kill it if it is no engine or lingers.

        Args:
            problem: the error of the command; empty where it closed its pipe.
            printed: its output in place of a greeting.
        """
        assert self._process is not None
        try:
            code = self._process.wait(0 if problem else DEATH_GRACE)
            # A killed process has no time to log a reason.
            had_time = code != -signal.SIGKILL
        except subprocess.TimeoutExpired:
            had_time = True
        # Processes that it has started may outlive it.
        end_group(self._process)
        code = self._process.wait()
        self.log.wait_for_end()
        words = self.log.last_line()
        if words and had_time:
            return EngineDeath(code, words, self.log.write(), problem)
        return EngineDeath(code, words or last_line_of(printed), "", problem)
