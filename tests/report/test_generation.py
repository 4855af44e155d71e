"""What is said of generated texts, and the files they are written to."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from safetensors.numpy import load_file

from depthtui import ramps
from depthtui.data.generation import Continuation, Generation
from depthtui.data.run import Prompt
from depthtui.data.run_settings import GenerationSettings
from depthtui.errors import DepthError
from depthtui.report.as_rich import rich_lines
from depthtui.report.blocks import Tokens, ViewBlocks
from depthtui.report.formats import format_titles
from depthtui.report.generation import (
    exit_sentence,
    independent_tokens,
    text_trend,
    trend_sentence,
)
from depthtui.report.generation_document import generation_document
from depthtui.report.generation_files import generation_report
from depthtui.report.token_depths import depths_of_text, rolling_mean
from tests.builders.generations import full_generation, part_of, parts_of
from tests.builders.models import tiny_model
from tests.report.test_documents import checked, controls


@pytest.mark.parametrize(("tokens", "told"), [(9, False), (10, True)])
def test_early_exit_of_a_few_tokens_is_not_told(tokens: int, told: bool) -> None:
    text = full_generation(Prompt("a b"), tiny_model(), GenerationSettings(max_tokens=tokens))
    text.continuation = part_of(text.continuation, slice(tokens))
    assert ("saves" in exit_sentence(text)) == told
    assert ("too short" in exit_sentence(text)) != told


def text_of(depths: np.ndarray) -> Continuation:
    generation = full_generation(
        Prompt("a b"), tiny_model(), GenerationSettings(max_tokens=len(depths))
    ).continuation
    generation.depths.settling[:] = depths
    return generation


@pytest.fixture
def generation() -> Generation:
    return full_generation(Prompt("What floats?"), tiny_model())


def test_parts_join_to_the_text(generation: Generation) -> None:
    continuation = generation.continuation
    joined = Continuation.joined(list(parts_of(continuation)))
    assert joined.texts == continuation.texts
    np.testing.assert_array_equal(joined.lens.kl, continuation.lens.kl)
    np.testing.assert_array_equal(joined.depths.kl, continuation.depths.kl)


def test_bytes_of_one_character_join() -> None:
    text = text_of(np.ones(4))
    text.texts = ["a\udcf0\udc9f", "\udc99\udc82", "\ud800", "\udcff"]
    assert text.text == "a🙂\ufffd\ufffd"


def test_quarters_are_means_of_what_is_known() -> None:
    text = text_of(np.array([1, 3, 5, np.nan, 7, 7, np.nan, np.nan]))
    settling = next(
        depth for depth in depths_of_text(text.depths) if depth.measure.name == "settling"
    )
    assert (settling.mean, settling.median, settling.without) == (pytest.approx(4.6), 5, 3 / 8)
    assert settling.quarters == pytest.approx((2, 5, 7, np.nan), nan_ok=True)


def test_the_chance_is_the_share_of_turned_texts_that_differ_as_much() -> None:
    depths = np.random.default_rng(1).integers(0, 5, 37).astype(float)
    apart = []
    for shift in range(37):
        turned = np.roll(depths, shift)
        apart.append(turned[-9:].mean() - turned[:9].mean())
    change = text_trend(text_of(depths))
    assert change is not None
    expected = np.mean(np.abs(apart) >= abs(apart[0]) - 1e-9)
    assert change.chance == pytest.approx(expected)
    assert (change.first, change.last) == (
        pytest.approx(depths[:9].mean()),
        pytest.approx(depths[-9:].mean()),
    )


def test_a_rise_a_fall_and_neither_are_told_apart() -> None:
    rise = np.linspace(0, 4, 60)
    assert trend_sentence(text_of(rise)).startswith("Depth rises")
    assert trend_sentence(text_of(rise[::-1])).startswith("Depth falls")
    assert trend_sentence(text_of(np.tile([1, 3], 30))).startswith("Depth neither")
    assert "too short" in trend_sentence(text_of(np.ones(23)))


def slow_noise(seed: int, n: int, alike: float) -> np.ndarray:
    """Depths without a trend whose neighbours have this correlation."""
    drawn = np.random.default_rng(seed).normal(size=n + 200)
    for place in range(1, len(drawn)):
        drawn[place] += alike * drawn[place - 1]
    return np.round(15 + 3 * drawn[200:] / drawn[200:].std())


def test_alike_neighbours_tell_less() -> None:
    assert independent_tokens(np.full(50, 3.0)) == 50
    assert independent_tokens(np.tile([1.0, 3.0], 25)) == 50
    for alike in (0.0, 0.5, 0.9):
        worth = np.mean([independent_tokens(slow_noise(seed, 2000, alike)) for seed in range(20)])
        assert worth == pytest.approx(2000 * (1 - alike) / (1 + alike), rel=0.15)
    # A line is no likeness of neighbours.
    noise = slow_noise(0, 400, 0.3)
    assert independent_tokens(noise + np.linspace(0, 40, 400)) == pytest.approx(
        independent_tokens(noise), rel=0.05
    )


@pytest.mark.parametrize(("n", "alike"), [(64, 0.0), (64, 0.9), (64, 0.95), (256, 0.8)])
def test_a_text_without_a_trend_is_rarely_said_to_have_one(n: int, alike: float) -> None:
    sentences = [trend_sentence(text_of(slow_noise(seed, n, alike))) for seed in range(150)]
    alarms = sum(sentence.startswith(("Depth rises", "Depth falls")) for sentence in sentences)
    assert alarms <= 17  # 5 % are 7.5, and 17 or more come once in a thousand times
    short = [sentence for sentence in sentences if "too short" in sentence]
    assert all("neighbouring tokens are so alike" in sentence for sentence in short)
    assert (len(short) > 140) == (alike >= 0.9)


def test_a_rolling_mean_leaves_out_what_is_unknown() -> None:
    values = np.array([2.0, np.nan, 4.0, 6.0])
    np.testing.assert_allclose(rolling_mean(values, 2), [2, 2, 4, 5])
    assert np.isnan(rolling_mean(np.array([np.nan]))).all()


def test_tokens_have_the_colour_of_the_depth_at_which_they_are_decided(
    generation: Generation,
) -> None:
    depths = generation.continuation.depths
    depths.settling[:], depths.prediction[:] = 0, generation.model.n_layers
    views = generation_document([generation]).blocks
    blocks = (block for view in views if isinstance(view, ViewBlocks) for block in view.blocks)
    tokens = next(block for block in blocks if isinstance(block, Tokens))
    assert {token.css for token in tokens.tokens} == {f"d{ramps.LEVELS - 1}"}


def test_the_table_fits_eighty_columns(generation: Generation) -> None:
    console = Console(file=StringIO(), width=80)
    console.print(rich_lines(generation_document([generation])))
    assert isinstance(console.file, StringIO)
    output = console.file.getvalue()
    assert "settling depth" in output
    assert "Early exit at a confidence of 0.9" in output
    empty = replace(generation, continuation=part_of(generation.continuation, slice(0)))
    stopped = replace(empty, stopped_by="user")
    console.print(rich_lines(generation_document([stopped])))
    assert "0 tokens after a prompt of 2" in console.file.getvalue()


def test_tokens_have_the_colours_of_the_palette(generation: Generation, tmp_path: Path) -> None:
    (path,) = generation_report([generation], "amber").write(tmp_path, ["html"])
    page = path.read_text("utf-8")
    for name in ("amber", "depth"):
        colour = ramps.css(ramps.sequential(True, name)[9])
        assert (f"background:{colour}" in page) == (name == "amber")


def test_every_format_is_written(generation: Generation, tmp_path: Path) -> None:
    paths = generation_report([generation]).write(tmp_path)
    assert [path.name for path in paths] == [
        f"generation.{n}" for n in format_titles("generations")
    ]
    (body,) = json.loads((tmp_path / "generation.json").read_text())["generations"]
    assert body["text"] == generation.continuation.text
    assert body["depths"]["settling"] == generation.continuation.depths.settling.tolist()
    assert len(body["curves"]["kl"]) == 5
    arrays = load_file(tmp_path / "generation.safetensors")
    np.testing.assert_array_equal(arrays["0/lens/kl"], generation.continuation.lens.kl)
    with pytest.raises(DepthError):
        generation_report([])


def test_hostile_tokens_do_nothing(tmp_path: Path) -> None:
    settings = GenerationSettings(max_tokens=120)
    hostile = full_generation(Prompt("<b>[/]\x1b[2J</b>"), tiny_model(), settings, hostile=True)
    generation_report([hostile]).write(tmp_path)
    page = (tmp_path / "generation.html").read_text()
    tags = checked(page).tags
    assert not tags & {"script", "img", "b", "a", "iframe"}
    text = (tmp_path / "generation.md").read_text()
    assert controls(page) == controls(text) == set()
    assert "<script" not in MarkdownIt("commonmark").render(text)
