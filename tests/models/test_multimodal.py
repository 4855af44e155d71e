"""Models whose only class reads images or sounds beside text: their text decoder is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from depthtui.data.lens import LogitLens
from depthtui.data.protocol import Notice
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine import surgery
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError
from depthtui.metrics.contributions import Contributions
from depthtui.models.weight_loading import _check_all_is_used
from tests.naive import naive_contributions, naive_lens, naive_writes
from tests.tools.small_types import LAYERS, small_folder, small_model

KINDS = (
    "qwen3_vl",  # positions along three axes
    "mistral3",  # another model's text decoder and vision tower, by their configurations
    "llava",
    "aria",  # experts
    "qwen2_audio",
    "voxtral",
)

TEXT = "The ferry did not run, and seven plus five is twelve."


def engine_on(folder: Path) -> Engine:
    engine = Engine(open_store(None, 0, pytest.fail), folder.parent, lambda event: None)
    engine.load(ModelSpec(str(folder), device="cpu"))
    return engine


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_decoder_is_measured_as_by_ordinary_forwards(kind: str, tmp_path: Path) -> None:
    engine = engine_on(small_folder(tmp_path, kind))
    info = engine.model
    assert info is not None
    assert (info.n_layers, info.split_missing, info.lens_missing) == (LAYERS, "", "")
    result = engine.run(Prompt(TEXT), RunSettings(lens_top_k=6))
    assert result.unavailable == {}
    model, ids = small_model(kind), torch.from_numpy(result.tokens.ids)[None]
    expected = naive_contributions(*naive_writes(model, ids), parallel=False)
    contributions = result.get(Contributions)
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(contributions, name), values, atol=2e-4, rtol=2e-4)
    lens = result.get(LogitLens)
    for name, values in naive_lens(model, ids, 6).items():
        if name in ("kl", "entropy", "next_log_probability"):
            np.testing.assert_allclose(getattr(lens, name), values, atol=2e-4, rtol=2e-4)


def test_a_layers_page_heads_and_patching_work_in_a_text_decoder(tmp_path: Path) -> None:
    engine = engine_on(small_folder(tmp_path, "qwen3_vl"))
    other = TEXT.replace("ferry", "river")
    settings = RunSettings(metrics=("heads", "patch", "skip_effects"), patch_from=other)
    result = engine.run(Prompt(TEXT), settings)
    assert set(result.measured) == set(settings.metrics), result.unavailable
    page = engine.inspect(Prompt(TEXT), RunSettings(), 1, -1)
    assert page.heads
    assert max(page.closure.values()) < 1e-4


@pytest.mark.parametrize(
    "kind",
    [
        "mistral3",
        "kimi_k25",  # its files call the layers blocks
        "dots3_note_text",  # heads of several sizes, told by the number of the layer
        "qwen2_5_omni",  # what speaks is left aside
    ],
)
def test_a_layer_of_a_text_decoder_can_be_left_out_for_good(kind: str, tmp_path: Path) -> None:
    engine = engine_on(small_folder(tmp_path, kind))
    assert engine.model is not None
    written = surgery.prune(engine, [1], tmp_path / "pruned")
    assert (written.layers, written.off) == ((0, 2, 3), 0)
    again = engine_on(tmp_path / "pruned").model
    assert again is not None
    assert (again.n_layers, again.architecture) == (3, engine.model.architecture)


def test_loading_says_that_images_and_sounds_are_left_aside(tmp_path: Path) -> None:
    events: list[object] = []
    folder = small_folder(tmp_path, "voxtral")
    engine = Engine(open_store(None, 0, pytest.fail), tmp_path, events.append)
    engine.load(ModelSpec(str(folder), device="cpu"))
    sentence = "tiny-voxtral reads images or sounds too; it is measured on text alone."
    assert Notice(sentence) in events


def test_what_a_model_speaks_with_may_stay_unused() -> None:
    model = small_model("qwen2_5_omni")
    _check_all_is_used(Path("omni"), model, {"talker.model.x.weight", "token2wav.y.weight"})
    with pytest.raises(DepthError, match="holds 1 weight"):
        _check_all_is_used(Path("omni"), model, {"thinker.talkers.weight"})


def test_a_model_of_another_task_stays_refused(tmp_path: Path) -> None:
    folder = small_folder(tmp_path, "llava")
    config = (folder / "config.json").read_text()
    named = config.replace("LlavaForConditionalGeneration", "LlavaForSequenceClassification")
    (folder / "config.json").write_text(named)
    with pytest.raises(DepthError, match="made for another task"):
        engine_on(folder)
