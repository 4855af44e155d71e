"""A model writes the answer to a prompt: each token is read through the lens as it is chosen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from depthtui.data.arrays import MetricResult
from depthtui.data.lens import LogitLens
from depthtui.data.lens_view import FITTED, LENS_METRICS, LOGIT, lens_title
from depthtui.data.protocol import Event, Notice, Progress, RunStarted, TokensWritten
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import RunSettings, Writing
from depthtui.engine.lenses import LensChoice, Lenses
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.result_cache import ResultCache
from depthtui.engine.sampling import Sampler
from depthtui.engine.tokens import end_tokens, tokenise
from depthtui.errors import DepthError, RunStopped, short_repr
from depthtui.lenses.maps import LensMaps, MapsOnDevice
from depthtui.metrics import settling
from depthtui.metrics.logit_lens.token_lens import TokenReading, read_token
from depthtui.metrics.registry import empty_result
from depthtui.models.loading import LoadedModel
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.batching import in_smaller_parts, ran_out
from depthtui.tracing.decoding import Decoding

_NOT_APPLIED = (
    *("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size"),
    *("encoder_no_repeat_ngram_size", "bad_words_ids", "sequence_bias", "suppress_tokens"),
    *("begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "min_length"),
    *("min_new_tokens", "exponential_decay_length_penalty", "guidance_scale", "num_beams"),
)
"""Fields of a generation config that change the texts of transformers, and nothing here."""

_SECONDS_BETWEEN_PARTS = 0.04
"""Tokens are gathered for this long before they are emitted."""

EmitTokens = Callable[[np.ndarray, list[str], Mapping[str, MetricResult]], None]
"""Called with ids, texts and readings of tokens, as in `RunResult.write_on`."""


def write(
    model: ReadyModel,
    result: RunResult,
    writing: Writing,
    maps: LensMaps | None = None,
    checkpoint: Callable[[], None] = lambda: None,
    emit: EmitTokens = lambda ids, texts, readings: None,
) -> str:
    """Let the model continue a run's prompt; append tokens and readings to the run.

    Each token is chosen from the output at the position before it, the same row that its lens
    compares the other depths with. Tokens stay where `checkpoint` raises RunStopped, or another
    error is raised.

    Args:
        model: the model.
        result: the run, of a prompt without an answer.
        writing: how tokens are chosen.
        maps: the fitted lens to read through; None for the logit lens.
        checkpoint: called before every layer.
        emit: called with tokens as they come, at most every 40 ms.

    Returns:
        the reason of the end, as in `WrittenAnswer.stopped_by`.

    Raises:
        DepthError: the model has no lens, or no room in its context.
    """
    unembedding = model.anatomy.unembedding
    if unembedding is None:
        raise DepthError(
            f"Depth cannot be told without the logit lens: {model.anatomy.lens_missing}.",
            "Choose another model.",
        )
    limit, at_limit = _limit(model, result, writing)
    sampler = Sampler(writing.temperature, writing.top_k, writing.top_p, writing.seed)
    ends, cached = end_tokens(model.loaded), model.can_read_on()
    mapped = None if maps is None else MapsOnDevice(maps)
    writer = _Writer(model, result, maps, emit)
    try:
        with (
            torch.inference_mode(),
            Decoding(model.loaded.model, model.anatomy, checkpoint, cached) as decoding,
        ):
            unread = result.tokens.ids
            while True:
                residuals = decoding.read(unread)
                residuals = residuals if mapped is None else mapped(residuals)
                residuals = torch.stack(model.anatomy.all_readable(residuals.unbind()))
                token_id, reading = read_token(
                    unembedding, residuals, result.settings.lens_top_k, sampler.choose
                )
                writer.add(token_id, reading)
                if token_id in ends:
                    return "end"
                if writer.count == limit:
                    return at_limit
                unread = np.array([token_id])
    finally:
        writer.emit_waiting()


def begin_text(model: ReadyModel, prompt: Prompt, settings: RunSettings) -> RunResult:
    """An empty run of a question, for the model to answer; settling is measured too.

    Raises:
        DepthError: layers are changed, or the question cannot be read.
    """
    if not settings.is_clean:
        raise DepthError("A text is written by the whole model, not in a what-if.")
    names = tuple(dict.fromkeys((*settings.metrics, settling.NAME)))
    settings = replace(settings, metrics=names, answer_start=-1)
    question = prompt.unanswered
    tokens = tokenise(model.loaded.tokenizer, question, settings.chat_template, model.vocabulary)
    model.check_ids(tokens.ids)
    return empty_result(model.info, question, settings, tokens)


@dataclass(eq=False)
class TextWriting:
    """Lets a model write the answer of a run, or takes it from the cache, and emits its tokens.

    Attributes:
        model: the model.
        text: the run, of a prompt without an answer.
        writing: how tokens are chosen.
        cache: former texts of the model.
        lenses: its fitted lenses.
        emit: receives every event.
        run_id: the id of the run in its events.
    """

    model: ReadyModel
    text: RunResult
    writing: Writing
    cache: ResultCache
    lenses: Lenses
    emit: Callable[[Event], None]
    run_id: int
    _began: float = field(default_factory=time.perf_counter, init=False)

    def write(self, checkpoint: Callable[[], None], fresh: bool) -> None:
        """Write the answer; where `checkpoint` or the memory stops it, its tokens stay.

        Args:
            checkpoint: called before every layer.
            fresh: whether it is written even where the cache has it.

        Raises:
            DepthError: the model has no lens, no room in its context, or too little memory.
        """
        text, writing, question = self.text, self.writing, self.text.tokens
        self.emit(RunStarted(self.run_id, question))
        written = None if fresh else self.cache.written(question, writing)
        if written is not None:
            ids = np.array(written.ids, np.int64)
            texts = [self.model.vocabulary.text(id_) for id_ in written.ids]
            text.write_on(ids, texts, {})
            self._end(written.stopped_by, ids, texts)
            return
        stopped_by = self._write(checkpoint)
        self._end(stopped_by, np.zeros(0, np.int64), [])
        if stopped_by not in ("user", "memory"):
            self.cache.save_written(question, text.prompt)

    def _end(self, stopped_by: str, ids: np.ndarray, texts: list[str]) -> None:
        self.text.end_writing(self.writing, stopped_by)
        seconds = time.perf_counter() - self._began
        self.emit(TokensWritten(self.run_id, ids, texts, {}, seconds, stopped_by))

    def _write(self, checkpoint: Callable[[], None]) -> str:
        """Let the model write; return the reason of the end."""
        model, text = self.model, self.text
        if words := not_applied(model.loaded):
            self.emit(Notice(words))
        if not model.can_read_on():
            words = (
                f"{model.info.name} cannot go on from a cache of keys and values: "
                "the whole text is read again for every token, which is slow."
            )
            self.emit(Notice(words))
        try:
            maps = self._maps(checkpoint)
            return write(model, text, self.writing, maps, checkpoint, self._emit_tokens)
        except RunStopped:
            return "user"
        except Exception as error:
            if not ran_out(error) or text.answer_start == len(text.tokens):
                raise
            self.emit(Notice(f"The memory ran out after {len(text.tokens):,} tokens."))
            return "memory"

    def _emit_tokens(
        self, ids: np.ndarray, texts: list[str], readings: Mapping[str, MetricResult]
    ) -> None:
        seconds = time.perf_counter() - self._began
        self.emit(TokensWritten(self.run_id, ids, texts, dict(readings), seconds))

    def _maps(self, checkpoint: Callable[[], None]) -> LensMaps | None:
        """The fitted lens to read a text through, fitted if possible; None for the logit lens."""
        settings = self.text.settings
        kind = next((kind for kind, name in FITTED.items() if name in settings.metrics), None)
        if kind is None:
            return None

        def report(stage: str, steps: int, total: int) -> None:
            self.emit(Progress(stage, steps, total, "steps"))

        choice = LensChoice.of(kind, settings)
        try:
            return in_smaller_parts(lambda: self.lenses.find_or_fit(choice, report, checkpoint))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise DepthError(
                f"The memory does not suffice to fit the {lens_title(kind)}.",
                "Read through the logit lens, or use a smaller model.",
            ) from error


def keep_readings(result: RunResult, text: RunResult) -> None:
    """Put the readings of a text into a run of it that was not measured completely.

    A lens that the run has read at as many tokens stays.
    """
    for name, reading in text.measured.items():
        value = result.measured.get(name)
        if name in result.unavailable:
            continue
        if value is None or (isinstance(value, LogitLens) and _reads_more(reading, value)):
            result.put(name, reading)


def _reads_more(reading: MetricResult, value: LogitLens) -> bool:
    assert isinstance(reading, LogitLens)
    return bool(reading.tokens_read.sum() > value.tokens_read.sum())


def not_applied(loaded: LoadedModel) -> str:
    """A sentence on the choices of the model's generation config that are not applied, or empty."""
    config = loaded.model.generation_config
    chosen = {} if config is None else config.to_diff_dict()
    fields = {name: chosen[name] for name in _NOT_APPLIED if chosen.get(name) is not None}
    if not fields:
        return ""
    words = ", ".join(f"{name} {short_repr(value)}" for name, value in fields.items())
    return (
        f"The generation config of {loaded.info.name} asks for {words}, which depthtui does not "
        "apply: its texts differ from those of transformers."
    )


