"""Run, sweep, written answer, `analyze` and explorer give the same results of the same prompts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
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
    checks,
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


expected = cache(lambda name, settings: run(prompts_of(name), settings))


def in_turn(cases: Iterable[tuple[str, ...]]) -> list[tuple[str | SummarySettings, ...]]:
    """Each case with one of the readings, which take turns."""
    return [(*case, FEW[place % len(FEW)]) for place, case in enumerate(cases)]


@pytest.mark.parametrize(("mouth", "name", "settings"), in_turn(checks()))
def test_a_mouth_agrees_with_a_run(mouth: str, name: str, settings: SummarySettings) -> None:
    check(MOUTHS[mouth](prompts_of(name), settings), expected(name, settings), settings)


@pytest.mark.by_hand
@pytest.mark.parametrize(("mouth", "name"), checks())
def test_a_mouth_agrees_with_a_run_in_every_reading(mouth: str, name: str) -> None:
    for settings in READINGS:
        check(MOUTHS[mouth](prompts_of(name), settings), expected(name, settings), settings)


@pytest.mark.parametrize(
    ("name", "settings"), in_turn((name,) for name in CASES if name != "two_tasks")
)
def test_means_of_a_sweep_are_those_of_a_run(name: str, settings: SummarySettings) -> None:
    results = prompts_of(name)
    check(sweep_means(results, settings), run_means(results, settings), settings)


@pytest.mark.by_hand
@pytest.mark.parametrize("name", [name for name in CASES if name != "two_tasks"])
def test_means_of_a_sweep_are_those_of_a_run_in_every_reading(name: str) -> None:
    results = prompts_of(name)
    for settings in READINGS:
        check(sweep_means(results, settings), run_means(results, settings), settings)


@pytest.mark.parametrize("name", ["three", "lens_lacking", "two_tasks"])
@by_reading
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
    ("mouth", "settings"), in_turn((mouth,) for mouth in MOUTHS if mouth != "explorer")
)
def test_a_mouth_agrees_on_a_tiny_model(
    tiny: Results, mouth: str, settings: SummarySettings
) -> None:
    check(MOUTHS[mouth](tiny, settings), run(tiny, settings), settings)


@pytest.mark.by_hand
@pytest.mark.parametrize("mouth", [mouth for mouth in MOUTHS if mouth != "explorer"])
def test_a_mouth_agrees_on_a_tiny_model_in_every_reading(tiny: Results, mouth: str) -> None:
    for settings in READINGS:
        check(MOUTHS[mouth](tiny, settings), run(tiny, settings), settings)


@by_reading
def test_the_explorer_agrees_on_a_prompt(tiny: Results, settings: SummarySettings) -> None:
    for result in (tiny[0], tiny[-1]):
        expected_one = run((result,), settings)
        for mouth in ("explorer", "explorer_session", "sweep"):
            check(MOUTHS[mouth]((result,), settings), expected_one, settings)


@by_reading
def test_means_of_a_tiny_model_are_those_of_a_run(tiny: Results, settings: SummarySettings) -> None:
    check(sweep_means(tiny, settings), run_means(tiny, settings), settings)


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
    differing = [
        f"{mouth} {reading_id(settings)} {difference}"
        for settings in READINGS
        for mouth in MOUTHS
        if mouth != "explorer"
        for difference in differences(MOUTHS[mouth](results, settings), run(results, settings))
    ]
    assert not differing, "\n".join(differing)
