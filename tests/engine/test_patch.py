"""Patching through the engine: which text it is from, what the cache keeps, what is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, PatchedCell, RunSettings
from depthtui.data.store import open_store
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError, RunStopped
from depthtui.metrics.context import Context
from depthtui.metrics.patch import Patch
from depthtui.metrics.registry import OF_THE_PASS
from tests.tiny_models import tiny_folder

SETTINGS = RunSettings(metrics=("patch",))
PROMPT = Prompt("The ferry did not run, and seven plus five is twelve.", " twelve.")
SOURCE = "The river did not run, and seven plus five is seven."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture
def engine(folder: Path, tmp_path: Path) -> Engine:
    store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
    engine = Engine(store, tmp_path / "models", lambda event: None, on_bug=_raise)
    engine.load(ModelSpec(str(folder), device="cpu"))
    return engine


def _raise(error: Exception) -> None:
    raise error


def patched(result: RunResult) -> Patch:
    patch = result.get(Patch)
    assert patch is not None, result.unavailable
    return patch


def test_a_named_text_goes_before_the_prompts_contrast(engine: Engine) -> None:
    named = engine.run(PROMPT, replace(SETTINGS, patch_from=SOURCE))
    patch = patched(named)
    assert patch.is_whole
    assert (patch.source, patch.answers) == (SOURCE, (" seven", " twelve"))
    assert (patch.at, patch.at_texts) == ((1, 2), (" fer", "ry"))
    assert patch.where == "' ferry'"
    assert named.source is not None
    assert patch.place == 12
    contrasting = replace(PROMPT, contrast=SOURCE)
    np.testing.assert_array_equal(
        patched(engine.run(contrasting, SETTINGS)).recovered, patch.recovered
    )
    other = "The ferry did not run, and twelve plus five is seven."
    from_other = patched(engine.run(contrasting, replace(SETTINGS, patch_from=other)))
    assert from_other.at_texts == (" seven",)


def test_a_source_without_an_answer_has_the_models_own(engine: Engine) -> None:
    question = SOURCE.removesuffix(" seven.")
    patch = patched(engine.run(PROMPT, replace(SETTINGS, patch_from=question)))
    assert patch.answers[1] == " twelve"
    assert patch.place == 12
    bare = Prompt(PROMPT.question)
    patch = patched(engine.run(bare, replace(SETTINGS, patch_from=question)))
    assert patch.margins[1] <= 0 <= patch.margins[0]


def test_a_chat_template_wraps_both(engine: Engine) -> None:
    settings = replace(SETTINGS, patch_from=SOURCE, chat_template=True)
    result = engine.run(PROMPT, settings)
    assert result.source is not None
    assert result.source.texts[0] == result.tokens.texts[0] == "<|im_start|>"
    assert patched(result).answers[1] == "t"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "there is no text to patch from"),
        ("The river.", "the source has 4 tokens and the prompt 15 tokens, 13 without its answer"),
        (PROMPT.text, "the two prompts do not differ: both have the same answer"),
    ],
)
def test_what_cannot_be_patched_says_why(engine: Engine, source: str, reason: str) -> None:
    result = engine.run(PROMPT, replace(SETTINGS, patch_from=source))
    assert result.get(Patch) is None
    assert result.unavailable["patch"].startswith(reason)
    assert result.complete


def test_a_source_that_cannot_be_read_costs_the_metric_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object) -> None:
        raise DepthError("The tokenizer makes no token of this prompt.", "Type another text.")

    monkeypatch.setattr("depthtui.engine.run_checks.tokenise_source", fails)
    settings = RunSettings(metrics=("contributions", "patch"), patch_from=SOURCE)
    result = engine.run(PROMPT, settings)
    assert "contributions" in result.measured
    assert result.unavailable == {
        "patch": "The tokenizer makes no token of this prompt. Type another text"
    }


def test_the_cache_tells_sources_and_parts_apart(engine: Engine) -> None:
    def run(**choices: str) -> tuple[RunResult, int]:
        before = len(computed)
        result = engine.run(PROMPT, replace(SETTINGS, **choices))
        return result, len(computed) - before

    computed: list[str] = []
    compute = _counting(computed)
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr("depthtui.metrics.patch.compute.compute", compute)
        first, times = run(patch_from=SOURCE)
        assert times == 1
        again, times = run(patch_from=SOURCE)
        assert times == 0
        np.testing.assert_array_equal(patched(first).recovered, patched(again).recovered)
        attention, times = run(patch_from=SOURCE, patch_part="attention")
        assert times == 1
        assert patched(attention).part == "attention"
        _, times = run(patch_from="The ferry did not run, and twelve plus five is seven.")
        assert times == 1


def _counting(computed: list[str]) -> Callable[[Context, Patch | None], Patch]:
    from depthtui.metrics.patch.compute import compute

    def counted(context: Context, partial: Patch | None) -> Patch:
        computed.append("once")
        return compute(context, partial)

    return counted


def test_a_stopped_run_goes_on_where_it_was(engine: Engine) -> None:
    settings = replace(SETTINGS, patch_from=SOURCE)
    whole = patched(engine.run(PROMPT, settings, fresh=True))

    class StopsLate(Control):
        left = 90

        def checkpoint(self) -> None:
            self.left -= 1
            if not self.left:
                raise RunStopped

    other = replace(settings, patch_part="mlp")
    stopped = engine.run(PROMPT, other, StopsLate())
    assert not stopped.complete
    part = patched(stopped)
    assert part.is_known.any()
    assert not part.is_whole
    rest = patched(engine.run(PROMPT, other))
    fresh = patched(engine.run(PROMPT, other, fresh=True))
    np.testing.assert_array_equal(rest.recovered, fresh.recovered)
    np.testing.assert_array_equal(rest.differing, fresh.differing)
    assert not np.array_equal(rest.recovered, whole.recovered)


def test_a_run_with_a_state_put_in_answers_as_the_map_says(engine: Engine) -> None:
    from_source = replace(SETTINGS, patch_from=SOURCE)
    of_pair = engine.run(PROMPT, from_source)
    of_map = patched(of_pair)
    assert of_pair.source is not None
    ours, theirs = (int(each.ids[of_map.place + 1]) for each in (of_pair.source, of_pair.tokens))
    for layer, token in ((0, 2), (2, of_map.place)):
        cell = PatchedCell(layer, token)
        settings = replace(from_source, patched=(cell,), metrics=OF_THE_PASS, lens_top_k=400)
        result = engine.run(PROMPT, settings)
        lens = result.get(LogitLens)
        assert lens is not None
        chances = dict(
            zip(
                lens.top_ids[-1, of_map.place].tolist(),
                lens.top_probabilities[-1, of_map.place].tolist(),
                strict=True,
            )
        )
        margin = np.log(chances[ours] / chances[theirs])
        share = (margin - of_map.margins[1]) / (of_map.margins[0] - of_map.margins[1])
        assert share == pytest.approx(of_map.recovered[layer, token], abs=1e-3)
        # The lens reads what was put in.
        clean = engine.run(PROMPT, replace(settings, patched=())).get(LogitLens)
        assert clean is not None
        assert lens.entropy[layer, token] != clean.entropy[layer, token]
        np.testing.assert_array_equal(lens.entropy[:layer], clean.entropy[:layer])
    again = engine.run(PROMPT, settings)
    assert again.provenance is not None
    assert again.provenance.cached
    other = engine.run(PROMPT, replace(settings, patched=(PatchedCell(1, 2),)))
    assert other.provenance is not None
    assert not other.provenance.cached


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (RunSettings(patched=(PatchedCell(0, 1),)), "there is no text to patch from"),
        (RunSettings(patched=(PatchedCell(0, 99),), patch_from=SOURCE), "There is no token 99"),
        (RunSettings(patched=(PatchedCell(9, 1),), patch_from=SOURCE), "There is no layer 9"),
        (RunSettings(patched=(PatchedCell(0, 1),), patch_from="Short"), "has 5 tokens"),
    ],
)
def test_a_state_that_is_not_there_is_refused(
    engine: Engine, settings: RunSettings, words: str
) -> None:
    with pytest.raises(DepthError, match=words):
        engine.run(PROMPT, settings)
