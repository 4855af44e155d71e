"""Text that a model writes by itself, each token measured while it is produced."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from depthtui.data.generation import Continuation, Generation
from depthtui.data.lens import FittedLens, LogitLens
from depthtui.data.lens_view import LENS_METRICS, LOGIT
from depthtui.data.run import PromptTokens
from depthtui.data.run_settings import RunSettings
from depthtui.depth.token_depths import token_depths
from depthtui.engine.control import Control
from depthtui.engine.prompt_run import PromptRun
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.sampling import Sampler
from depthtui.errors import DepthError, RunStopped, short_repr
from depthtui.lenses.maps import LensMaps, MapsOnDevice
from depthtui.metrics import METRIC_BY_NAME, empty_result
from depthtui.metrics.logit_lens.token_lens import TokenReading, read_token
from depthtui.metrics.settling import Settling
from depthtui.metrics.settling.compute import divergence
from depthtui.models.loading import LoadedModel
from depthtui.tracing.decoding import Decoding

_NOT_APPLIED = (
    *("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size"),
    *("encoder_no_repeat_ngram_size", "bad_words_ids", "sequence_bias", "suppress_tokens"),
    *("begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "min_length"),
    *("min_new_tokens", "exponential_decay_length_penalty", "guidance_scale", "num_beams"),
)
"""Fields of a generation config that change what transformers writes, and nothing here."""

_SECONDS_BETWEEN_PARTS = 0.04
"""Tokens are gathered for this long before they are emitted."""


def generate(
    model: ReadyModel,
    generation: Generation,
    checkpoint: Callable[[], None] = lambda: None,
    on_part: Callable[[Continuation], None] = lambda part: None,
    maps: LensMaps | None = None,
) -> None:
    """Let the model continue a prompt; fill in tokens, depths and the reason of the end.

    Token n is chosen from the output at the position before it, the same row that its lens
    compares the other depths with. Generated tokens stay where `checkpoint` raises RunStopped,
    or another error.

    Args:
        model: the model.
        generation: an empty generation, with prompt and settings.
        checkpoint: called before every layer.
        on_part: called with tokens as they come, at most every 40 ms.
        maps: the fitted lens that depths are read through; None for the logit lens.

    Raises:
        DepthError: the model has no lens, or no room in its context.
    """
    unembedding, settings = model.anatomy.unembedding, generation.settings
    if unembedding is None:
        raise DepthError(
            f"Depth cannot be told without the logit lens: {model.anatomy.lens_missing}.",
            "Choose another model.",
        )
    limit, at_limit = _limit(model, generation)
    sampler = Sampler(settings.temperature, settings.top_k, settings.top_p, settings.seed)
    ends = end_tokens(model.loaded)
    transport = None if maps is None else MapsOnDevice(maps)
    writer = _Writer(model, generation, on_part, transport.depths_without if transport else ())
    cached = model.can_read_on()
    try:
        with (
            torch.inference_mode(),
            Decoding(model.loaded.model, model.anatomy, checkpoint, cached) as decoding,
        ):
            unread = generation.tokens.ids
            while not generation.stopped_by:
                residuals = decoding.read(unread)
                if transport is not None:
                    residuals = transport(residuals)
                residuals = torch.stack(model.anatomy.all_readable(residuals.unbind()))
                token_id, reading = read_token(
                    unembedding, residuals, settings.lens_top_k, sampler.choose
                )
                writer.add(token_id, reading)
                if token_id in ends:
                    generation.stopped_by = "end"
                elif writer.count == limit:
                    generation.stopped_by = at_limit
                unread = np.array([token_id])
        generation.complete = True
    except RunStopped:
        generation.stopped_by = "user"
    finally:
        writer.finish()


def replayed(
    model: ReadyModel, generation: Generation, maps: LensMaps | None = None
) -> Continuation:
    """Measure the text by one teacher-forced pass over prompt and generated tokens.

    The result must agree with that of `generate`, token by token through the same `maps`, within
    rounding.

    Raises:
        DepthError: the model has no lens.
    """
    continuation, settings = generation.continuation, generation.settings
    unembedding = model.anatomy.unembedding
    if unembedding is None:
        raise DepthError(f"There is no logit lens: {model.anatomy.lens_missing}.")
    ids = np.concatenate([generation.tokens.ids, continuation.ids])
    tokens = PromptTokens(ids, generation.tokens.texts + continuation.texts, len(generation.tokens))
    name = LENS_METRICS[LOGIT if maps is None else maps.fit.kind]
    run_settings = RunSettings(lens_top_k=settings.lens_top_k, metrics=(name,))
    result = empty_result(model.info, generation.prompt, run_settings, tokens)
    run = PromptRun(model, result, Control(), lambda event: None, 0)
    activations = run.forward(keep_writes=False)
    if maps is None:
        apart = divergence(unembedding, model.anatomy.all_readable(activations.residual.unbind()))
    else:
        context = run.context(lambda: None, lambda kind: maps, lambda: None)
        run.compute(METRIC_BY_NAME[name], context, None)
    lens_values = result.measured[name]
    assert isinstance(lens_values, LogitLens)
    if isinstance(lens_values, FittedLens):
        apart = Settling(lens_values.divergence)
    columns = slice(len(generation.tokens) - 1, len(ids) - 1)
    arrays = {name: getattr(lens_values, name)[:, columns] for name in LogitLens.shapes()}
    lens = LogitLens(**arrays, vocabulary=lens_values.vocabulary)
    settling = apart.divergence[:, columns]
    depths = token_depths(lens, settling, settings)
    return Continuation(continuation.ids, continuation.texts, lens, settling, depths)


def not_applied(loaded: LoadedModel) -> str:
    """A sentence on the choices of the model's generation config that are not applied, or empty."""
    config = loaded.model.generation_config
    chosen = {} if config is None else config.to_diff_dict()
    fields = {name: chosen[name] for name in _NOT_APPLIED if chosen.get(name) is not None}
    if not fields:
        return ""
    words = ", ".join(f"{name} {short_repr(value)}" for name, value in fields.items())
    return (
        f"The generation config of {loaded.info.name} asks for {words}. Texts are written without: "
        "transformers would write others."
    )


