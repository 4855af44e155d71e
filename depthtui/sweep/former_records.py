"""Records of the first layout: means over tokens, and parts of a run's `summary.json`.

Nothing is guessed. The noise floor (what rounding alone leaves) in the means of context depth and
of the order of layers was not kept, so it is unknown. Context depth then has no count. The
sequential depth has one, which does not depend on the noise floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from depthtui.data.lens_view import LENS_METRICS, LOGIT
from depthtui.data.model import ModelInfo
from depthtui.data.plain import from_plain, to_plain
from depthtui.data.run import Prompt, PromptTokens, RunResult, without
from depthtui.data.run_settings import RunSettings, with_former_names
from depthtui.metrics import METRIC_BY_NAME
from depthtui.metrics.direct_effects import later_pairs
from depthtui.metrics.integrated_gradients import METRIC as GRADIENTS
from depthtui.metrics.integrated_gradients import IntegratedGradients
from depthtui.metrics.prediction_depth import counts_by_depth
from depthtui.metrics.residual_erasure import METRIC as ERASURE
from depthtui.metrics.residual_erasure import ResidualErasure

Values = Mapping[str, Any]

_SAME = ("key", "task", "level", "number", "model", "prompt", "n_tokens", "unavailable")
"""Fields of a record that have not changed."""

_LONGEST = 10_000_000
"""Tokens of the longest prompt."""

_LACKS = {
    "logit_lens": "the share of first choices that are the output's",
    "context_depth": "the noise floor of context depth",
    "order": "the noise floor of the order of layers",
    "settling": "the share of settled tokens by depth",
}
"""By metric, the value that its part of a summary lacks."""


@dataclass(frozen=True)
class _Former:
    """A record of the first layout, over all tokens or without token 0, as JSON values.

    Attributes:
        body: the whole record.
        length: tokens of the prompt.
        first: first token that counts: 0, or 1 without token 0.
        by_lens: by lens, the means over tokens by curve, and parts of the summary by metric.
    """

    body: Values
    length: int
    first: int
    by_lens: Mapping[str, tuple[Values, Values]]

    @property
    def n_tokens(self) -> int:
        """Number of tokens that count."""
        return self.length - self.first

    @property
    def run(self) -> RunResult:
        """The run, without its results.

        Raises:
            ValueError: the prompt is longer than any run.
        """
        if self.length > _LONGEST:
            raise ValueError(f"a prompt of {self.length} tokens")
        model = from_plain(ModelInfo, self.body["model"])
        prompt = from_plain(Prompt, self.body["prompt"])
        tokens = PromptTokens(np.zeros(self.length, int), [""] * self.length, self.length)
        return RunResult(model, prompt, RunSettings(), tokens)


def former_body(body: Values) -> dict[str, Any]:
    """A record's JSON object in the present layout, from the first layout.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: the object is no record.
    """
    if from_plain(int, body["n_tokens"]) < 0:
        raise ValueError("a prompt has fewer tokens than none")
    settings = without(body["settings"], ("skipped",))
    every, rest = (_reduced_values(_former(body, first)) for first in (0, 1))
    return {
        **{name: body[name] for name in _SAME},
        "settings": with_former_names(
            to_plain(from_plain(RunSettings, settings, ignore_unknown=[RunSettings]))
        ),
        "answer_start": _answer_start(body),
        "loss": body.get("loss"),
        "every": every,
        "rest": {name: rest.get(name) for name in every},
        "lacks": [*_lacks(every, has_answer=bool(body["prompt"]["answer"]))],
        "failed": body.get("failed", []),
        "layers_done": body["model"]["n_layers"],
        "provenance": body.get("provenance"),
    }


def _lacks(every: Values, has_answer: bool) -> Iterator[str]:
    """The values that the reduced values of all tokens lack, in words."""
    yield from (words for name, words in _LACKS.items() if name in every)
    if has_answer and LENS_METRICS[LOGIT] in every:
        yield "the margin of the answer by depth"


def _answer_start(body: Values) -> Any:
    """First token of the answer; the last token where no metric kept it."""
    for name in (ERASURE.name, GRADIENTS.name):
        for part in body["metrics"].get(name) or ():
            if part:
                return part["answer_start"]
    return body["n_tokens"] - bool(body["prompt"]["answer"])


def _former(body: Values, first: int) -> _Former:
    def values(part: Values) -> tuple[Values, Values]:
        curves = part.get("curves_without_first" if first else "curves") or {"curves": {}}
        return curves["curves"], part["metrics"] | (part["metrics_without_first"] if first else {})

    parts = {**(body.get("lenses") or {}), LOGIT: body}
    by_lens = {lens: values(part) for lens, part in parts.items()}
    return _Former(body, body["n_tokens"], first, by_lens)


def _reduced_values(former: _Former) -> dict[str, Any]:
    """The reduced values of every metric that the record has, as JSON values."""
    if former.n_tokens < 1:
        return {}
    parts = former.by_lens[LOGIT][1]
    reduced = {
        name: _part(former, part if isinstance(part, Mapping) else {}, name, others)
        for name, fields_of in _OTHERS.items()
        if (part := parts.get(name)) and (others := fields_of(former, part)) is not None
    }
    # Every lens has the contributions beside its curves; where one failed, another has them.
    means = {name: curve for curves, _ in former.by_lens.values() for name, curve in curves.items()}
    if "layer_cosine" in means:
        reduced["contributions"] = _part(former, means, "contributions", {})
    for lens, metric in LENS_METRICS.items():
        fitted = parts.get(metric)
        if lens in former.by_lens and (fitted or lens == LOGIT):
            curves, metrics = former.by_lens[lens]
            if "kl" in curves and "early_exit" in metrics:
                others = _lens(former, metrics, fitted)
                reduced[metric] = _part(former, curves, metric, others)
    return reduced


def _part(former: _Former, part: Values, metric: str, others: Values) -> dict[str, Any]:
    """The fields of a metric's reduced values, from its `part` of the summary and `others`."""
    values = {"chosen": [], **part, "tokens": former.n_tokens, **others}
    reduced: Any = METRIC_BY_NAME[metric].reduced
    names = {field.name for field in fields(reduced)}
    present: dict[str, Any] = to_plain({name: values[name] for name in names & values.keys()})
    return present


