"""The results of a saved session's runs, put together from the cache."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from depthtui.data import codec
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.saved_session import PASS, SavedRun
from depthtui.data.store import Store
from depthtui.metrics.registry import METRIC_BY_NAME, OF_THE_PASS
from depthtui.prompts.tasks import prompt_title
from depthtui.token_text import printable_chars


def read_run(store: Store, run: SavedRun) -> RunResult | None:
    """The result of a saved run; None where the cache no longer has its forward pass.

    A slower metric that the cache no longer has is left out.
    """
    forward_pass = _decode(store, run.keys.get(PASS, ""))
    if not isinstance(forward_pass, RunResult) or forward_pass.provenance is None:
        return None
    if not _is_of(forward_pass, run):
        return None
    count = len(forward_pass.tokens)
    answer = run.answer_start if 0 <= run.answer_start <= count else count
    tokens = PromptTokens(forward_pass.tokens.ids, forward_pass.tokens.texts, answer)
    sizes = run.model.n_layers, len(tokens), run.settings.lens_top_k
    if not all(_fits(name, part, sizes) for name, part in forward_pass.measured.items()):
        return None
    # The key of a metric that is no longer in the run's settings belongs to other settings.
    measured_names = run.keys.keys() & set(run.settings.metrics)
    slower = {name: _decode(store, run.keys[name]) for name in measured_names}
    parts = {**forward_pass.measured} | {
        name: part for name, part in slower.items() if _fits(name, part, sizes)
    }
    available = {*parts, *OF_THE_PASS, *run.unavailable}
    metrics = tuple(name for name in run.settings.metrics if name in available)
    return RunResult(
        run.model,
        run.prompt,
        replace(run.settings, metrics=metrics),
        tokens,
        parts,
        run.model.n_layers,
        True,
        replace(forward_pass.provenance, cached=True),
        dict(run.unavailable),
        run.failed,
        run.remarks,
    )


def _is_of(forward_pass: RunResult, run: SavedRun) -> bool:
    """Whether a cached forward pass has a run's model, prompt and layers."""
    return (
        forward_pass.model.fingerprint == run.model.fingerprint
        and forward_pass.prompt.text == run.prompt.text
        and forward_pass.settings.chat_template == run.settings.chat_template
        and set(forward_pass.settings.skipped) == set(run.settings.skipped)
        and set(forward_pass.settings.repeated) == set(run.settings.repeated)
        and set(forward_pass.settings.patched) == set(run.settings.patched)
        and run.settings.answer_start < len(forward_pass.tokens)
    )


def missing_words(number: int, prompt: Prompt, model: ModelInfo) -> str:
    """A run that cannot be read, in words; `number` counts the session's runs from 1."""
    title = printable_chars(prompt_title(prompt, 60))
    return f"run {number}, “{title}” on {printable_chars(model.name)}, is not in the cache"


def _fits(name: str, part: Any, sizes: tuple[int, int, int]) -> bool:
    """Whether a part has its metric's type, and the shapes of these sizes: L, T and k."""
    kind = METRIC_BY_NAME[name].result if name in METRIC_BY_NAME else None
    return kind is not None and isinstance(part, kind) and not part.unfit(*sizes)


def _decode(store: Store, key: str) -> Any:
    data = store.get(key) if key else None
    try:
        return None if data is None else codec.decode(data)
    except codec.CodecError:
        return None