def end_tokens(loaded: LoadedModel) -> frozenset[int]:
    """The ids of tokens that end a text."""
    end_ids = getattr(loaded.model.generation_config, "eos_token_id", None)
    ids = end_ids if isinstance(end_ids, list) else [end_ids]
    return frozenset(int(id_) for id_ in (*ids, loaded.tokenizer.eos_token_id) if id_ is not None)


def _limit(model: ReadyModel, generation: Generation) -> tuple[int, str]:
    """How many tokens may be generated, and the reason for that limit.

    Raises:
        DepthError: the prompt fills the context.
    """
    context, requested = model.info.context_length, generation.settings.max_tokens
    if not context:
        return requested, "limit"
    room = context - len(generation.tokens)
    if room < 1:
        raise DepthError(
            f"The prompt has {len(generation.tokens):,} tokens; {model.info.name} reads at most "
            f"{context:,}, and its answer needs some of them.",
            "Shorten the prompt, or choose a model with a longer context.",
        )
    return (room, "context") if room < requested else (requested, "limit")


class _Writer:
    """Gathers tokens into parts, emits these, and puts them into the generation.

    Values at the depths `unread` are set to unknown.
    """

    def __init__(
        self,
        model: ReadyModel,
        generation: Generation,
        on_part: Callable[[Continuation], None],
        unread: Sequence[int],
    ) -> None:
        self.count = 0
        self._unread = list(unread)
        self._vocabulary = model.vocabulary
        self._generation = generation
        self._on_part = on_part
        self._ids: list[int] = []
        self._readings: list[TokenReading] = []
        self._parts: list[Continuation] = []
        self._emitted_at = time.perf_counter()

    def add(self, token_id: int, reading: TokenReading) -> None:
        self.count += 1
        self._ids.append(token_id)
        self._readings.append(reading)
        if time.perf_counter() - self._emitted_at >= _SECONDS_BETWEEN_PARTS:
            self._emit_waiting()

    def finish(self) -> None:
        """Emit the last part, and join all parts."""
        if self._ids:
            self._emit_waiting()
        if self._parts:
            self._generation.continuation = Continuation.joined(self._parts)

    def _emit_waiting(self) -> None:
        columns = {
            name: torch.stack([vars(reading)[name] for reading in self._readings], dim=1).numpy()
            for name in vars(self._readings[0])
        }
        settling = columns.pop("divergence")
        lens = LogitLens(**columns, vocabulary={})
        lens.forget(self._unread)
        settling[self._unread] = np.nan
        ids = np.unique(lens.top_ids).tolist()
        lens.vocabulary = self._vocabulary.texts(id_ for id_ in ids if id_ >= 0)
        depths = token_depths(lens, settling, self._generation.settings)
        texts = [self._vocabulary.text(id_) for id_ in self._ids]
        part = Continuation(np.array(self._ids, np.int64), texts, lens, settling, depths)
        self._ids, self._readings = [], []
        self._parts.append(part)
        self._on_part(part)
        self._emitted_at = time.perf_counter()
