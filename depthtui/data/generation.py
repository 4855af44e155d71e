"""A text that a model writes, measured token by token. N is the number of its tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LensFit, LogitLens
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, Provenance, Tokens
from depthtui.data.run_settings import GenerationSettings

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass
class TokenDepths:
    """How deep each of N tokens is decided, by several measures.

    All arrays are `[N]`, float32: l is the residual entering layer l, L the model's output;
    NaN where a rule finds no layer.

    Attributes:
        prediction: from where on the lens's first choice stays the model's own.
        settling: from where on the divergence of lens and output stays below the threshold.
        kl: the paper's KL rule on the token's own curve.
        overlap: the paper's overlap rule on the token's own curve.
        early_exit: where the lens is first sure enough, at least one layer having run.
        exit_agrees: whether the choice there is the model's own; bool.
    """

    prediction: np.ndarray
    settling: np.ndarray
    kl: np.ndarray
    overlap: np.ndarray
    early_exit: np.ndarray
    exit_agrees: np.ndarray


def utf8(text: str) -> bytes:
    """The text's bytes, those that tokens hold as lone surrogates (PEP 383) among them."""
    return _NO_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


@dataclass
class Continuation:
    """N generated tokens, and what the lens read where each of them was predicted.

    Attributes:
        ids: `[N]` token ids.
        texts: `[N]` raw texts, hostile until made printable.
        lens: column n is the position that token n was predicted from, the one before it;
            `next_log_probability` is of token n itself, at temperature 1.
        divergence: `[L+1, N]`, the Jensen-Shannon divergence of the lens and the output, in
            nats; the same columns.
        depths: of each token.
    """

    ids: np.ndarray
    texts: list[str]
    lens: LogitLens
    divergence: np.ndarray
    depths: TokenDepths

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def text(self) -> str:
        """The tokens as one text; bytes that are no character become the replacement one."""
        return utf8("".join(self.texts)).decode("utf-8", "replace")

    @property
    def probability(self) -> np.ndarray:
        """`[N]`, what the model gave to each token, at temperature 1."""
        return np.asarray(np.exp(self.lens.next_log_probability[-1]))

    @classmethod
    def empty(cls, layers: int, top_k: int) -> Continuation:
        names = [field.name for field in fields(TokenDepths)]
        nothing = [np.zeros(0, bool if name == "exit_agrees" else np.float32) for name in names]
        return cls(
            ids=np.zeros(0, np.int64),
            texts=[],
            lens=LogitLens.unknown(layers, 0, top_k),
            divergence=np.zeros((layers + 1, 0), np.float32),
            depths=TokenDepths(*nothing),
        )

    @classmethod
    def joined(cls, parts: Sequence[Continuation]) -> Continuation:
        """Parts that follow each other as one; at least one of them."""
        vocabulary: dict[int, str] = {}
        for continuation in parts:
            vocabulary.update(continuation.lens.vocabulary)

        def along(part: str, axis: int) -> dict[str, np.ndarray]:
            arrays = [dict(arrays_of(getattr(continuation, part))) for continuation in parts]
            return {
                name: np.concatenate([array[name] for array in arrays], axis=axis)
                for name in arrays[0]
            }

        return cls(
            ids=np.concatenate([continuation.ids for continuation in parts]),
            texts=[text for continuation in parts for text in continuation.texts],
            lens=LogitLens(**along("lens", 1), vocabulary=vocabulary),
            divergence=np.concatenate([part.divergence for part in parts], axis=1),
            depths=TokenDepths(**along("depths", 0)),
        )


@dataclass
class Generation:
    """A text that a model wrote after a prompt, measured token by token.

    Attributes:
        model: the model.
        prompt: what it read; without an answer, which is the model's to give.
        settings: how the tokens were chosen.
        tokens: of the prompt.
        continuation: the generated tokens.
        complete: whether the text came to its end and was not stopped.
        stopped_by: `end` (an end-of-text token, kept as the last one), `limit` (max_tokens),
            `context` (the model's context is full), `user`, `memory`; empty while it goes on.
        provenance: None while it goes on.
        fit: how the lens was fitted that depths are read through; None for the logit lens.
    """

    model: ModelInfo
    prompt: Prompt
    settings: GenerationSettings
    tokens: Tokens
    continuation: Continuation
    complete: bool = False
    stopped_by: str = ""
    provenance: Provenance | None = None
    fit: LensFit | None = None

    @classmethod
    def empty(
        cls, model: ModelInfo, prompt: Prompt, settings: GenerationSettings, tokens: Tokens
    ) -> Generation:
        """A generation in which no token has been chosen yet."""
        nothing = Continuation.empty(model.n_layers, min(settings.top_k, model.vocab_size))
        return cls(model, prompt, settings, tokens, nothing)
