"""The orders in which layers, or parts of them, can be left out: searched and stored."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from depthtui.data.pieces import PER_LAYER, Piece
from depthtui.data.plain import from_plain
from depthtui.data.run import Prompt, PromptTokens
from depthtui.data.run_settings import RunSettings
from depthtui.engine.guess import loss_by_guess
from depthtui.engine.lenses import Check, Lenses, Report
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.tokens import tokenise
from depthtui.engine.untrained_control import known_untrained, untrained_parts
from depthtui.errors import DepthError
from depthtui.files import parse_json, write_whole
from depthtui.lenses.written_texts import VERSION as WRITING_VERSION
from depthtui.metrics.kept.order_search import Texts, searched, single_costs
from depthtui.metrics.layer_order import (
    GUESS_TEXTS,
    LENGTH,
    OWN_ORDER,
    TEXTS,
    LayerOrder,
    expected_trials,
)
from depthtui.parallel.agreements import first_rank_bytes
from depthtui.parallel.group import is_first
from depthtui.tracing.left_out import Substitute
from depthtui.tracing.parts_left_out import pieces_of
from depthtui.tracing.products import fast_products, untimed_products

FINDING = "Finding which layers can be left out"
"""The stage of the search, which follows the writing of texts."""

_MORE_TEXTS = GUESS_TEXTS - TEXTS
"""The texts of the guess beside those of the model's order."""

_VERSION = 6
"""Incremented when the same texts give another order."""

Enough: TypeAlias = Callable[[LayerOrder], bool]
"""Whether an unfinished order suffices."""


def nothing_less(order: LayerOrder) -> bool:
    """The rule of a search that goes through to its end: no unfinished order is enough."""
    return False


@dataclass(frozen=True)
class _StoredOrder:
    """An order as it is stored in a file.

    Attributes:
        pieces, costs: as in `LayerOrder`.
        last: pairs of a piece and its cost when it was last tried.
        whole: whether the search has ended.
    """

    pieces: tuple[int, ...]
    costs: tuple[float, ...]
    last: tuple[tuple[int, float], ...]
    whole: bool

    @classmethod
    def of(cls, order: LayerOrder, is_whole: bool) -> _StoredOrder:
        """Convert an order, finished or not."""
        pieces, costs = tuple(order.pieces), tuple(order.costs)
        return cls(pieces, costs, tuple(order.last.items()), is_whole)

    @property
    def order(self) -> LayerOrder:
        """The order, to continue from."""
        return LayerOrder(list(self.pieces), list(self.costs), dict(self.last))


