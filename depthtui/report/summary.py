"""The summary of some runs of one model: what `summary.json` holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from depthtui import __version__
from depthtui.data.results import (
    Curves,
    DepthEstimate,
    LogitLens,
    ModelInfo,
    Provenance,
    RunResult,
    Similarity,
    SummarySettings,
    arrays_of,
)
from depthtui.depth.effective_depth import summarise
from depthtui.errors import DepthError
from depthtui.metrics.depth_score import depth_score, downstream_effect
from depthtui.metrics.early_exit import early_exit_curve
from depthtui.metrics.lens_margin import lens_margin
from depthtui.metrics.prediction_depth import prediction_depth
from depthtui.metrics.pruning import best_block, usefulness
from depthtui.metrics.settling_depth import settling_depth, share_of_late
from depthtui.report.findings import CONFIDENCES, SETTLED, Pooled

SCHEMA = 1
"""Number of the summary's layout."""

_MODEL = (
    "name",
    "source",
    "revision",
    "architecture",
    "n_layers",
    "d_model",
    "vocab_size",
    "parameters",
)
_BRANCHES = ("attention", "mlp", "layer")
_BY_PROMPT = ("residual_erasure", "integrated_gradients", "direct_logits")


def summary_dict(results: Sequence[RunResult], settings: SummarySettings) -> dict[str, Any]:
    """The result file as JSON values.

    Contributions and lens are absent where not every run has them, the causal metrics where
    none has; a prompt without one is null in a list by prompt. An unknown value is null.

    Args:
        results: one or more runs of one model.
        settings: how they are pooled.
    """
    model = results[0].model
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "model": {**{name: getattr(model, name) for name in _MODEL}, **_where(model)},
        "settings": {"top_k": results[0].settings.top_k, **asdict(settings), **_left_out(results)},
        "prompts": [_prompt(each) for each in results],
    }
    pooled = summarise(results, settings)
    if pooled is not None:
        summary |= _metrics(pooled.curves)
    if "logit_lens" in summary:
        summary["logit_lens"]["top_tokens"] = [_top_tokens(each) for each in results]
    summary |= _from_lens(Pooled(results, settings))
    summary |= _causal(Pooled(results, settings))
    if any(each.unavailable for each in results):
        summary["unavailable"] = [dict(each.unavailable) for each in results]
    summary["effective_depth"] = [_depth(each) for each in pooled.depths] if pooled else []
    summary["provenance"] = combined_provenance(results)
    return finite(summary)


def summary_json(results: Sequence[RunResult], settings: SummarySettings) -> bytes:
    """The result file as UTF-8; half a surrogate pair is written as an escape."""
    text = json.dumps(
        summary_dict(results, settings), ensure_ascii=False, allow_nan=False, indent=1
    )
    return text.encode("utf-8", "backslashreplace") + b"\n"


def combined_provenance(results: Iterable[RunResult]) -> dict[str, Any]:
    """Where the runs were computed: versions, the first start, the seconds of all.

    `cached` says whether all of them came from the disk cache.
    """
    known = [each.provenance for each in results if each.provenance is not None]
    if not known:
        return {"depthtui": __version__, "seconds": None, "cached": False}
    combined: dict[str, Any] = {
        each.name: ", ".join(dict.fromkeys(str(getattr(run, each.name)) for run in known))
        for each in fields(Provenance)
    }
    return combined | {
        "started": min(each.started for each in known),
        "seconds": sum(each.seconds for each in known),
        "cached": all(each.cached for each in known),
    }


def weights_dtype(model: ModelInfo) -> str:
    """The dtype, with the quantisation where there is one, such as `bfloat16, 8bit weights`."""
    return f"{model.dtype}, {model.quantize} weights" if model.quantize else model.dtype


def _where(model: ModelInfo) -> dict[str, str]:
    return {"dtype": weights_dtype(model), "device": model.device}


def _left_out(results: Sequence[RunResult]) -> dict[str, Any]:
    """What a what-if leaves out; nothing for clean runs."""
    silenced = results[0].settings.silenced
    if not silenced:
        return {}
    return {
        "silenced": [asdict(each) for each in silenced],
        "parameters_silenced": results[0].model.parameters_of(silenced),
    }


def _prompt(result: RunResult) -> dict[str, Any]:
    prompt, tokens = result.prompt, result.tokens
    return {
        "task": prompt.task,
        "level": prompt.level,
        "text": prompt.text,
        "answer": prompt.answer,
        "tokens": list(tokens.texts),
        "token_ids": [int(each) for each in tokens.ids],
    }


