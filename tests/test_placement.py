"""Wherever a model's layers lie, every metric is what it is on one CPU.

Layers on one device, on two, on a device and the CPU, and offloaded to the CPU or to disk by
accelerate's own hooks. The devices are pretended (`tests/tools/second_device.py`).
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import dispatch_model
from accelerate.utils import set_module_tensor_to_device
from transformers import PreTrainedModel

import depthtui
from depthtui.data.arrays import arrays_of
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, Skip, Writing
from depthtui.data.store import open_store
from depthtui.engine import engine as engine_module
from depthtui.engine import ready_model
from depthtui.engine.engine import Engine
from depthtui.engine.tokens import tokenise
from depthtui.engine.writing import write
from depthtui.metrics.registry import METRIC_BY_NAME, METRICS, empty_result
from depthtui.models.loading import LoadedModel
from depthtui.tracing.modules import find_blocks
from tests.builders.models import tiny_model
from tests.parallel.two_ranks import WAYS
from tests.tiny_models import HIDDEN, LAYERS, TINY, with_tokenizer
from tests.tools.mutants import mutants
from tests.tools.second_device import Transfers, pretended_devices

PACKAGE = str(Path(depthtui.__file__).parent)
FIRST, SECOND = "pretend:0", "pretend:1"
PROMPT = Prompt(
    "Seven plus five is twelve, and the river was high.",
    answer=" high.",
    contrast="Seven plus five is seven, and the river was rain.",
)
BASELINE = ("The ferry did not run.", "She wound the clock.")
EVERYTHING = tuple(metric.name for metric in METRICS)
LENS_TEXTS = Path(__file__).parent.parent / "depthtui" / "prompts" / "commonsense.jsonl"
WITHOUT_GRADIENTS = tuple(name for name in EVERYTHING if name != "integrated_gradients")
"""What works on `pretend:1` too."""


pytestmark = pytest.mark.usefixtures("short_texts")


PLACEMENTS: dict[str, Callable[[PreTrainedModel, Path], PreTrainedModel]] = {}


def placement(place: Callable[[PreTrainedModel, Path], PreTrainedModel]) -> Any:
    PLACEMENTS[place.__name__] = place
    return place


@placement
def one_device(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """No hooks, which would move what the layers read."""
    for name in [*model.state_dict(), *(name for name, _ in model.named_buffers())]:
        set_module_tensor_to_device(model, name, FIRST)
    return model


@placement
def two_devices(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    return dispatch_model(model, device_map(model, [FIRST, FIRST, SECOND, SECOND]))


@placement
def device_and_cpu(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The upper half is computed on the CPU."""
    placed = device_map(model, [FIRST, FIRST, "cpu", "cpu"])
    return dispatch_model(model, placed, main_device="cpu")