def _lens(former: _Former, metrics: Values, fitted: Values | None) -> Values:
    """A lens, with its early exits and prediction depths turned back into counts of tokens."""
    (depths,) = metrics["prediction_depth"]["depths"]
    counted = from_plain(np.ndarray, depths)[former.first :]
    agreeing, saved = (
        [round(mean * former.n_tokens) for mean in metrics["early_exit"][name]]
        for name in ("agreement", "layers_saved")
    )
    return {
        "margin": metrics["lens_margin"],
        "prediction_depths": counts_by_depth(counted, former.body["model"]["n_layers"] + 1),
        "agreeing": agreeing,
        "layers_saved": saved,
        **(_fit(former, fitted["lens"], metrics) if fitted else {}),
    }


def _fit(former: _Former, about: Values, metrics: Values) -> Values:
    held_out = {name: about[name] for name in ("held_out_kl", "logit_held_out_kl")}
    settling = _part(former, metrics["settling"], "settling", {})
    return {"fit": without(about, held_out), **held_out, "settling": settling}


def _no_others(former: _Former, part: Values) -> Values:
    return {}


def _nonlinear(former: _Former, part: Any) -> Values:
    return {"tokens": former.length, "share": part}


def _ablation(former: _Former, part: Values) -> Values | None:
    tokens = former.n_tokens - 1
    squares = (from_plain(float, part["mean_floor"]) * tokens) ** 2
    return {"tokens": tokens, "squares": squares} if tokens else None


def _order(former: _Former, part: Values) -> Values | None:
    tokens = former.n_tokens - 1
    return {"tokens": tokens, "squares": None} if tokens else None


def _context(former: _Former, part: Values) -> Values | None:
    (start,) = part["starts"]
    if start is None:
        return None
    tokens, later = former.length - start, part["later_tokens"]

    def curve(values: Values, tokens: int) -> Values:
        of_tokens = {name: values[name] for name in ("loss", "worth")}
        return {**of_tokens, "tokens": tokens, "squares": None, "floor": part["floor"]}

    return {
        "tokens": tokens,
        "start": start,
        "curve": curve(part, tokens),
        "later": curve(later, tokens - 1) if later else None,
    }


def _answers(former: _Former, part: Values) -> Values:
    length = round(from_plain(float, part["tokens"]))
    return {
        "tokens": length,
        "right": [part["without"]],
        "differs_after": [part["differs_after"]],
        "clean_right": [bool(from_plain(float, part["clean"]))],
        "lengths": [length],
        "moved": part["unchanged_differs"],
    }


def _skip_effects(former: _Former, part: Values) -> Values:
    (positions,) = part["positions"]
    tokens = sum(former.length - position for position in positions)
    return {"tokens": tokens, "positions": positions}


def _direct_effects(former: _Former, part: Values) -> Values:
    (positions,) = part["positions"]
    pairs = later_pairs(from_plain(np.ndarray, part["layers"]))
    mean = np.nanmean(pairs) if np.isfinite(pairs).any() else None
    return {"tokens": former.length, "positions": positions, "mean": mean}


def _erasure(former: _Former, part: Any) -> Values:
    (values,) = part
    result = from_plain(ResidualErasure, without(values, ("until",)))
    return vars(ERASURE.reduce(result, former.run, slice(former.first, None)))


def _gradients(former: _Former, part: Any) -> Values:
    (values,) = part
    result = from_plain(IntegratedGradients, values)
    return vars(GRADIENTS.reduce(result, former.run, slice(former.first, None)))


_OTHERS: Mapping[str, Callable[[_Former, Any], Values | None]] = {
    "similarity": _no_others,
    "neighbours": _no_others,
    "settling": _no_others,
    "context_depth": _context,
    "answers_kept": _answers,
    "nonlinear": _nonlinear,
    "ablation": _ablation,
    "order": _order,
    "skip_effects": _skip_effects,
    "direct_effects": _direct_effects,
    "residual_erasure": _erasure,
    "integrated_gradients": _gradients,
}
"""By metric, the reduced fields that its part of the summary lacks or has in another form.

The functions return None where there are no reduced values.
"""
