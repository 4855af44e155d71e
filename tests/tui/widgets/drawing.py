"""Synthetic results, and panes drawn alone on a screen of a chosen size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import numpy as np
from rich.style import Style
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widget import Widget

from depthtui.engine.effective_depth import summarise
from depthtui.engine.results import (
    DepthSummary,
    ModelInfo,
    ModelSpec,
    Prompt,
    RunResult,
    RunSettings,
    SummarySettings,
    Tokens,
    arrays_of,
)


def make_model(layers: int, **options: str) -> ModelInfo:
    return ModelInfo(
        spec=ModelSpec(),
        name="tiny",
        source="nowhere",
        revision="",
        architecture="LlamaForCausalLM",
        n_layers=layers,
        d_model=8,
        vocab_size=100,
        parameters=1000,
        context_length=64,
        dtype="float32",
        device="cpu",
        **options,  # type: ignore[arg-type]
    )


def make_result(
    layers: int = 6,
    tokens: int = 5,
    texts: list[str] | None = None,
    metrics: tuple[str, ...] = ("contributions", "logit_lens"),
    **model: str,
) -> RunResult:
    """A finished run whose norm ratios grow with the layer and whose cosines turn positive.

    Token 0's final answer is id 7, first seen half-way and settled from the
    last but one layer on.
    """
    texts = texts or [f" t{i}" for i in range(tokens)]
    ids = np.arange(100, 100 + len(texts))
    result = RunResult.empty(
        make_model(layers, **model),
        Prompt("".join(texts)),
        RunSettings(top_k=3, metrics=metrics),
        Tokens(ids, texts, max(0, len(texts) - 1)),
    )
    depth = np.arange(layers, dtype=np.float32)[:, None]
    shade = 0.01 * np.arange(len(texts), dtype=np.float32)[None]
    if result.contributions is not None:
        for name, values in arrays_of(result.contributions):
            values[:] = depth / 4 - 0.9 if name.endswith("cosine") else (depth + 1) / layers
            values += shade
    lens = result.logit_lens
    if lens is not None:
        lens.kl[:] = np.linspace(8, 0, layers + 1)[:, None]
        lens.overlap[:] = np.linspace(0, 1, layers + 1)[:, None]
        lens.entropy[:] = np.linspace(5, 1, layers + 1)[:, None]
        lens.top_ids[:] = [1, 2, 3]
        lens.top_ids[layers // 2 :] = [1, 7, 3]
        lens.top_ids[layers - 1 :] = [7, 1, 2]
        lens.top_probabilities[:] = [0.5, 0.25, 0.05]
        lens.vocabulary.update({1: " one", 2: " two", 3: " three", 7: " Paris"})
    result.layers_done, result.complete = layers, True
    return result


def half_run(result: RunResult, layers_done: int) -> RunResult:
    """The same run as it stood after some layers."""
    for part in (result.contributions, result.logit_lens):
        if part is not None:
            for _, values in arrays_of(part):
                values[layers_done:] = -1 if values.dtype == np.int32 else np.nan
    result.layers_done, result.complete = layers_done, False
    return result


def summary_of(result: RunResult, **settings: float) -> DepthSummary | None:
    return summarise([result], SummarySettings(**settings))  # type: ignore[arg-type]


class Frame(App[None]):
    """One widget and nothing else."""

    def __init__(self, widget: Widget, theme: str = "textual-dark") -> None:
        super().__init__()
        self.widget = widget
        self.first_theme = theme
        self.heard: list[object] = []

    def compose(self) -> ComposeResult:
        self.theme = self.first_theme
        yield self.widget

    def on_cursor_moved(self, message: object) -> None:
        self.heard.append(message)


@asynccontextmanager
async def framed(
    widget: Widget, size: tuple[int, int] = (60, 24), theme: str = "textual-dark"
) -> AsyncIterator[Pilot[None]]:
    """The widget on a screen of `size`; its frame takes two lines and four columns of it."""
    app = Frame(widget, theme)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield pilot


def strips(widget: Widget) -> list[Strip]:
    return [widget.render_line(y) for y in range(widget.size.height)]


def lines(widget: Widget) -> list[str]:
    return [strip.text for strip in strips(widget)]


def cells(strip: Strip) -> Iterator[tuple[str, Style]]:
    """One character and its style for each cell; wide characters count twice."""
    for text, style, _ in strip:
        for char in text:
            yield char, style or Style.null()


def cell(widget: Widget, x: int, y: int) -> tuple[str, Style]:
    return list(cells(widget.render_line(y)))[x]


def line_with(widget: Widget, text: str) -> int:
    """The first line that holds a text."""
    return next(y for y, line in enumerate(lines(widget)) if text in line)