@placement
def offloaded_to_cpu(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Half of the layers, and the head, come to the device for each call."""
    placed = device_map(model, [FIRST, "cpu", FIRST, "cpu"])
    return dispatch_model(model, placed, main_device=FIRST, offload_buffers=True)


@placement
def offloaded_to_disk(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    placed = device_map(model, [FIRST, "disk", "disk", FIRST])
    return dispatch_model(
        model, placed, main_device=FIRST, offload_dir=folder, offload_buffers=True
    )


def device_map(model: PreTrainedModel, layers: list[str]) -> dict[str, str]:
    """Layers as told; what the model has before them on the first one's device, the rest on the
    last one's. A head that shares the embedding's weights lies beside it."""
    names = {module: name for name, module in model.named_modules()}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = {names[head]: layers[0]} if head.weight is embedding.weight else {}
    blocks = {
        names[block]: device for block, device in zip(find_blocks(model), layers, strict=True)
    }
    prefix = next(iter(blocks)).rpartition(".")[0]
    placed: dict[str, str] = {}
    before = True
    for name, module in model.named_modules():
        if name == prefix:
            before = False
            placed |= blocks
        elif not (_is_within(name, prefix) or _is_within(prefix, name)) and _holds_tensors(module):
            placed[name] = layers[0] if before else layers[-1]
    return placed | tied


def _is_within(name: str, other: str) -> bool:
    return name.startswith(f"{other}.")


def _holds_tensors(module: torch.nn.Module) -> bool:
    own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return len(own) > 0


def ready(model: PreTrainedModel, tokenizer: Any) -> Engine:
    """An engine that finds the model loaded."""
    info = tiny_model(
        LAYERS,
        d_model=HIDDEN,
        vocab_size=len(tokenizer),
        context_length=256,
        device=str(model.device),
        heads=getattr(model.config.get_text_config(), "num_attention_heads", 0),
    )
    loaded = LoadedModel(model, tokenizer, info, {})
    store = open_store(None, 0, pytest.fail)
    engine = Engine(store, Path(), lambda event: None, baseline_texts=lambda: BASELINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "load", lambda *_args: loaded)
        patch.setattr(ready_model, "with_parameters", lambda info, *_args: info)
        engine.load(ModelSpec("tiny"))
    return engine


def measured(engine: Engine, metrics: tuple[str, ...] = EVERYTHING) -> RunResult:
    """One prompt, its gradients at places that no rounding moves."""
    settings = RunSettings(
        metrics=metrics, riemann_steps=3, lens_texts=str(LENS_TEXTS), lens_ridge=0.05
    )
    return engine.run(PROMPT, settings)


@contextmanager
def placed(name: str, place: str, folder: Path) -> Iterator[Engine]:
    """An engine with the tiny model of that name, its layers where the placement puts them."""
    model, tokenizer = with_tokenizer(name)
    # accelerate knows shared weights by their addresses, which must not be taken again.
    _held = [parameter.data for parameter in model.parameters()]
    with pretended_devices():
        yield ready(PLACEMENTS[place](model, folder), tokenizer)


@functools.cache
def plain(name: str, metrics: tuple[str, ...]) -> RunResult:
    """Metrics on one CPU, without any hooks."""
    return measured(ready(*with_tokenizer(name)), metrics)


def assert_same(found: RunResult, expected: RunResult) -> None:
    """The metrics that were asked for are the same within rounding, or unavailable for a reason."""
    for name in found.settings.metrics:
        if name in expected.unavailable:
            assert name in found.unavailable
            continue
        if name in found.unavailable:
            # Weights that are elsewhere cannot be read without a forward.
            assert "not in memory" in found.unavailable[name]
            continue
        if METRIC_BY_NAME[name].is_timed:
            continue
        for field, values in arrays_of(expected.measured[name]):
            if field == "direct" and lacks_the_head(found.measured[name]):
                assert np.isnan(found.measured[name].direct).all()
                continue
            largest = np.nan_to_num(np.abs(values)).max(initial=0)
            # The noise floor is rounding and nothing else: of a loss of some nats.
            least = 2e-5 if field in expected.measured[name].noise else 3e-6
            np.testing.assert_allclose(
                getattr(found.measured[name], field),
                values,
                # A sum is held against a difference, which may be of two near numbers.
                rtol=2e-3 if field == "completeness_error" else 2e-4,
                atol=1e-5 * largest + least,
                err_msg=f"{name}.{field}",
            )


def lacks_the_head(heads: Any) -> bool:
    """Whether heads have no direct logits since the LM head's weights are elsewhere."""
    return any("not in memory" in note for note in heads.notes)


def check(name: str, place: str, folder: Path, metrics: tuple[str, ...] = EVERYTHING) -> None:
    """Hold a placement against the plain run."""
    if place == "two_devices":
        metrics = tuple(metric for metric in metrics if metric in WITHOUT_GRADIENTS)
    expected = plain(name, metrics)
    with placed(name, place, folder) as engine:
        found = measured(engine, metrics)
    assert found.complete
    assert set(found.measured) | set(found.unavailable) == set(metrics)
    assert_same(found, expected)


CHOSEN = (
    ("llama", "two_devices", EVERYTHING),
    ("llama", "one_device", (*WAYS, "integrated_gradients")),
)
THE_REST = tuple(
    (name, place)
    for name in TINY
    for place in PLACEMENTS
    if (name, place, EVERYTHING) not in CHOSEN
)


@pytest.mark.parametrize(("name", "place", "metrics"), CHOSEN)
def test_every_metric_is_the_same_wherever_the_layers_lie(
    name: str, place: str, metrics: tuple[str, ...], tmp_path: Path
) -> None:
    check(name, place, tmp_path, metrics)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("bloom", "one_device"),  # ALiBi, modules that return the residual
        ("qwen3_next", "two_devices"),  # linear attention, experts, whole prompts only
        ("llama_tied", "device_and_cpu"),  # embedding and head share their weights
        ("gpt_oss", "offloaded_to_disk"),  # experts, sinks
    ],
)
def test_every_way_to_a_layer_is_open_wherever_it_lies(
    name: str, place: str, tmp_path: Path
) -> None:
    check(name, place, tmp_path, WAYS)


