"""Depth while a model trains."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from transformers import Trainer, TrainingArguments

from depthtui import DepthCallback, DepthLog, analyze
from depthtui.errors import DepthError
from tests.tiny_models import draw_weights, fresh, tiny_tokenizer

PROMPTS = ["Seven plus five is twelve.", "The ferry did not run, and she wound the clock."]
METRICS = ("contributions", "logit_lens")
STEPS = 30


def new_model() -> Any:
    """A small Llama whose training draws random numbers in every pass."""
    model = fresh("llama")
    model.resize_token_embeddings(len(tiny_tokenizer()), mean_resizing=False)
    draw_weights(model, seed=1)
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
        layer.mlp = nn.Sequential(layer.mlp, nn.Dropout(0.1))
    return model.requires_grad_(True)


class Texts(torch.utils.data.Dataset):
    def __init__(self, count: int) -> None:
        tokens = torch.Generator().manual_seed(3)
        size = len(tiny_tokenizer())
        self.ids = torch.randint(size, (count, 16), generator=tokens)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


def trained(folder: Path, *callbacks: Any) -> tuple[Any, list[Any]]:
    """A model after a few steps, and the random numbers that come next."""
    model = new_model()
    arguments = TrainingArguments(
        str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=2,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        seed=11,
    )
    Trainer(model, arguments, train_dataset=Texts(40), callbacks=list(callbacks)).train()
    return model, [random.random(), np.random.random(), float(torch.rand(1))]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Any]]:
    return trained(tmp_path_factory.mktemp("plain"))


def test_training_is_the_same_bit_for_bit(
    plain: tuple[Any, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def analyze_by_chance(*values: Any, **options: Any) -> Any:
        random.random(), np.random.random(), torch.rand(1)
        return analyze(*values, **options)

    monkeypatch.setattr("depthtui.training.analyze", analyze_by_chance)
    depth = DepthCallback(PROMPTS, tiny_tokenizer(), every=10, metrics=METRICS)
    model, drawn = trained(tmp_path, depth)
    for (name, ours), theirs in zip(
        model.state_dict().items(), plain[0].state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    assert drawn == plain[1]
    assert list(depth.log.history) == [0, 10, 20, 30]
    assert all(numbers["seconds"] > 0 for numbers in depth.log.history.values())
    assert model.training


def test_the_numbers_are_those_of_the_model_at_that_step(
    plain: tuple[Any, list[Any]], tmp_path: Path
) -> None:
    board = tmp_path / "board"
    depth = DepthCallback(
        PROMPTS,
        tiny_tokenizer(),
        every=STEPS,
        metrics=METRICS,
        log=f"tensorboard={board}",
        curves=("entropy", "layer_norm_ratio"),
    )
    trained(tmp_path, depth)
    model = plain[0]
    runs = analyze(model, PROMPTS, tiny_tokenizer(), METRICS, progress=False)
    entropy = np.concatenate([run.logit_lens.entropy for run in runs], axis=1)
    (of_run,) = board.iterdir()
    events = EventAccumulator(str(of_run), {"scalars": 0})
    events.Reload()
    assert {f"curves/layer_norm_ratio/{layer}" for layer in range(4)} <= {*events.Tags()["scalars"]}
    logged = {event.step: event.value for event in events.Scalars("curves/layer_norm_ratio/2")}
    ratios = np.concatenate([run.contributions.layer_norm_ratio for run in runs], axis=1)
    assert logged.keys() == {0, STEPS}
    assert logged[STEPS] == pytest.approx(ratios[2].mean(), rel=1e-5)
    numbers = depth.log.history[STEPS]
    assert numbers["curves/entropy/3"] == pytest.approx(entropy[3].mean(), rel=1e-5)
    assert "curves/kl/3" not in numbers


def test_gradients_stay_in_a_loop_of_ones_own() -> None:
    model = new_model().train()
    ids = Texts(2).ids
    model(input_ids=ids, labels=ids).loss.backward()
    before = {name: value.grad.clone() for name, value in model.named_parameters()}
    with DepthLog(PROMPTS, tiny_tokenizer(), METRICS) as depth:
        wrapped = nn.Module.__new__(nn.parallel.DistributedDataParallel)
        nn.Module.__init__(wrapped)
        wrapped.module = model
        assert depth(wrapped, 7) is depth.history[7]
    assert model.training
    for name, value in model.named_parameters():
        assert torch.equal(value.grad, before[name])


def test_a_failure_costs_the_measurement_alone(
    plain: tuple[Any, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*values: Any, **options: Any) -> None:
        raise DepthError("There is too little memory.")

    monkeypatch.setattr("depthtui.training.analyze", fail)
    depth = DepthCallback(PROMPTS, tiny_tokenizer(), every=20, metrics=METRICS)
    with pytest.warns(UserWarning, match="The depth at step 20 is not known: There is too little"):
        model, _ = trained(tmp_path, depth)
    assert torch.equal(model.lm_head.weight, plain[0].lm_head.weight)
    assert depth.log.history == {}


def test_other_ranks_measure_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    depth = DepthCallback(PROMPTS, tiny_tokenizer(), every=1)

    class State:
        is_world_process_zero = False
        global_step = 3

    depth.on_step_end(None, State(), None, model=None)  # type: ignore[arg-type]
    assert depth.log.history == {}


def test_a_wrong_choice_is_refused_before_the_training() -> None:
    with pytest.raises(DepthError, match="There is no tracker 'comet'"):
        DepthCallback(PROMPTS, tiny_tokenizer(), log="comet")
    with pytest.raises(DepthError, match="There is no metric named kepd"):
        DepthCallback(PROMPTS, tiny_tokenizer(), metrics=["kepd"])
    with pytest.raises(DepthError, match="There is no option chat"):
        DepthCallback(PROMPTS, tiny_tokenizer(), chat=True)
    with pytest.raises(DepthError, match="lens_top_k must be"):
        DepthCallback(PROMPTS, tiny_tokenizer(), lens_top_k="ten")
    with pytest.raises(DepthError, match="dtype: only for a model that is loaded by name"):
        DepthCallback(PROMPTS, tiny_tokenizer(), dtype="bfloat16")
    with pytest.raises(ValueError, match="1 or more steps"):
        DepthCallback(PROMPTS, tiny_tokenizer(), every=0)


def test_analysis_alone_does_not_import_the_trainer() -> None:
    program = "import depthtui.api, sys; print('transformers.trainer_callback' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert output.strip() == "False"


warnings.filterwarnings("ignore", message=".*pin_memory.*")