@dataclass
class LayerOrders:
    """The orders of one model.

    An order of a model without a fingerprint is kept as long as the model is loaded.

    Attributes:
        model: the model.
        lenses: its fitted lenses; their texts are written in the same way.
        folder: the folder of orders; None to keep them in memory.
    """

    model: ReadyModel
    lenses: Lenses
    folder: Path | None
    _in_memory: dict[str, LayerOrder] = field(default_factory=dict)
    _beside: dict[str, tuple[LayerOrder, LayerOrder]] = field(default_factory=dict)
    _written: list[Tensor] | None = None
    _guess: np.ndarray | None = None
    _draft_guess: np.ndarray | None = None
    _untrained: float | None = None
    _untrained_parts: tuple[int, ...] | None = None

    @classmethod
    def of(cls, model: ReadyModel, lenses: Lenses, folder: Path | None) -> LayerOrders:
        """The orders of a loaded model."""
        return cls(model, lenses, folder if model.info.fingerprint else None)

    def stored(
        self, settings: RunSettings, enough: Enough = nothing_less, piece: Piece = "layer"
    ) -> LayerOrder | None:
        """The order that settings choose, with its costs; None where it is not known yet.

        An unfinished order is returned only where it is `enough`.
        """
        key = self._key(settings, piece)
        if key in self._in_memory:
            return self._in_memory[key]
        stored_order = self._read_file(key, piece)
        if stored_order is None or not (stored_order.whole or enough(stored_order.order)):
            return None
        if stored_order.whole:
            self._in_memory[key] = stored_order.order
        return stored_order.order

    def find_or_search(
        self,
        settings: RunSettings,
        report: Report,
        checkpoint: Check,
        enough: Enough = nothing_less,
        piece: Piece = "layer",
    ) -> LayerOrder:
        """The order that settings choose, searched for where it is not known.

        Args:
            settings: choose the order.
            report: called with the search's progress.
            checkpoint: called before every layer.
            enough: whether an unfinished order suffices.
            piece: the kind of pieces that are left out.

        Raises:
            DepthError: it cannot be found or stored.
            RunStopped: `checkpoint` stopped it; the next search continues there.
        """
        if (stored_order := self.stored(settings, enough, piece)) is not None:
            return stored_order
        key, count = self._key(settings, piece), self._count(piece)
        is_stored = settings.order_source == "model"

        def save(order: LayerOrder) -> None:
            if is_stored:
                self._write_file(key, _StoredOrder.of(order, is_whole=False))

        tried, expected = 0.0, expected_trials(count, settings.order_search)

        def on_tried(pieces: float) -> None:
            nonlocal tried
            tried = min(tried + pieces, expected - 1)
            report(FINDING, round(tried), round(expected))

        with fast_products(self.model.loaded.model), torch.no_grad():
            if is_stored:
                ids = self.written_texts(report, checkpoint)
                tokenised = [PromptTokens(text.numpy(), [], len(text)) for text in ids]
            else:
                tokenised = [self._tokens(prompt, settings) for prompt in _order_prompts(settings)]
            by_loss = not is_stored and bool(settings.order_answers)
            substitute = self.model.baselines.substitute(settings, checkpoint)
            texts = self._texts(tokenised, substitute, checkpoint, piece, by_loss)
            unfinished = self._read_file(key, piece)
            start = single_costs(texts, count, on_tried) if not unfinished else unfinished.order
            options = {"on_piece": save, "enough": enough, "on_tried": on_tried}
            order = searched(texts, start, count, settings.order_search, **options)
        is_whole = not order.costs or order.is_whole(count)
        if is_whole:
            self._in_memory[key] = order
        if is_stored:
            self._write_file(key, _StoredOrder.of(order, is_whole))
        return order

    def beside_the_models(
        self, settings: RunSettings, checkpoint: Check, piece: Piece = "layer"
    ) -> tuple[LayerOrder, LayerOrder] | None:
        """The orders by other prompts that are read beside the model's, ranked and lazy.

        They are found on the answers of prompts that have one, and never stored. The prompts are
        the first of the `order_texts`: at most twice the tokens of the texts of the model's order,
        and none longer than these together.

        Args:
            settings: name the prompts.
            checkpoint: called before every layer.
            piece: the kind of pieces that are left out.

        Returns:
            None where there is no such prompt.

        Raises:
            RunStopped: `checkpoint` stopped it.
        """
        key = self._key(dataclasses.replace(settings, **OWN_ORDER), piece)
        if key in self._beside:
            return self._beside[key]
        most = TEXTS * LENGTH
        longest = min(most, self.model.info.context_length or most)
        tokenised = []
        for prompt in _order_prompts(settings):
            # A prompt that the model cannot read costs its own run, not this one.
            with contextlib.suppress(DepthError):
                tokenised.append(self._tokens(prompt, settings))
        # The loss of the third token is the first that is scored.
        short = [tokens for tokens in tokenised if 2 < len(tokens) <= longest]
        lengths = itertools.accumulate(len(tokens) for tokens in short)
        chosen = [text for text, length in zip(short, lengths, strict=True) if length <= 2 * most]
        if not chosen:
            return None
        count = self._count(piece)
        with fast_products(self.model.loaded.model), torch.no_grad():
            substitute = self.model.baselines.substitute(settings, checkpoint)
            texts = self._texts(chosen, substitute, checkpoint, piece, bool(settings.order_answers))
            costs = single_costs(texts, count)
            ranked, lazy = (searched(texts, costs, count, name) for name in ("ranked", "lazy"))
        self._beside[key] = ranked, lazy
        return ranked, lazy

    def guess(
        self,
        report: Report = lambda stage, done, total: None,
        checkpoint: Check = lambda: None,
        is_draft: bool = False,
    ) -> np.ndarray:
        """The loss of each token of the vocabulary by guesses without context, `[3, V]` in nats.

        A guess is the model's mean output over texts that it writes (see `loss_by_guess`).

        Args:
            report: called with the progress of writing the texts, where there is no stored guess.
            checkpoint: called before every layer.
            is_draft: whether the texts of the model's order are enough, where there is no guess.

        Raises:
            RunStopped: `checkpoint` stopped it.
        """
        if self._guess is None:
            self._guess = self._read_guess()
        if self._guess is not None:
            return self._guess
        if is_draft and self._draft_guess is not None:
            return self._draft_guess
        with fast_products(self.model.loaded.model), torch.no_grad():
            texts = self.written_texts(report, checkpoint)
            if not is_draft:
                texts = [*texts, *self._write_texts(_MORE_TEXTS, report, checkpoint)]
            long = [text for text in texts if len(text) > 1]
            replays = (self.model.replay(text, checkpoint) for text in long)
            unembedding = self.model.anatomy.unembedding
            assert unembedding is not None
            guess = loss_by_guess(unembedding, replays)
        if is_draft:
            self._draft_guess = guess
        else:
            self._guess = guess
            self._write(self._name_of("guess"), guess.tobytes())
        return guess

    def known_untrained(self, checkpoint: Check) -> float | None:
        """The knowledge that an untrained model of this shape has of a token, in nats.

        Of the texts of the model's order. None where it costs more than this order, or cannot be
        built (see `untrained_control`).

        Args:
            checkpoint: called before every layer.

        Raises:
            RunStopped: `checkpoint` stopped it.
        """
        if self._untrained is None:
            self._untrained = self._read_untrained()
        if self._untrained is None:
            with fast_products(self.model.loaded.model), torch.no_grad():
                texts = self.written_texts(lambda stage, done, total: None, checkpoint)
            nats = known_untrained(self.model, texts, checkpoint)
            self._untrained = math.nan if nats is None else nats
            if nats is not None:
                self._write(self._name_of("untrained"), json.dumps(nats).encode())
        return None if math.isnan(self._untrained) else self._untrained

    def untrained_parts(
        self,
        checkpoint: Check,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[int, ...] | None:
        """The parts with which an untrained model of this shape stays within a nat of its output.

        On the texts of the model's order. None where `known_untrained` is None.

        Args:
            checkpoint: called before every layer.
            report: called with the number of texts done and in all, where the parts are not stored.

        Raises:
            RunStopped: `checkpoint` stopped it.
        """
        name = self._name_of("untrained-parts")
        if self._untrained_parts is None:
            content = self._read("a saved control", name)
            with contextlib.suppress(ValueError, DepthError):
                parts = from_plain(tuple[int, ...], parse_json((content or b"").decode()))
                if set(parts) <= set(range(self._count("part"))):
                    self._untrained_parts = parts
        if self._untrained_parts is None and self.known_untrained(checkpoint) is not None:
            with fast_products(self.model.loaded.model), torch.no_grad():
                texts = self.written_texts(lambda stage, done, total: None, checkpoint)
            self._untrained_parts = untrained_parts(self.model, texts, checkpoint, report)
            if self._untrained_parts is not None:
                self._write(name, json.dumps(self._untrained_parts).encode())
        return self._untrained_parts

    def _read_untrained(self) -> float | None:
        """The stored knowledge of an untrained model; None where it is missing or damaged."""
        content = self._read("a saved control", self._name_of("untrained"))
        with contextlib.suppress(ValueError, DepthError):
            nats = from_plain(float, parse_json((content or b"").decode()))
            return nats if math.isfinite(nats) else None
        return None

    def _read_guess(self) -> np.ndarray | None:
        """The stored guess; None where there is none, or a damaged one."""
        content = self._read("a saved guess", self._name_of("guess"))
        unembedding = self.model.anatomy.unembedding
        if content is None or unembedding is None or len(content) != 12 * unembedding.vocab_size:
            return None
        guess = np.frombuffer(content, np.float32).reshape(3, -1)
        return guess if np.isfinite(guess).all() else None

    def written_texts(self, report: Report, checkpoint: Check) -> list[Tensor]:
        """The texts of the model's order, which it writes once; the guess has more of them."""
        if self._written is None:
            self._written = self._write_texts(TEXTS, report, checkpoint)
        return self._written

    def _write_texts(self, count: int, report: Report, checkpoint: Check) -> list[Tensor]:
        """Texts that the model writes, others for another number of them.

        No timing decides how they are rounded: a token that is drawn near the border of two would
        be the other one in some processes, and all that follows other text.
        """
        seed = RunSettings.seed + (0 if count == TEXTS else 1)
        with untimed_products(self.model.loaded.model):
            return list(self.lenses.write_texts(count, LENGTH, seed, report, checkpoint))

    def _count(self, piece: Piece) -> int:
        """The number of the model's pieces of a kind."""
        info = self.model.info
        return (info.heads if piece == "head" else PER_LAYER[piece]) * info.n_layers

    def _texts(
        self,
        tokenised: Sequence[PromptTokens],
        substitute: Substitute,
        checkpoint: Check,
        piece: Piece,
        by_loss: bool,
    ) -> list[Texts]:
        """The texts on which an order is found, each with the same weight; some run together.

        Of a text with an answer, the predictions of the answer alone count, by their loss; of other
        texts, the KL of every token.
        """
        model, unembedding = self.model, self.model.anatomy.unembedding
        if unembedding is None:
            raise DepthError(f"There is no output to compare: {model.anatomy.lens_missing}.")
        if piece != "layer" and model.anatomy.split_missing:
            raise DepthError(f"Layers have no parts to leave out: {model.anatomy.split_missing}.")
        scored_texts = [tokens for tokens in tokenised if len(tokens) > (2 if by_loss else 1)]
        if not scored_texts:
            raise DepthError("No text has a token after the first one, so there is no order.")
        replays = [model.replay(torch.from_numpy(text.ids), checkpoint) for text in scored_texts]
        groups: list[list[int]] = []
        for place, replay in enumerate(replays):
            served = next((places for places in groups if replays[places[0]].serves(replay)), None)
            if served is None:
                groups.append([place])
            else:
                served.append(place)
        texts = []
        for places in groups:
            group = [replays[place] for place in places]
            length = group[0].n_tokens
            weights = np.zeros((len(group), length))
            for row, place in enumerate(places):
                start = scored_texts[place].answer_start
                first = max(1, start - 1) if 0 < start < length else 1
                scored = slice(first, -1 if by_loss else None)
                weights[row, scored] = 1 / len(range(length)[scored]) / len(scored_texts)
            n_tokens = len(group) * length
            at_once = model.rows_at_once(self._count(piece), n_tokens, len(groups))
            pieces = pieces_of(piece, group, model.anatomy, substitute)
            texts.append(Texts(pieces, unembedding, weights, at_once, by_loss))
        return texts

    def _tokens(self, prompt: Prompt, settings: RunSettings) -> PromptTokens:
        """The tokens of a prompt on which an order is found."""
        model, chat_template = self.model, settings.chat_template
        tokens = tokenise(model.loaded.tokenizer, prompt, chat_template, model.vocabulary)
        model.check_ids(tokens.ids)
        return tokens

    def _key(self, settings: RunSettings, piece: Piece = "layer") -> str:
        """A key of the order that settings choose, among this model's orders."""
        parts: list[object] = [self.model.info.fingerprint, settings.order_search, _VERSION]
        if settings.order_source == "model":
            parts += [TEXTS, LENGTH, RunSettings.seed, WRITING_VERSION]
        else:
            parts += [settings.chat_template, settings.order_texts, settings.order_answers]
        # A baseline matters only where its mean stands in for a layer.
        if settings.ablate != "zero":
            parts += [{"ablate": settings.ablate, "baseline": settings.baseline}]
        if settings.keep_first_token:
            parts += [{"keep_first_token": True}]
        if piece != "layer":
            parts += [{"piece": piece}]
        return _key(parts)

    def _read_file(self, key: str, piece: Piece) -> _StoredOrder | None:
        """A stored order; None where there is none, or a damaged one."""
        content = self._read("a saved order", f"{key}.order.json")
        with contextlib.suppress(ValueError, DepthError):
            stored_order = from_plain(_StoredOrder, parse_json((content or b"").decode()))
            order = stored_order.pieces
            pieces = {*order, *(other for other, _ in stored_order.last)}
            if len(set(order)) == len(order) and pieces <= set(range(self._count(piece))):
                return stored_order
        return None

    def _write_file(self, key: str, stored_order: _StoredOrder) -> None:
        self._write(f"{key}.order.json", json.dumps(asdict(stored_order)).encode())

    def _read(self, value: str, name: str) -> bytes | None:
        """The content of a file of the folder, the same on every rank; None where there is none.

        Args:
            value: the content in words.
            name: name of the file.
        """
        if self.folder is None:
            return None
        return first_rank_bytes(value, functools.partial(_content, self.folder / name))

    def _write(self, name: str, content: bytes) -> None:
        """Store a file; where that cannot be written, its value is computed again next time."""
        if self.folder is not None and is_first():
            with contextlib.suppress(DepthError):
                write_whole(self.folder / name, content)

    def _name_of(self, kind: str) -> str:
        """The name of the file of a value that depends on the texts of the model's order."""
        parts = [self.model.info.fingerprint, _VERSION, GUESS_TEXTS, LENGTH, RunSettings.seed]
        return f"{_key([*parts, WRITING_VERSION])}.{kind}"


def _order_prompts(settings: RunSettings) -> list[Prompt]:
    """The prompts on which an own order is found."""
    answers = settings.order_answers or ("",) * len(settings.order_texts)
    return [Prompt(*prompt) for prompt in zip(settings.order_texts, answers, strict=True)]


def _key(parts: Sequence[object]) -> str:
    """The name of a file by what its content depends on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _content(path: Path) -> bytes | None:
    """The contents of a file; None where it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return None