@pytest.mark.by_hand
@pytest.mark.parametrize(("name", "place"), THE_REST)
def test_every_other_architecture_and_placement(name: str, place: str, tmp_path: Path) -> None:
    check(name, place, tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        RunSettings(skipped=(Skip(1), Skip(2), Skip(3, "mlp"))),
        RunSettings(metrics=("skip_effects", "ablation"), skip_part="mlp"),
        RunSettings(metrics=("skip_effects",), skip_everywhere=True),
    ],
    ids=["what-if", "without an MLP", "without a layer everywhere"],
)
@pytest.mark.parametrize("place", ["two_devices", "device_and_cpu"])
def test_what_is_left_out_is_the_same(place: str, settings: RunSettings, tmp_path: Path) -> None:
    expected = ready(*with_tokenizer("llama")).run(PROMPT, settings)
    with placed("llama", place, tmp_path) as engine:
        assert_same(engine.run(PROMPT, settings), expected)


@pytest.mark.parametrize(
    ("name", "temperature", "place"),
    [
        ("llama", 0.8, "one_device"),
        ("llama", 0.8, "two_devices"),
        ("llama", 0, "offloaded_to_cpu"),
        ("mamba", 0, "two_devices"),
    ],
)
def test_a_text_is_the_same(name: str, temperature: float, place: str, tmp_path: Path) -> None:
    settings, writing = RunSettings(), Writing(max_tokens=4, temperature=temperature)
    expected = ready(*with_tokenizer(name)).run(PROMPT, settings, write=writing)
    with placed(name, place, tmp_path) as engine:
        found = engine.run(PROMPT, settings, write=writing)
    np.testing.assert_array_equal(found.tokens.ids, expected.tokens.ids)
    assert_same(found, expected)


LONGER = Prompt(
    f"{PROMPT.question}{PROMPT.question}{PROMPT.text}",
    PROMPT.answer,
    contrast=f"{PROMPT.question}{PROMPT.question}{PROMPT.question.replace('river', 'ferry')} rain.",
)
MOST_WAITS = {
    "contributions": 16,  # one of each layer: whether its squares overflow
    "logit_lens": 20,
    "similarity": 12,
    "neighbours": 12,
    "direct_logits": 8,
    "settling": 4,
    "ablation": 24,  # in four parts
    "skip_effects": 30,
    "residual_erasure": 24,
    "integrated_gradients": 16,
    "kept": 30,  # a queue tries pieces one by one
    "parts": 38,  # twice as many pieces as layers
    "kept_heads": 90,  # four times as many
    "heads": 36,  # most of them to hold what a layer writes against its parts
}
"""How often the CPU may wait for a GPU: a few times a layer, never once a token."""