def _limit(model: ReadyModel, result: RunResult, writing: Writing) -> tuple[int, str]:
    """How many tokens may be written, and the reason for that limit.

    Raises:
        DepthError: the prompt fills the context.
    """
    context, requested = model.info.context_length, writing.max_tokens
    if not context:
        return requested, "limit"
    room = context - len(result.tokens)
    if room < 1:
        raise DepthError(
            f"The prompt has {len(result.tokens):,} tokens; {model.info.name} reads at most "
            f"{context:,}, and its answer needs some of them.",
            "Shorten the prompt, or choose a model with a longer context.",
        )
    return (room, "context") if room < requested else (requested, "limit")


class _Writer:
    """Gathers tokens into parts, appends these to the run and emits them.

    Attributes:
        count: number of tokens so far.
    """

    def __init__(
        self, model: ReadyModel, result: RunResult, maps: LensMaps | None, emit: EmitTokens
    ) -> None:
        self.count = 0
        self._vocabulary = model.vocabulary
        self._result = result
        self._maps = maps
        self._emit = emit
        self._ids: list[int] = []
        self._readings: list[TokenReading] = []
        self._emitted_at = time.perf_counter()

    def add(self, token_id: int, reading: TokenReading) -> None:
        """Add a token; the waiting ones are emitted if the last part is old enough."""
        self.count += 1
        self._ids.append(token_id)
        self._readings.append(reading)
        if time.perf_counter() - self._emitted_at >= _SECONDS_BETWEEN_PARTS:
            self.emit_waiting()

    def emit_waiting(self) -> None:
        """Append the waiting tokens to the run, and emit them."""
        if not self._ids:
            return
        ids, readings = np.array(self._ids, np.int64), self._columns()
        texts = [self._vocabulary.text(id_) for id_ in self._ids]
        self._ids, self._readings = [], []
        self._result.write_on(ids, texts, readings)
        self._emit(ids, texts, readings)
        self._emitted_at = time.perf_counter()

    def _columns(self) -> dict[str, MetricResult]:
        """The readings of the waiting tokens, by metric; unknown where a lens has no map."""
        columns: dict[str, Any] = {
            name: torch.stack([vars(reading)[name] for reading in self._readings], dim=1).numpy()
            for name in vars(self._readings[0])
        }
        divergence, lens = columns.pop("divergence"), LogitLens(**columns)
        if self._maps is not None:
            name = LENS_METRICS[self._maps.fit.kind]
            return {name: self._maps.result(lens, divergence, self._vocabulary.texts)}
        lens.vocabulary = self._vocabulary.texts(lens.listed_ids)
        return {LENS_METRICS[LOGIT]: lens, settling.NAME: settling.Settling(divergence)}
