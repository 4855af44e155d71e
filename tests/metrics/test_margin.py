"""The answer's margin: against the naive way, in closed form, over several prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.lens import LogitLens
from depthtui.data.run import PromptTokens, RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.depth.reading import reading_of
from depthtui.metrics.logit_lens.compute import read_lens
from depthtui.metrics.margin import answer_margin, decided_depths
from depthtui.report.findings import findings
from tests.builders.readings import summary_of
from tests.builders.results import run, unanswered
from tests.metrics.streams import lens_of, stream
from tests.naive import speak_from
from tests.tiny_models import LAYERS, random_ids, tiny

SETTINGS = SummarySettings()
ANSWER = 7


def run_of(ids: torch.Tensor, answer_start: int, texts: list[str] | None = None) -> RunResult:
    """A run of these tokens `[T]`, with this answer."""
    tokens = PromptTokens(
        ids.numpy(), texts or [f" t{token}" for token in ids.tolist()], answer_start
    )
    return replace(run(tokens=len(ids), layers=LAYERS), tokens=tokens)


def with_margin(margin: list[float], text: str = "a b", tokens: int = 4) -> RunResult:
    """A run whose last token is its answer, with this margin at each depth."""
    result = run(text, tokens=tokens, layers=len(margin) - 1)
    result.tokens.ids[-1] = ANSWER
    lens = result.get(LogitLens)
    assert lens is not None
    at, is_first = tokens - 2, np.array(margin) > 0
    lens.top_ids[:, at, 0] = np.where(is_first, ANSWER, ANSWER + 1)
    lens.top_probabilities[:, at] = 0.25
    lens.next_log_probability[:, at] = np.log(0.25) + margin
    return result


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "opt_post_norm", "mamba"])
@pytest.mark.parametrize("top_k", [2, 9])
def test_against_the_naive_way(name: str, top_k: int) -> None:
    """The model's own first choice as the answer, and another token."""
    model, ids = tiny(name), random_ids()
    said = [speak_from(model, ids, depth)[8] for depth in range(LAYERS + 1)]
    for answer in (int(said[-1].argmax()), 3):
        ids[0, 9] = answer
        expected = [log_p[answer] - np.delete(log_p, answer).max() for log_p in said]
        unembedding, residuals = stream(model, ids)
        lens = LogitLens.unknown(LAYERS, ids.shape[1], top_k)
        read_lens(
            unembedding,
            residuals,
            ids[0],
            top_k,
            lambda first, rows_from, rows, lens=lens: lens.put(
                first,
                LogitLens(**{name: value.numpy() for name, value in vars(rows).items()}),
                rows_from,
            ),
        )
        actual = answer_margin(lens, run_of(ids[0], 9))
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_in_closed_form() -> None:
    """The answer is second by a factor of two, then first, its next one having half the rest."""
    lens = lens_of([[3, 4], [3, 4], [ANSWER, 4]], [[0.5, 0.5], [0.6, 0.5], [0.8, 0.5]])
    lens.next_log_probability[:, 0] = np.log([0.25, 0.3, 0.8])
    result = answer_margin(lens, run_of(torch.tensor([1, ANSWER]), 1))
    np.testing.assert_allclose(result, np.log([1 / 2, 1 / 2, 8]), rtol=1e-6)


def test_beside_a_certain_answer_the_margin_is_finite() -> None:
    lens = lens_of([[3, 4], [ANSWER, 4]], [[0.5, 0.5], [1, 0.5]])
    lens.next_log_probability[:, 0] = np.log([0.1, 1.0])
    result = answer_margin(lens, run_of(torch.tensor([1, ANSWER]), 1))
    assert result is not None
    assert result[1] == pytest.approx(87.3, abs=0.1)


def test_white_space_before_the_answer_decides_nothing() -> None:
    lens = lens_of([[3] * 5, [4] * 5], [[0.5] * 5] * 2)
    lens.next_log_probability[:] = -np.arange(1.0, 6.0)
    texts = [" =", " ", "\n", "1", "2"]
    result = answer_margin(lens, run_of(torch.arange(20, 25), 1, texts))
    np.testing.assert_allclose(result, -3 - np.log([0.5, 0.5]))


