"""Depth while a model trains: a callback of transformers' `Trainer`, or for other loops."""

from __future__ import annotations

import contextlib
import random
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainerCallback

from depthtui.api.analysis import analyze, check_options
from depthtui.api.keywords import names_of, prompts_of
from depthtui.data.run import Prompt
from depthtui.data.run_settings import DEFAULT_METRICS
from depthtui.report.export import run_report
from depthtui.trackers import Logged, OpenTrackers, TrackerChoice, logged

if TYPE_CHECKING:
    from torch import nn
    from transformers import (
        PreTrainedTokenizerBase,
        TrainerState,
    )

CURVES = ("agreement", "layer_norm_ratio")
"""The curves that are logged by layer: lens agreement, and contributions."""


class DepthLog:
    """Measures the depth of a model on fixed prompts at some steps of its training.

        from depthtui import DepthLog

        with DepthLog(["The sky is blue."], tokenizer, log="tensorboard=board") as depth:
            for step, batch in enumerate(batches):
                ...
                if step % 500 == 0:
                    depth(model, step)

    A call leaves the training as it was: weights, gradients, the modes of modules, and the random
    states of Python, NumPy and torch. On a training over several ranks, call it on one of them.

    Args:
        prompts: the prompts, as for `analyze`.
        tokenizer: the model's tokenizer.
        metrics: names of metrics, as for `analyze`; `kept` searches its order anew at each call,
            which takes longest by far.
        log: trackers, such as `trackio=my-project`; nothing is sent where none is named.
        curves: names of the curves that are logged by layer.
        options: further options of `analyze`.

    Attributes:
        history: the numbers by step, as they are logged: `headline/layers`, `curves/agreement/12`,
            and `seconds`, the time of the call.

    Raises:
        DepthError: there is no such metric, option or tracker, or a tracker is not installed.
    """

    def __init__(
        self,
        prompts: str | Prompt | Iterable[str | Prompt],
        tokenizer: PreTrainedTokenizerBase,
        metrics: str | Iterable[str] = DEFAULT_METRICS,
        *,
        log: str | Iterable[str] = (),
        curves: Iterable[str] = CURVES,
        **options: Any,
    ) -> None:
        self._prompts, self._tokenizer = prompts_of(prompts), tokenizer
        self._metrics, self._options = names_of(metrics), options
        check_options(self._metrics, **options)
        self._choices = [TrackerChoice.of(name) for name in names_of(log) if name]
        self._curves = tuple(curves)
        self._trackers: OpenTrackers | None = None
        self.history: dict[int, dict[str, float]] = {}

    def __enter__(self) -> DepthLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Measure a model, and log its numbers.

        Args:
            model: the model, also one that `DistributedDataParallel` wraps.
            step: the step of the training.

        Returns:
            the numbers that are logged.

        Raises:
            DepthError: the model cannot be measured.
        """
        started = time.monotonic()
        while isinstance(model, torch.nn.parallel.DistributedDataParallel):
            model = model.module
        with _same_randomness():
            runs = analyze(
                model,  # type: ignore[arg-type]
                self._prompts,
                self._tokenizer,
                self._metrics,
                progress=False,
                **self._options,
            )
            report = run_report(list(runs), runs.settings)
            values = logged(report.rows(), report.about())
            numbers = self._numbers(values)
            self.history[step] = numbers | {"seconds": time.monotonic() - started}
            if self._trackers is None:
                self._trackers = OpenTrackers(self._choices, _warn)
                self._trackers.each(
                    lambda tracker: tracker.store_init_configuration(values.settings)
                )
            self._trackers.each(lambda tracker: tracker.log(self.history[step], step=step))
        return self.history[step]

    def _numbers(self, values: Logged) -> dict[str, float]:
        return values.numbers | {
            f"{name}/{place}": value
            for name, curve in values.curves.items()
            if name.removeprefix("curves/") in self._curves
            for place, value in curve.items()
        }

    def close(self) -> None:
        """Close the trackers."""
        if self._trackers is not None:
            self._trackers.finish()
            self._trackers = None


class DepthCallback(TrainerCallback):
    """Measures depth every few steps of transformers' `Trainer`, on the first rank.

        depth = DepthCallback(["The sky is blue."], tokenizer, every=500, log="tensorboard=board")
        Trainer(model, arguments, train_dataset=data, callbacks=[depth]).train()
        depth.log.history

    A prompt or a tracker that fails is named in a warning, and the training goes on.

    Args:
        prompts, tokenizer: as for `DepthLog`.
        every: the number of steps from one measurement to the next; the first is before step 1.
        options: the other arguments of `DepthLog`.

    Attributes:
        log: the log.
    """

    def __init__(
        self,
        prompts: str | Prompt | Iterable[str | Prompt],
        tokenizer: PreTrainedTokenizerBase,
        every: int = 500,
        **options: Any,
    ) -> None:
        if every < 1:
            raise ValueError("every must be 1 or more steps.")
        self.log = DepthLog(prompts, tokenizer, **options)
        self._every = every

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **others: Any) -> None:
        """Measure the model before its first step."""
        self._measure(state, others["model"])

    def on_step_end(self, args: Any, state: TrainerState, *_: Any, **others: Any) -> None:
        """Measure the model where the step is one of every few."""
        if state.global_step % self._every == 0:
            self._measure(state, others["model"])

    def on_train_end(self, args: Any, state: TrainerState, *_: Any, **others: Any) -> None:
        """Close the trackers."""
        self.log.close()

    def _measure(self, state: TrainerState, model: nn.Module) -> None:
        if not state.is_world_process_zero:
            return
        try:
            self.log(model, state.global_step)
        except Exception as error:
            _warn(f"The depth at step {state.global_step} is not known: {error}")


@contextlib.contextmanager
def _same_randomness() -> Iterator[None]:
    """Leave the random states of Python, NumPy and torch, on every device, as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count()), device_type="cuda"):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if mps is not None:
            torch.mps.set_rng_state(mps)


def _warn(words: str) -> None:
    warnings.warn(words, stacklevel=2)