def _metrics(curves: Curves) -> dict[str, Any]:
    contributions = {
        branch: {kind: getattr(curves, f"{branch}_{kind}") for kind in ("norm_ratio", "cosine")}
        for branch in _BRANCHES
        if getattr(curves, f"{branch}_cosine") is not None
    }
    metrics: dict[str, Any] = {}
    if contributions:
        metrics["contributions"] = contributions
    if curves.kl is not None:
        metrics["logit_lens"] = {
            "kl": curves.kl,
            "overlap": curves.overlap,
            "entropy": curves.entropy,
        }
    return metrics


def _from_lens(pooled: Pooled) -> dict[str, Any]:
    """What follows from the lens alone: means over tokens, and a depth for each token."""
    lens = pooled.logit_lens
    if lens is None:
        return {}
    agreement, saved = early_exit_curve(lens, CONFIDENCES)
    by_prompt = [prediction_depth(each.logit_lens) for each in pooled.results if each.logit_lens]
    return {
        "lens_margin": lens_margin(lens).mean(axis=1, dtype=np.float64),
        "prediction_depth": {"mean": float(prediction_depth(lens).mean()), "depths": by_prompt},
        "early_exit": {
            "confidence": list(CONFIDENCES),
            "agreement": agreement,
            "layers_saved": saved,
        },
    }


def _causal(pooled: Pooled) -> dict[str, Any]:
    """The metrics that run the model again, and what follows from them."""
    results = pooled.results
    found: dict[str, Any] = {}
    if (skip := pooled.skip_effects) is not None:
        positions = [
            None if each.skip_effects is None else list(each.skip_effects.positions)
            for each in results
        ]
        found["skip_effects"] = {"part": skip.part, **dict(arrays_of(skip)), "positions": positions}
        found["depth_score"] = {
            "output": depth_score(skip.output),
            "downstream": depth_score(downstream_effect(skip)),
        }
    for name in _BY_PROMPT:
        parts = [getattr(each, name) for each in results]
        if any(part is not None for part in parts):
            found[name] = [None if part is None else vars(part) for part in parts]
    if (ablation := pooled.ablation) is not None:
        found["ablation"] = {
            "part": ablation.part,
            "loss": float(ablation.loss.mean(dtype=np.float64)),
            "loss_change": usefulness(ablation),
        }
    if (similarity := pooled.similarity) is not None:
        found["similarity"] = {
            "block_influence": usefulness(similarity),
            "angular_distance": similarity.angular_distance,
            "best_blocks": _best_blocks(similarity),
        }
    if (settling := pooled.settling) is not None:
        found["settling"] = {
            "divergence": settling.divergence.mean(axis=1, dtype=np.float64),
            "threshold": SETTLED,
            "mean_depth": float(settling_depth(settling, SETTLED).mean()),
            "late_share": share_of_late(settling, SETTLED),
        }
    return found


def _best_blocks(similarity: Similarity) -> list[dict[str, Any]]:
    """For every n, the block of n layers that turns the residual stream least."""
    blocks = []
    for n in range(1, len(similarity.block_influence) + 1):
        try:
            first, distance = best_block(similarity, n)
        except DepthError:
            break
        blocks.append({"n": n, "first_layer": first, "angular_distance": distance})
    return blocks


def _top_tokens(result: RunResult) -> list[list[dict[str, Any]]]:
    lens = result.logit_lens
    assert lens is not None
    return [_top_at(lens, layer) for layer in range(len(lens.top_ids))]


def _top_at(lens: LogitLens, layer: int) -> list[dict[str, Any]]:
    ids, probabilities = lens.top_ids[layer, -1], lens.top_probabilities[layer, -1]
    return [
        {"token": lens.vocabulary.get(int(id_), ""), "probability": float(probability)}
        for id_, probability in zip(ids, probabilities, strict=True)
        if id_ >= 0
    ]


def _depth(estimate: DepthEstimate) -> dict[str, Any]:
    return {
        "rule": estimate.rule,
        "layer": estimate.layer,
        "ratio": estimate.ratio,
        "threshold": estimate.threshold,
        "reason": estimate.reason,
        "interval": None if estimate.interval is None else list(estimate.interval),
    }


def finite(value: Any) -> Any:
    """JSON values: arrays as lists, NaN and infinity as None."""
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
