"""Controls of knowledge kept: shuffled words, random orders, an untrained model.

Every case is measured as runs are, on all tokens, in the model's own ranked order.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from depthtui.data.controls import ControlName, ControlRow, Controls, save_controls
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.reading import Reading, reading_of
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.shared_calls import one_process_only
from depthtui.errors import DepthError, RunStopped
from depthtui.metrics import kept
from depthtui.metrics.evidence import CountInterval
from depthtui.metrics.kept.curve import KeptCurve, depth_of
from depthtui.metrics.kept.pool import PooledKept
from depthtui.metrics.layer_order import MODEL_ORDER
from depthtui.metrics.needed_settings import with_other_prompts
from depthtui.metrics.registry import OF_THE_PASS
from depthtui.models.untrained import Blueprint

_FEWEST_WORDS = 5
"""With fewer words a random order of them may be the text's own."""

STAGES = ("The model", "Shuffled words", "Untrained model")
"""The stages of the work, in their order."""


def shuffled_words(prompt: Prompt, seed: int, number: int) -> Prompt:
    """A prompt with its words in a random order; of few words, its characters.

    Args:
        prompt: the prompt.
        seed: the seed for all prompts.
        number: the prompt's number.
    """
    words, draw = prompt.text.split(), random.Random(f"{seed} {number}")
    if len(words) < _FEWEST_WORDS:
        return replace(prompt, text="".join(draw.sample(prompt.text, len(prompt.text))))
    return replace(prompt, text=" ".join(draw.sample(words, len(words))))


@one_process_only
def find_controls(
    engine: Engine,
    prompts: Sequence[Prompt],
    settings: RunSettings,
    control: Control | None = None,
) -> Controls:
    """The layers that keep what a model knows, and their number in controls.

    The result is stored beside the model's fitted lenses. The model is freed before the
    untrained one is built, and no model is loaded at the end.

    Args:
        engine: the engine with the model.
        prompts: two tokens or more each; shorter ones are left out, and answers are not told apart.
        settings: the seed, and whether prompts are wrapped in the chat template.
        control: stops the work.

    Raises:
        DepthError: no model is loaded, no prompt can be used, or the memory does not suffice.
        RunStopped: `control` stopped it; nothing is kept.
    """
    control, info = control or Control(), engine.freed_model().info
    texts = [
        Prompt(prompt.text, task=prompt.task, level=prompt.level)
        for prompt in prompts
        if engine.count_tokens(prompt, settings.chat_template) > 1
    ]
    if not texts:
        raise DepthError("No prompt has a token after the first one.", "Take longer prompts.")
    settings = replace(settings, metrics=(*OF_THE_PASS, kept.NAME), **MODEL_ORDER)
    shuffled = [shuffled_words(text, settings.seed, number) for number, text in enumerate(texts)]
    own = _measured(engine, texts, settings, control, STAGES[0])
    rows = [
        _row("model", own),
        _row("shuffled", _measured(engine, shuffled, settings, control, STAGES[1])),
        _row_of_random_orders(own),
    ]
    untrained, size = _row_of_untrained(engine, texts, settings, control)
    controls = Controls(
        info.name,
        info.n_layers,
        info.vocab_size,
        tuple(dict.fromkeys(text.task for text in texts)),
        len(texts),
        sum(prompt.n_tokens - 1 for prompt in own.prompts),
        settings.seed,
        size,
        (*rows, untrained),
    )
    if engine.lenses_dir is not None and info.fingerprint:
        # Where they cannot be stored, they are shown once.
        with suppress(DepthError):
            save_controls(engine.lenses_dir, info.fingerprint, controls)
    return controls


def _measured(
    engine: Engine, texts: Sequence[Prompt], settings: RunSettings, control: Control, stage: str
) -> Reading:
    """Some prompts, each measured as in any run."""
    runs = []
    for number, text in enumerate(texts):
        engine.emit_stage(stage, number, len(texts))
        runs.append(engine.run(text, with_other_prompts(settings, texts, number), control))
        control.checkpoint()
    return reading_of(runs, SummarySettings(seed=settings.seed))


def _row_of_untrained(
    engine: Engine, texts: Sequence[Prompt], settings: RunSettings, control: Control
) -> tuple[ControlRow, int]:
    """The row of an untrained model, and the bytes of its weights; 0 where there is none."""
    try:
        blueprint = Blueprint.of(engine.freed_model().loaded)
        engine.unload()
        engine.emit_stage("Drawing random weights", 0, 0)
        info = engine.use(blueprint.build(settings.seed))
        reading = _measured(engine, texts, settings, control, STAGES[2])
        return _row("untrained", reading), info.memory_bytes
    except RunStopped:
        raise
    except DepthError as error:
        return ControlRow("untrained", missing=str(error).rstrip(".")), 0
    finally:
        engine.unload()


def _row(name: ControlName, reading: Reading) -> ControlRow:
    """The row of a case.

    Raises:
        DepthError: nothing was measured.
    """
    curve = _knowledge(reading).curve
    row = ControlRow(
        name, curve.gain, float(curve.mean.loss[0, 0]), too_little=curve.why_too_little
    )
    if curve.why_too_little:
        return row
    return replace(row, layers=curve.layers(), interval=curve.range(), mean_depth=curve.mean_depth)


def _row_of_random_orders(reading: Reading) -> ControlRow:
    """The row of the model in random orders: the mean over two that are drawn."""
    curve = _knowledge(reading).curve
    row = ControlRow("random_order", curve.gain, float(curve.mean.loss[0, 0]))
    if curve.why_too_little:
        return replace(row, too_little=curve.why_too_little)
    if not curve.random_shares:
        return replace(row, missing="the prompts are too long for it")
    return replace(
        row,
        layers=float(np.mean(curve.in_random_orders())),
        interval=_interval_of_random_orders(curve),
        mean_depth=float(np.mean(curve.at_random(depth_of))),
    )


def _interval_of_random_orders(curve: KeptCurve) -> tuple[float, float] | None:
    def layers(losses: np.ndarray, guess: np.ndarray) -> np.ndarray:
        in_orders = [curve.stop.layers(losses[:, place], guess) for place in curve.drawn]
        return np.mean(in_orders, axis=0)

    return _ends(curve.pooled.interval(curve.parts, layers, "loss", "guess"))


def _ends(interval: CountInterval | None) -> tuple[float, float] | None:
    return None if interval is None else (interval.low, interval.high)


def _knowledge(reading: Reading) -> PooledKept:
    """What is kept of some prompts.

    Raises:
        DepthError: nothing was measured.
    """
    knowledge = reading.get(kept.METRIC)
    if knowledge is None:
        reasons = [prompt.unavailable.get(kept.NAME, "") for prompt in reading.prompts]
        raise DepthError(next(filter(None, reasons), "some of its values are no numbers"))
    assert isinstance(knowledge, PooledKept)
    return knowledge
