"""Run, sweep, written answer, `analyze` and explorer give the same results of the same prompts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from depthtui.data.arrays import arrays_of
from depthtui.data.run import Prompt
from depthtui.data.run_settings import LENSES, ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.reading import reading_of
from depthtui.depth.token_depths import depths_of_run
from depthtui.engine.engine import Engine
from depthtui.engine.lenses import LensChoice
from depthtui.prompts.tasks import TASKS, baseline_texts, make_prompts
from tests.engine.test_writing import measured_again, ready, written
from tests.one_truth import (
    CASES,
    EVERY_METRIC,
    FEW,
    MOUTHS,
    READINGS,
    THRESHOLDS,
    Results,
    answer,
    covers,
    differences,
    prompts_of,
    reading_id,
    rows_of_runs,
    run,
    run_means,
    sweep_means,
)
from tests.tiny_models import CORPUS, fresh, tiny_folder

by_reading = pytest.mark.parametrize("settings", FEW, ids=reading_id)


def check(found: object, expected: object, settings: SummarySettings) -> None:
    """See that nothing differs in a reading."""
    differing = [f"{reading_id(settings)} {each}" for each in differences(found, expected)]
    assert not differing, "\n".join(differing)


def disagreements(
    results: Results, mouths: Iterable[str], *readings: SummarySettings, of_sweep: bool = True
) -> list[str]:
    """Where mouths differ from a run, and means of a sweep from a run's, in words."""
    differing = []
    for settings in readings:
        expected = run(results, settings)
        pairs = [(mouth, MOUTHS[mouth](results, settings), expected) for mouth in mouths]
        if of_sweep:
            pairs.append(("means", sweep_means(results, settings), run_means(results, settings)))
        differing += [
            f"{mouth} {reading_id(settings)} {each}"
            for mouth, found, there in pairs
            for each in differences(found, there)
        ]
    return differing


@pytest.mark.parametrize(
    ("name", "readings"),
    [
        *((name, (FEW[place % len(FEW)],)) for place, name in enumerate(CASES)),
        *(pytest.param(name, READINGS, marks=pytest.mark.by_hand) for name in CASES),
    ],
)
def test_every_mouth_agrees_with_a_run(name: str, readings: tuple[SummarySettings, ...]) -> None:
    results, is_one_task = prompts_of(name), name != "two_tasks"
    mouths = [mouth for mouth in MOUTHS if covers(mouth, name)]
    assert not disagreements(results, mouths, *readings, of_sweep=is_one_task)


@pytest.mark.parametrize(
    ("name", "settings"), [*zip(("three", "lens_lacking", "two_tasks"), FEW[1:], strict=True)]
)
def test_the_row_of_a_run_agrees_with_the_run_alone(name: str, settings: SummarySettings) -> None:
    results = prompts_of(name)
    for row, result in zip(rows_of_runs(results, settings), results, strict=True):
        check(row, run((result,), settings), settings)


@pytest.mark.parametrize("without_0", [True, False])
@pytest.mark.parametrize("rules", THRESHOLDS, ids=lambda rules: f"kl{rules[0]:g}-ov{rules[1]:g}")
@pytest.mark.parametrize("lens", LENSES)
def test_an_answer_agrees_with_a_run_over_its_tokens(
    lens: str, rules: tuple[float, float], without_0: bool
) -> None:
    settings = SummarySettings(*rules, not without_0, lens)
    check(*answer(settings), settings)


# Through the engine ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "mamba"])
def test_tokens_have_the_depths_that_they_had_while_they_were_written(name: str) -> None:
    settings = SummarySettings(kl_threshold=0.8, confidence=0.02, settling_threshold=0.05)
    model = ready(fresh(name))
    text = written(model)
    result = measured_again(model, text)
    as_written = depths_of_run(text, settings)
    of_run = reading_of([result], settings).token_depths(result)
    assert as_written is not None
    assert of_run is not None
    for name_, values in arrays_of(of_run):
        there = getattr(as_written, name_)[text.answer_start :]
        np.testing.assert_array_equal(there, values[text.answer_start :], err_msg=name_)
    assert any(len(np.unique(values)) > 1 for _, values in arrays_of(of_run))


@pytest.fixture(
    scope="module", params=["llama", pytest.param("gpt_neox", marks=pytest.mark.by_hand)]
)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Prompts of a tiny model that was measured by every metric, with every lens."""
    home = tmp_path_factory.mktemp("tiny")
    texts = home / "texts.txt"
    texts.write_text("\n".join(CORPUS * 2), encoding="utf-8")
    store = open_store(None, 0, pytest.fail)
    engine = Engine(store, home / "models", lambda event: None, lenses_dir=home / "lenses")
    engine.load(ModelSpec(str(tiny_folder(home, request.param)), device="cpu"))
    engine.fit_lens(LensChoice("jacobian", texts=str(texts), prompts=2))
    settings = RunSettings(metrics=EVERY_METRIC, lens_texts=str(texts), baseline=CORPUS[:2])
    asked = [*((text, text[-9:]) for text in CORPUS[:5]), (CORPUS[0][:30], "")]
    prompts = [Prompt(text, answer, "addition", "2") for text, answer in asked]
    return tuple(engine.run(prompt, settings) for prompt in prompts)


@pytest.mark.parametrize(
    "readings", [FEW[:2], pytest.param(READINGS, marks=pytest.mark.by_hand)], ids=len
)
def test_every_mouth_agrees_on_a_tiny_model(
    tiny: Results, readings: tuple[SummarySettings, ...]
) -> None:
    assert not disagreements(tiny, [mouth for mouth in MOUTHS if mouth != "explorer"], *readings)


@by_reading
def test_the_explorer_agrees_on_a_prompt(tiny: Results, settings: SummarySettings) -> None:
    mouths = ("explorer", "explorer_session", "sweep")
    for result in (tiny[0], tiny[-1]):
        assert not disagreements((result,), mouths, settings, of_sweep=False)


@pytest.mark.by_hand
@pytest.mark.parametrize("task", ["addition", "commonsense"])
def test_every_mouth_agrees_on_the_demo(demo_folder: Path, task: str) -> None:
    """By the logit lens: the others take minutes to be fitted."""
    store = open_store(None, 0, pytest.fail)
    engine = Engine(store, demo_folder.parent, lambda event: None, baseline_texts=baseline_texts)
    engine.load(ModelSpec("demo", device="cpu", dtype="float32"))
    metrics = tuple(name for name in EVERY_METRIC if name not in ("affine_lens", "jacobian_lens"))
    prompts = make_prompts(task, TASKS[task].default_level, 3)
    results = tuple(engine.run(prompt, RunSettings(metrics=metrics)) for prompt in prompts)
    mouths = [mouth for mouth in MOUTHS if mouth != "explorer"]
    assert not disagreements(results, mouths, *READINGS, of_sweep=False)
