"""Runs: `random_result` of random values, `full_result` of smooth curves, `make_result` of
straight lines, and shapes that are made of them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LogitLens
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, PromptTokens, Provenance, RunResult
from depthtui.data.run_settings import RunSettings
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.needs import answer
from depthtui.metrics.registry import METRIC_BY_NAME, empty_result
from tests.builders.lenses import VOCABULARY
from tests.builders.metrics import AFTER_THE_LENS, random_metric, smooth_metric, usefulness
from tests.builders.models import model_info, tiny_model
from tests.hostile import HOSTILE

# Random -----------------------------------------------------------------------


def random_result(
    layers: int = 4,
    tokens: int = 5,
    seed: int = 0,
    top_k: int = 3,
    text: str = "a b",
    **model: object,
) -> RunResult:
    """A complete run of random values; `model` changes fields of its `ModelInfo`."""
    rng = np.random.default_rng(seed)
    ids = np.asarray(rng.integers(0, 50, tokens), np.int64)
    result = empty_result(
        tiny_model(layers, **model),
        Prompt(text, text[1:], "commonsense", "2"),
        RunSettings(lens_top_k=top_k),
        PromptTokens(ids, [f"t{token}" for token in ids], tokens - 1),
    )
    for part in _parts(result):
        for name, values in arrays_of(part):
            if values.dtype == np.float32:
                low = -1 if name.endswith("cosine") else 0
                values[...] = rng.uniform(low, 1, values.shape)
    lens = result.get(LogitLens)
    if lens is not None:
        lens.top_ids[...] = rng.integers(0, 50, lens.top_ids.shape)
        lens.vocabulary = {int(token): f"<{token}>" for token in np.unique(lens.top_ids)}
    result.layers_done, result.complete = layers, True
    result.provenance = Provenance("0", "0", "0", "3", "nowhere", "2026-01-01T00:00:00Z", 0.5)
    return result


def run(text: str = "a b", seed: int = 0, **options: object) -> RunResult:
    """A complete random run of a prompt of its own."""
    return random_result(text=text, seed=seed, **options)  # type: ignore[arg-type]


def full_run(text: str = "everything", seed: int = 0, tokens: int = 24) -> RunResult:
    """A random run that has every metric, and also says that one is unavailable."""
    result = run(text, seed, tokens=tokens)
    result.tokens = replace(result.tokens, answer_start=tokens - 4)
    for name in AFTER_THE_LENS:
        # Each by itself: the order of the metrics, or a new one, changes no other.
        rng = np.random.default_rng([seed, *name.encode()])
        result.put(name, random_metric(name, result, rng))
    result.unavailable = {"direct_logits": "it has [/]\nno sum."}
    return result


def hostile_run() -> RunResult:
    """A run whose prompt, tokens, model and lens, at the last token, show every hostile text."""
    texts = list(HOSTILE.values())
    layers = len(texts) // 3
    name = "[/]<b>|`\x1b[2J\ud83d"
    result = run("\n".join(texts), tokens=len(texts), layers=layers, top_k=3, name=name)
    result.tokens = PromptTokens(result.tokens.ids, texts, len(texts) - 2)
    lens = result.get(LogitLens)
    assert lens is not None
    lens.top_ids[:, -1] = np.arange(3 * (layers + 1)).reshape(-1, 3) % len(texts)
    lens.vocabulary |= dict(enumerate(texts))
    return result


def stopped_run(text: str = "stopped", layers_done: int = 2) -> RunResult:
    """A random run that was stopped half-way."""
    return replace(half_run(run(text), layers_done), provenance=None)


def half_run(result: RunResult, layers_done: int) -> RunResult:
    """The same run as it stood after some layers."""
    for part in _parts(result):
        for _, values in arrays_of(part):
            values[layers_done:] = -1 if values.dtype == np.int32 else np.nan
    result.layers_done, result.complete = layers_done, False
    return result


def lacking(result: RunResult, *metrics: str) -> RunResult:
    """The same run without some metrics."""
    result = replace(result)
    result.drop(metrics)
    return result


def unanswered(result: RunResult) -> RunResult:
    """The same run of a prompt without an answer."""
    tokens = replace(result.tokens, answer_start=len(result.tokens))
    return replace(result, tokens=tokens)


def _parts(result: RunResult) -> list[Contributions | LogitLens]:
    """Contributions and lens, where the result has them."""
    return [part for part in (result.get(Contributions), result.get(LogitLens)) if part is not None]


# Smooth -----------------------------------------------------------------------


def tokens_of(prompt: Prompt) -> PromptTokens:
    """Split a text into words, each with the space before it."""
    texts = re.findall(r"\s?\S+|\s", prompt.text)
    question = len(re.findall(r"\s?\S+|\s", prompt.question))
    return PromptTokens(np.arange(len(texts), dtype=np.int64) + 300, texts, question)


def full_result(
    prompt: Prompt,
    model: ModelInfo | None = None,
    settings: RunSettings | None = None,
    cached: bool = False,
    tokens: PromptTokens | None = None,
) -> RunResult:
    """A complete result of all metrics of its settings: curves that turn at two thirds."""
    model, settings = model or model_info(), settings or RunSettings()
    result = empty_result(model, prompt, settings, tokens or tokens_of(prompt))
    noise = np.random.default_rng(len(prompt.text))
    contributions, lens = result.get(Contributions), result.get(LogitLens)
    if contributions is not None:
        _fill_contributions(contributions, noise)
    if lens is not None:
        _fill_lens(lens, noise)
        _silence(result)
    for name in settings.metrics:
        if name in AFTER_THE_LENS:
            _add_metric(result, name)
    result.layers_done, result.complete = model.n_layers, True
    result.provenance = Provenance(
        "0", "2", "5", "3.11", "Linux", "2025-01-01T00:00:00Z", 0.4, cached
    )
    return result


def _fill_contributions(contributions: Contributions, noise: np.random.Generator) -> None:
    layers = len(contributions.layer_cosine)
    depth = np.linspace(-1, 1, layers)[:, None]
    for index, (_, values) in enumerate(arrays_of(contributions)):
        wave = noise.normal(0, 0.08, values.shape)
        size = 0.15 + np.exp(-4 * (depth + 1) / 2) + 0.4 * (depth > 0.8)
        values[:] = np.abs(size + wave) if index % 2 == 0 else 0.7 * (depth - 0.35) + wave


def _fill_lens(lens: LogitLens, noise: np.random.Generator) -> None:
    rows, tokens, top_k = lens.top_ids.shape
    left = np.linspace(1, 0, rows)[:, None]
    lens.kl[:] = 9 * left**0.7 * noise.uniform(0.8, 1.2, (rows, tokens))
    lens.overlap[:] = np.round(5 * (1 - left) ** 2 * noise.uniform(0.8, 1, (rows, tokens))) / 5
    lens.overlap[-1] = 1
    lens.entropy[:] = 6 * left + 0.2
    order = np.arange(top_k) % len(VOCABULARY)
    for token in range(tokens):
        final = noise.permutation(len(VOCABULARY))
        for row in range(rows):
            ids = noise.permutation(len(VOCABULARY)) if row < 2 * rows // 3 else final
            lens.top_ids[row, token] = ids[order]
    shares = 0.5 ** np.arange(1, top_k + 1)
    lens.top_probabilities[:] = shares * (1 - left[..., None] * 0.6)
    lens.next_log_probability[:] = -1.5 - 8 * left * noise.uniform(0.8, 1.2, (rows, tokens))
    lens.next_log_probability[:, -1] = np.nan
    lens.vocabulary.update(enumerate(VOCABULARY))


def _silence(result: RunResult) -> None:
    """What is left out makes the output flatter, and in the end another."""
    lens, skipped = result.get(LogitLens), result.settings.skipped
    assert lens is not None
    useful = usefulness(result.model.n_layers)
    for place in skipped:
        lost = useful[place.layer] * (1 if place.part == "layer" else 0.5)
        lens.next_log_probability[place.layer + 1 :] -= lost
        lens.top_probabilities[place.layer + 1 :] *= np.exp(-lost / 4)
        contributions = result.get(Contributions)
        if contributions is not None and place.part == "layer":
            for _, values in arrays_of(contributions):
                values[place.layer] = 0
    if sum(useful[place.layer] for place in skipped) > 1:
        lens.top_ids[-1] = np.roll(lens.top_ids[-1], 1, axis=-1)


def _add_metric(result: RunResult, name: str) -> None:
    """Add a metric, also one that so short a run could not have; not without a needed answer."""
    if METRIC_BY_NAME[name].needs_answer and answer(result):
        return
    result.drop([name])
    result.put(name, smooth_metric(name, result))


# Straight ---------------------------------------------------------------------


def make_result(
    layers: int = 6,
    tokens: int = 5,
    texts: list[str] | None = None,
    metrics: tuple[str, ...] = ("contributions", "logit_lens"),
    **model: object,
) -> RunResult:
    """A finished run whose norm ratios grow with the layer and whose cosines turn positive.

    Token 0's final answer is id 7, first seen half-way and settled from the
    last but one layer on.
    """
    texts = texts or [f" t{token}" for token in range(tokens)]
    ids = np.arange(100, 100 + len(texts))
    result = empty_result(
        tiny_model(layers, **model),
        Prompt("".join(texts)),
        RunSettings(lens_top_k=3, metrics=metrics),
        PromptTokens(ids, texts, max(0, len(texts) - 1)),
    )
    depth = np.arange(layers, dtype=np.float32)[:, None]
    shade = 0.01 * np.arange(len(texts), dtype=np.float32)[None]
    contributions = result.get(Contributions)
    if contributions is not None:
        for name, values in arrays_of(contributions):
            values[:] = depth / 4 - 0.9 if name.endswith("cosine") else (depth + 1) / layers
            values += shade
    lens = result.get(LogitLens)
    if lens is not None:
        lens.kl[:] = np.linspace(8, 0, layers + 1)[:, None]
        lens.overlap[:] = np.linspace(0, 1, layers + 1)[:, None]
        lens.entropy[:] = np.linspace(5, 1, layers + 1)[:, None]
        lens.next_log_probability[:, :-1] = -1.5
        lens.top_ids[:] = [1, 2, 3]
        lens.top_ids[layers // 2 :] = [1, 7, 3]
        lens.top_ids[layers - 1 :] = [7, 1, 2]
        lens.top_probabilities[:] = [0.5, 0.25, 0.05]
        lens.vocabulary.update({1: " one", 2: " two", 3: " three", 7: " Paris"})
    result.layers_done, result.complete = layers, True
    return result
