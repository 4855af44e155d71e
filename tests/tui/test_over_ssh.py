"""The explorer and a real model over a real sshd of this machine, whose session is killed."""

from __future__ import annotations

import getpass
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from depthtui.data.run_settings import ModelSpec
from depthtui.tui.state.phase import Phase
from depthtui.tui.state.session import RunState
from tests.tiny_models import tiny_folder
from tests.tui.app_helpers import Explored, explore

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
PATIENCE = 60.0


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[psutil.Popen]:
    """A server that lets one key in; the configuration of its client is `ssh_config`."""
    for name in ("host", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nPidFile none\n"
        f"AuthorizedKeysFile {tmp_path}/key.pub\nStrictModes no\nUsePAM no\n"
    )
    (tmp_path / "ssh_config").write_text(
        f"Host gpu\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
        f" IdentityFile {tmp_path}/key\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {tmp_path}/known\n StrictHostKeyChecking accept-new\n"
    )
    if getpass.getuser() == "root":
        Path("/run/sshd").mkdir(exist_ok=True)
    server = psutil.Popen([SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")])
    end = time.monotonic() + PATIENCE
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert time.monotonic() < end, "sshd does not listen"
    yield server
    server.terminate()
    server.wait()


@pytest.mark.by_hand
@pytest.mark.skipif(not Path(SSHD).exists(), reason="there is no sshd here")
async def test_a_session_goes_on_after_its_connection_was_killed(
    tmp_path: Path, sshd: psutil.Popen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    engine = f"env DEPTHTUI_CACHE_DIR={tmp_path}/there {sys.executable} -m depthtui engine"
    command = shlex.join(["ssh", "-F", f"{tmp_path}/ssh_config", "gpu", engine])
    spec = ModelSpec(str(tiny_folder(tmp_path)), device="cpu")
    async with explore(tmp_path, spec=spec, engine_command=command, wait=False) as it:
        await until(it, Phase.READY)
        await it.ready()
        behind = sshd.children(recursive=True)
        there = [found for found in behind if "engine" in found.cmdline()]
        for found in behind:
            if found.name().startswith("sshd"):
                found.kill()
        await until(it, Phase.DEAD)
        assert "It exited with status 255." in it.app.explorer.engine.problem.message
        await it.press("r")
        await until(it, Phase.READY)
        assert [run.state for run in it.session.runs] == [RunState.FINISHED]
        assert not psutil.wait_procs(there, PATIENCE)[1]
        await it.press("r", until=lambda: len(it.session.runs) == 2)
        await until(it, Phase.READY)
        assert it.session.current.state is RunState.FINISHED


async def until(it: Explored, phase: Phase) -> None:
    """Wait as long as a real model takes."""
    end = time.monotonic() + PATIENCE
    while it.app.explorer.phase is not phase:
        assert time.monotonic() < end, it.app.explorer.phase
        await it.pilot.pause(0.05)
