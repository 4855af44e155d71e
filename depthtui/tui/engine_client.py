"""The explorer's end of the engine process.

The engine is started as a module by name and never imported here, so that the
terminal process stays free of torch. Two daemon threads move the bytes: the
reader turns them into messages for the app, the writer keeps a busy engine
from blocking a key press.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from textual.message import Message

from depthtui.data.protocol import Command
from depthtui.tui.engine_logs import keep, last_line, open_log, remove
from depthtui.tui.messages import EngineDied, EngineEvent
from depthtui.tui.state.engine import EngineDeath, Post

DEATH_GRACE = 2.0
"""Seconds that an engine which closed its pipe gets to exit by itself."""


class EngineClient:
    """Runs the engine in a child process of its own session.

    Args:
        log: a new file for whatever the child and its native libraries print; it goes with the
            child, unless that crashed.
        module: the module to run; it receives a file descriptor as its argument.

    Attributes:
        killed: whether `kill` ended it.
    """

    def __init__(self, log: Path, module: str = "depthtui.service.worker") -> None:
        self.log = log
        self.killed = False
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._post: Post = lambda message: None

    @property
    def pid(self) -> int:
        """The child's process id, or -1 before `start`."""
        return self._process.pid if self._process else -1

    def start(self, post: Post) -> None:
        self._post = post
        ours, theirs = socket.socketpair()
        with theirs, open_log(self.log) as log:
            self._process = subprocess.Popen(
                # -P: no module of the folder that depthtui was started in is imported.
                [sys.executable, "-P", "-m", self._module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        connection = Connection(ours.detach())
        for name, target in (("engine-reader", self._read), ("engine-writer", self._write)):
            threading.Thread(target=target, args=(connection,), name=name, daemon=True).start()

    def send(self, command: Command) -> None:
        self._commands.put(command)

    def kill(self) -> None:
        self.killed = True
        self._commands.put(None)
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            remove(self.log)

    def _read(self, connection: Connection) -> None:
        from depthtui.data.codec import CodecError, decode

        try:
            while True:
                event = decode(connection.recv_bytes())
                self._post_unless_killed(EngineEvent(self, event))
        except (EOFError, OSError, CodecError):
            self._commands.put(None)
            self._post_unless_killed(EngineDied(self, self._death()))

    def _write(self, connection: Connection) -> None:
        from depthtui.data.codec import encode

        with contextlib.suppress(OSError):
            while (command := self._commands.get()) is not None:
                connection.send_bytes(encode(command))

    def _post_unless_killed(self, message: Message) -> None:
        if not self.killed:
            self._post(message)

    def _death(self) -> EngineDeath:
        """Reap the child; one that lingers after closing its pipe is no use any more."""
        assert self._process is not None
        try:
            code = self._process.wait(DEATH_GRACE)
            # Whoever is killed has no time for a word about it.
            tells = code != -signal.SIGKILL
        except subprocess.TimeoutExpired:
            self._process.kill()
            code, tells = self._process.wait(), True
        words = last_line(self.log)
        if words and tells:
            return EngineDeath(code, words, str(keep(self.log)))
        remove(self.log)
        return EngineDeath(code, words)