ABSENT = ("adapter", "engine_distance", "experts", "task_guess")
"""Metrics of what this model has not: an adapter, states of another engine, experts."""


WITHOUT_LENS_OR_TIME = tuple(
    name
    for name in EVERYTHING
    if not (METRIC_BY_NAME[name].lens_kind or METRIC_BY_NAME[name].is_timed)
)
"""Metrics that fit no lens and time nothing."""


@pytest.fixture(scope="module")
def on_one_device() -> Engine:
    model, tokenizer = with_tokenizer("llama")
    with pretended_devices():
        engine = ready(one_device(model, Path()), tokenizer)
        # The baseline, and the orders of pieces, which are computed once for a model.
        measured(engine, ("residual_erasure", "kept", "parts", "kept_heads"))
    return engine


@pytest.mark.parametrize("metric", [name for name in WITHOUT_LENS_OR_TIME if name not in ABSENT])
def test_a_gpu_seldom_waits(metric: str, on_one_device: Engine) -> None:
    transfers = Transfers(PACKAGE)
    with pretended_devices(transfers):
        settings = RunSettings(metrics=(metric,), riemann_steps=3)
        result = on_one_device.run(LONGER, settings)
    assert metric in result.measured, result.unavailable
    most = MOST_WAITS.get(metric, 24)
    assert 0 < transfers.waits.total() <= most, dict(transfers.waits)
    assert most < len(result.tokens) or metric == "kept_heads"
    assert transfers.uploads.total() <= 4 * len(result.tokens), dict(transfers.uploads)


def test_a_gpu_seldom_waits_while_a_text_is_written(on_one_device: Engine) -> None:
    model, question = on_one_device.freed_model(), PROMPT.unanswered
    tokens = tokenise(model.loaded.tokenizer, question, False, model.vocabulary)
    text = empty_result(model.info, question, RunSettings(), tokens)
    with pretended_devices():
        write(model, text, Writing(max_tokens=1))
    transfers = Transfers(PACKAGE)
    with pretended_devices(transfers):
        write(model, text, Writing(max_tokens=6))
    assert 0 < transfers.waits.total() <= 8 * 6, dict(transfers.waits)


def test_every_move_can_be_deleted() -> None:
    """What `python -m tests.tools.mutants` tries one by one."""
    found = [*mutants()]
    assert len(found) > 30
    for mutant in {mutant.path: mutant for mutant in found}.values():
        ast.parse(mutant.source)
        assert mutant.source != Path(PACKAGE, "..", mutant.path).read_text("utf-8")


class TestPretendedDevices:
    """A device that notices nothing would make the tests above true of any code."""

    def test_tensors_of_two_devices_do_not_mix(self) -> None:
        with pretended_devices():
            here, there = torch.ones(2, device=FIRST), torch.ones(2, device=SECOND)
            for other in (there, torch.ones(2)):
                with pytest.raises(RuntimeError, match="on the same device"):
                    here + other
            assert (here + there.to(FIRST)).sum().item() == 4
            assert (here + torch.tensor(1.0)).sum().item() == 4

    def test_its_values_are_not_numpys(self) -> None:
        with pretended_devices(), pytest.raises(RuntimeError, match="numpy"):
            torch.ones(2, device=FIRST).numpy()

    def test_a_move_shares_no_memory(self) -> None:
        with pretended_devices():
            here = torch.zeros(2)
            there = here.to(FIRST)
            here += 1
            assert there.sum().item() == 0

    def test_transfers_are_counted_where_they_are_asked_for(self) -> None:
        transfers = Transfers(__file__)
        with pretended_devices(transfers):
            there = torch.ones(3).to(FIRST)
            there.cpu()
            bool(there.sum() > 2)
        assert transfers.uploads.total() == 1
        assert transfers.waits.total() == 2
        assert len(transfers.waits) == 2