@pytest.mark.parametrize(
    ("start", "texts", "top_k"), [(0, "ab", 2), (2, "ab", 2), (1, "a ", 2), (1, "ab", 1)]
)
def test_without_an_answer_that_can_be_read_there_is_none(
    start: int, texts: str, top_k: int
) -> None:
    lens = LogitLens.unknown(LAYERS, 2, top_k)
    assert answer_margin(lens, run_of(torch.tensor([1, 2]), start, list(texts))) is None


def naive_depth(margin: np.ndarray) -> float:
    """The depth from which on the sign is positive; what was not read has the sign before it."""
    filled_margins = [-1.0]
    for value in margin:
        filled_margins.append(filled_margins[-1] if np.isnan(value) else value)
    signs = [value > 0 for value in filled_margins[1:]]
    if not signs[-1]:
        return np.nan
    last = max((depth for depth, sign in enumerate(signs) if not sign), default=None)
    return np.nan if last is None else last + 1


def test_the_depth_is_that_of_the_last_change_of_sign() -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(0.3, 1, (300, 7))
    margins[:, :-1][rng.random((300, 6)) < 0.2] = np.nan
    margins[:3] = [[-1] * 7, [1] * 7, [-1, 1, 1, -1, 1, 1, 1]]
    result = decided_depths(margins)
    np.testing.assert_array_equal(result, [naive_depth(margin) for margin in margins])
    assert result[:3].tolist()[2] == 4
    assert {*range(1, 7)} <= set(result[np.isfinite(result)])
    assert decided_depths(margins[2]) == 4


def test_each_prompt_counts_once_and_token_0_never() -> None:
    long, short = with_margin([-4, -2, 1, 5], tokens=40), with_margin([-8, -6, -5, 1], "c d")
    readings = [
        reading_of([long, short], replace(SETTINGS, include_first_token=counted))
        for counted in (True, False)
    ]
    for reading in readings:
        np.testing.assert_allclose(reading.curves["answer_margin"], [-6, -4, -2, 3], rtol=1e-6)
        result = reading.depth("margin")
        assert result is not None
        assert result.count == 3
        assert result.prompt_weighted == replace(result, prompt_weighted=None)


def test_it_rests_on_the_prompts_with_an_answer() -> None:
    runs = [with_margin([-4, -2, 1, 5], f"a {number}") for number in range(5)]
    silent = unanswered(run("e f", tokens=4, layers=3))
    alone = reading_of([silent], SETTINGS)
    assert alone.depth("margin") is None
    assert "margin" not in summary_of([silent], settings=SETTINGS)
    reading = reading_of([silent, *runs, silent], SETTINGS)
    result = reading.depth("margin")
    assert result is not None
    assert (result.count, result.interval) == (2, (1, 1))
    (evidence,) = (one for one in reading.evidence if one.measure == "margin")
    assert (evidence.prompts, evidence.firm) == ((5, 7), False)
    assert evidence.reason == "it rests on 5 of 7 prompts"
    (other,) = (one for one in reading.evidence if one.measure == "kl")
    assert other.prompts is None
    four = reading_of([silent, *runs[:4]], SETTINGS).depth("margin")
    assert four is not None
    assert four.interval is None


def test_what_a_summary_has_of_it() -> None:
    runs = [with_margin([-4, -2, 1, 5]), with_margin([-4, -2, -3, -1], "c d")]
    result = summary_of(runs, settings=SETTINGS)["margin"]
    np.testing.assert_allclose(result.pop("margin"), [-4, -2, -1, 2], rtol=1e-6)
    assert result == {"options": [], "depth": 3, "prompts": 2}
    decided = reading_of(runs, SETTINGS).depth("margin")
    assert decided is not None
    assert decided.count == 3
    assert summary_of(runs[1:], settings=SETTINGS)["margin"]["depth"] is None
    (line,) = (one for one in findings(reading_of(runs, SETTINGS)) if one.title == "Answer margin")
    assert (line.value, line.remark) == (
        "+2.00 nats",
        "at the output; the answer's first token comes first in 1 of 2",
    )
