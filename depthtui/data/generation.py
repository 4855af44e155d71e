"""A text that a model writes, measured token by token. N is the number of its tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from depthtui.data.arrays import arrays_of
from depthtui.data.lens import LensFit, LogitLens
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, PromptTokens, Provenance
from depthtui.data.run_settings import GenerationSettings
from depthtui.data.token_depths import TokenDepths

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def utf8(text: str) -> bytes:
    """The text's bytes, including bytes that tokens have as lone surrogates (PEP 383)."""
    return _NO_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


@dataclass
class Continuation:
    """N generated tokens, and the lens's readings at the positions that predicted them.

    Attributes:
        ids: `[N]` token ids.
        texts: `[N]` raw texts, hostile until made printable.
        lens: column n is the position before token n, which it was predicted from;
            `next_log_probability` is of token n itself, at temperature 1.
        divergence: `[L+1, N]`, the Jensen-Shannon divergence of the lens and the output, in
            nats; the same columns.
        depths: depths of each token.
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
        """The tokens as one text; invalid bytes become the replacement character."""
        return utf8("".join(self.texts)).decode("utf-8", "replace")

    @property
    def probability(self) -> np.ndarray:
        """`[N]`, the model's probability of each token, at temperature 1."""
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
        """Consecutive parts joined into one; at least one part."""
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
        prompt: the prompt, without an answer: the model gives its own.
        settings: how the tokens were chosen.
        tokens: tokens of the prompt.
        continuation: the generated tokens.
        complete: whether the text came to its end and was not stopped.
        stopped_by: `end` (an end-of-text token, kept as the last one), `limit` (max_tokens),
            `context` (the model's context is full), `user`, `memory`; empty while generating.
        provenance: None while generating.
        fit: how the lens that depths are read through was fitted; None for the logit lens.
    """

    model: ModelInfo
    prompt: Prompt
    settings: GenerationSettings
    tokens: PromptTokens
    continuation: Continuation
    complete: bool = False
    stopped_by: str = ""
    provenance: Provenance | None = None
    fit: LensFit | None = None

    @classmethod
    def empty(
        cls, model: ModelInfo, prompt: Prompt, settings: GenerationSettings, tokens: PromptTokens
    ) -> Generation:
        """A generation in which no token has been chosen yet."""
        nothing = Continuation.empty(model.n_layers, min(settings.lens_top_k, model.vocab_size))
        return cls(model, prompt, settings, tokens, nothing)
