"""The engine of the explorer over two ranks that torchrun starts."""

from __future__ import annotations

import queue
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from depthtui.data.protocol import (
    Configure,
    Continue,
    Failed,
    Halted,
    InspectLayer,
    LayerInspected,
    LoadModel,
    ModelLoaded,
    RunFinished,
    StartRun,
    Step,
)
from depthtui.data.run_settings import ModelSpec, RunSettings, Writing
from depthtui.tui.engine_client import LOCAL_COMMAND, EngineClient, engine_over
from tests.parallel.two_ranks import PROMPT
from tests.tiny_models import tiny_folder


def test_torchrun_starts_an_engine_over_ranks() -> None:
    assert engine_over(1) == LOCAL_COMMAND
    assert " ".join(engine_over(4)).endswith(
        "torch.distributed.run --standalone --nproc-per-node 4 -m depthtui.service.worker"
    )


@pytest.mark.by_hand
def test_every_command_is_done_by_all_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def wait_for(kind: type) -> Any:
        while True:
            event = events.get(timeout=60).event
            if isinstance(event, kind):
                return event

    client = EngineClient(tmp_path / "log", engine_over(2))
    client.start(events.put)
    try:
        client.send(Configure(str(tmp_path), str(tmp_path / "models"), 1 << 30))
        client.send(LoadModel(ModelSpec(str(tiny_folder(tmp_path)), tensor_parallel=2)))
        assert wait_for(ModelLoaded).model.spec.tensor_parallel == 2
        client.send(StartRun(1, PROMPT, RunSettings(), step=True))
        assert wait_for(Halted).layer == 0
        # The other rank is in the run: it looks once that is done.
        client.send(InspectLayer(1, PROMPT, RunSettings(), 1, 3, "logit"))
        client.send(Step())
        assert wait_for(Halted).layer == 1
        client.send(Continue())
        assert wait_for(RunFinished).result.complete
        assert wait_for(LayerInspected).inspection.layer == 1
        client.send(StartRun(2, PROMPT, RunSettings(), write=Writing(max_tokens=4)))
        assert wait_for(RunFinished).result.prompt.written
        client.send(LoadModel(ModelSpec(str(tiny_folder(tmp_path, "gpt2")))))
        assert "no tensor parallel plan" in wait_for(Failed).message
        ranks = psutil.Process(client.pid).children(recursive=True)
        assert len(ranks) >= 2
    finally:
        client.kill()
    end = time.monotonic() + 30
    while any(rank.is_running() for rank in ranks):
        assert time.monotonic() < end, "a rank is left behind"
        psutil.wait_procs(ranks, timeout=1)
