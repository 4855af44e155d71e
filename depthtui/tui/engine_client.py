"""The explorer's end of the engine process.

The engine is a command that is started here, and never imported: the terminal process stays free of
torch, and the command may also reach another machine. Two daemon threads move the bytes: the reader
turns them into messages for the app, the writer keeps a busy engine from blocking a key press.
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
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from depthtui.data.protocol import Command, Progress
from depthtui.tui.engine_logs import keep_log, last_line, last_line_of, open_log, remove
from depthtui.tui.messages import EngineDied, EngineEvent
from depthtui.tui.state.engine_connection import EngineDeath, Post

if TYPE_CHECKING:
    from depthtui.data.pipe import Pipe

DEATH_GRACE = 2.0
"""Seconds for an engine that closed its pipe to exit by itself."""

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
        log: a new file for the output of the engine and its native libraries; removed with the
            engine, unless the engine crashed.
        command: the command that runs the engine, and passes on its standard input and output.

    Attributes:
        killed: whether `kill` ended it.
    """

    def __init__(self, log: Path, command: Sequence[str] = LOCAL_COMMAND) -> None:
        self.log = log
        self.killed = False
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._post: Post = lambda message: None

    @property
    def pid(self) -> int:
        """The process id of the command, or -1 before `start`."""
        return self._process.pid if self._process else -1

    def start(self, post: Post) -> None:
        self._post = post
        their_input, outgoing = os.pipe()
        incoming, their_output = os.pipe()
        try:
            with open_log(self.log) as log:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=their_input,
                    stdout=their_output,
                    stderr=log,
                    # Without a terminal, programs such as ssh cannot ask questions over the screen.
                    start_new_session=True,
                )
        except OSError:
            remove(self.log)
            os.close(outgoing)
            os.close(incoming)
            raise
        finally:
            os.close(their_input)
            os.close(their_output)
        ends = incoming, outgoing
        threading.Thread(target=self._read, args=ends, name="engine-reader", daemon=True).start()

    def send(self, command: Command) -> None:
        self._commands.put(command)

    def kill(self) -> None:
        self.killed = True
        self._commands.put(None)
        if self._process is not None:
            self._end_group()
            remove(self.log)

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
            while True:
                self._post_unless_killed(EngineEvent(self, pipe.receive()))
        except BrokenConnection as error:
            self._commands.put(None)
            printed = pipe.printed if writer.ident is None else ""
            self._post_unless_killed(EngineDied(self, self._death(str(error), printed)))

    def _report_waiting(self, incoming: int) -> None:
        """Report the command's output while no data comes, such as that a job is queued."""
        last_words = ""
        while not select.select([incoming], [], [], _QUIET)[0]:
            words = last_line(self.log) or "Waiting for the engine"
            if words != last_words and not self.killed:
                last_words = words
                self._post(EngineEvent(self, Progress(words, 0, 0, "")))

    def _write(self, pipe: Pipe) -> None:
        with contextlib.suppress(OSError):
            while (command := self._commands.get()) is not None:
                pipe.send(command)

    def _post_unless_killed(self, message: Message) -> None:
        if not self.killed:
            self._post(message)

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
            self._end_group()
            code, had_time = self._process.wait(), True
        words = last_line(self.log)
        if words and had_time:
            return EngineDeath(code, words, str(keep_log(self.log)), problem)
        remove(self.log)
        return EngineDeath(code, words or last_line_of(printed), "", problem)

    def _end_group(self) -> None:
        """Kill the command and every process that it has started."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
