"""Results of a model in the disk cache, each under a key of all that its values depend on."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import transformers

from depthtui.data import codec
from depthtui.data.arrays import MetricResult
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, PromptTokens, RunResult, WrittenAnswer
from depthtui.data.run_settings import Writing
from depthtui.data.store import Store, make_key
from depthtui.metrics.choices import key_parts
from depthtui.metrics.registry import OF_THE_PASS
from depthtui.metrics.spec import Metric
from depthtui.models.devices import hardware
from depthtui.parallel.agreements import first_rank_bytes
from depthtui.parallel.group import is_first
from depthtui.plugins import plugin_of
from depthtui.token_text import shortened
from depthtui.tracing.activations import Activations

_MOST_CHARACTERS = 40
"""Most characters of a prompt in the description of an entry."""


@dataclasses.dataclass(frozen=True)
class ResultCache:
    """Finds and stores results of one model.

    A result that cannot be read counts as missing.

    Attributes:
        store: the disk cache.
        info: the model's description.
    """

    store: Store
    info: ModelInfo

    def pass_key(self, result: RunResult) -> str:
        """Key of all metrics that the forward pass of a run measures."""
        metrics = sorted(set(OF_THE_PASS) & set(result.settings.metrics) - set(result.failed))
        parts = {"lens_top_k": result.settings.lens_top_k, "metrics": metrics}
        return make_key("result", **_key_parts(self.info, result), **parts)

    def metric_key(self, result: RunResult, metric: Metric, fit: str = "") -> str:
        """Key of a slower metric of a run; `fit` is the digest of the lens it reads through."""
        make_parts = metric.cache_key or (lambda result: key_parts(result, metric.depends_on))
        parts = make_parts(result)
        if fit:
            parts = {**parts, "fit": fit}
        if plugin := plugin_of("metric", metric.name):
            # Another version may compute another value.
            parts = {**parts, "package": plugin.distribution}
        return make_key("result", **_key_parts(self.info, result), metric=metric.name, **parts)

    def of_pass(self, result: RunResult) -> RunResult | None:
        """The stored metrics of a run's forward pass, if all that it asks for are there."""
        cached = self._decode(self.pass_key(result))
        return cached if isinstance(cached, RunResult) else None

    def save_pass(self, result: RunResult, pass_result: RunResult) -> None:
        """Store the metrics of the forward pass, as they were before any other metric."""
        self._save(self.pass_key(result), pass_result, _title(result, "forward pass"))

    def of_metric(self, result: RunResult, metric: Metric, fit: str = "") -> MetricResult | None:
        """A slower metric of a run, whole or in part; `fit` is the digest of its lens."""
        cached = self._decode(self.metric_key(result, metric, fit))
        assert metric.result is not None
        return cached if isinstance(cached, metric.result) else None

    def save_metric(
        self, result: RunResult, metric: Metric, value: MetricResult, fit: str = ""
    ) -> None:
        """Store a slower metric, whole or in part."""
        self._save(self.metric_key(result, metric, fit), value, _title(result, metric.title))

    def written(self, tokens: PromptTokens, writing: Writing) -> WrittenAnswer | None:
        """A stored text that was written after these tokens."""
        cached = self._decode(_written_key(self.info, tokens, writing))
        return cached if isinstance(cached, WrittenAnswer) else None

    def save_written(self, tokens: PromptTokens, prompt: Prompt) -> None:
        """Store the answer of a prompt that was written after these tokens."""
        written = prompt.written
        assert written is not None
        beginning = _beginning(prompt, f"{len(tokens)} + {len(written.ids)} tokens")
        title = f"{self.info.name} · written text · {beginning}"
        self._save(_written_key(self.info, tokens, written.writing), written, title)

    def activations(self, result: RunResult) -> Activations | None:
        """The stored activations of a run."""
        key = _activations_key(self.info, result)
        data = first_rank_bytes("activations in the cache", lambda: self.store.get(key))
        return None if data is None else Activations.from_bytes(data)

    def save_activations(self, result: RunResult, activations: Activations) -> None:
        """Store the activations of a run."""
        key = _activations_key(self.info, result)
        if is_first():
            title = _title(result, "activations")
            self.store.put(key, activations.to_bytes(), title, "activations")

    def _decode(self, key: str) -> Any:
        data = first_rank_bytes("a result in the cache", lambda: self.store.get(key))
        if data is None:
            return None
        try:
            return codec.decode(data)
        except codec.CodecError:
            return None

    def _save(self, key: str, value: object, title: str) -> None:
        if is_first():
            self.store.put(key, codec.encode(value), title, "result")


def _title(result: RunResult, part: str) -> str:
    """The description of a stored part of a run, such as a metric's title."""
    changed = "" if result.settings.is_clean else ", what-if"
    beginning = _beginning(result.prompt, f"{len(result.tokens)} tokens")
    return f"{result.model.name} · {part}{changed} · {beginning}"


def _beginning(prompt: Prompt, tokens: str) -> str:
    """A prompt's task, its number of tokens in words, and its first words."""
    return f"{prompt.source}, {tokens}: {shortened(prompt.text, _MOST_CHARACTERS)}"


def _written_key(info: ModelInfo, tokens: PromptTokens, writing: Writing) -> str:
    choices = dataclasses.asdict(writing.effective)
    return make_key("written", **_model_parts(info), token_ids=tokens.ids, **choices)


def _key_parts(info: ModelInfo, result: RunResult) -> dict[str, Any]:
    settings = result.settings
    patched = {"patched": sorted(settings.patched), "source": _ids(result.source)}
    return {
        **_model_parts(info),
        "token_ids": result.tokens.ids,
        "skipped": sorted(settings.skipped, key=lambda skip: (skip.layer, skip.part)),
        **({"repeated": sorted(settings.repeated)} if settings.repeated else {}),
        **(patched if settings.patched else {}),
    }


def _ids(tokens: PromptTokens | None) -> list[int]:
    return [] if tokens is None else tokens.ids.tolist()


def _model_parts(info: ModelInfo) -> dict[str, Any]:
    return {
        "fingerprint": info.fingerprint,
        "revision": info.revision,
        "dtype": info.dtype,
        "quantize": info.quantize,
        "device": hardware(info.device),
        # Sums over ranks round differently.
        **({"ranks": info.spec.tensor_parallel} if info.spec.tensor_parallel > 1 else {}),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _activations_key(info: ModelInfo, result: RunResult) -> str:
    return make_key("activations", **_key_parts(info, result))
