"""A scripted text: tokens whose depths follow a wave, hostile ones among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from depthtui.data.generation import Continuation, Generation
from depthtui.data.lens import LogitLens
from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt, PromptTokens, Provenance
from depthtui.data.run_settings import GenerationSettings
from depthtui.depth.token_depths import token_depths
from tests.hostile import HOSTILE

WORDS = (" so", " the", " ferry", " waits", ",", " and", " seven", " boats", ".", "\n")


def full_generation(
    prompt: Prompt,
    model: ModelInfo,
    settings: GenerationSettings | None = None,
    hostile: bool = False,
    stopped_by: str = "limit",
) -> Generation:
    """A text of `max_tokens` tokens, each decided at a depth of its own."""
    settings = settings or GenerationSettings(max_tokens=40)
    asked = prompt.question.split(" ")
    tokens = PromptTokens(np.arange(len(asked), dtype=np.int64), asked, len(asked))
    generation = Generation.empty(model, prompt, settings, tokens)
    words = tuple(HOSTILE.values()) if hostile else WORDS
    generation.continuation = _continuation(words, model.n_layers, settings)
    generation.stopped_by, generation.complete = stopped_by, stopped_by != "user"
    generation.provenance = Provenance("0", "2", "5", "3.11", "Linux", "2025-01-01T00:00:00Z", 2.0)
    return generation


def parts_of(written: Continuation, size: int = 5) -> Iterator[Continuation]:
    """The text in parts, as the engine tells of it."""
    for start in range(0, len(written), size):
        yield part_of(written, slice(start, start + size))


def part_of(written: Continuation, tokens: slice) -> Continuation:
    """Some tokens of a text."""
    lens, depths = written.lens, written.depths
    return Continuation(
        written.ids[tokens],
        written.texts[tokens],
        replace(
            lens,
            **{k: v[:, tokens] for k, v in vars(lens).items() if isinstance(v, np.ndarray)},
        ),
        written.divergence[:, tokens],
        replace(depths, **{name: values[tokens] for name, values in vars(depths).items()}),
    )


def _continuation(
    words: tuple[str, ...], layers: int, settings: GenerationSettings
) -> Continuation:
    count = settings.max_tokens
    place = np.arange(count)
    ids = (place + settings.seed) % len(words)
    # Where each token is decided: a wave between a third of the depth and all of it.
    decided = np.rint(layers * (0.67 + 0.3 * np.sin(place / 5 + settings.seed))).astype(int)
    depth = np.arange(layers + 1)[:, None]
    lens = LogitLens.unknown(layers, count, min(settings.lens_top_k, len(words)))
    lens.kl[:] = 9 * np.clip(1 - depth / np.maximum(decided, 1) / 1.3, 0, 1)
    lens.overlap[:] = np.clip(depth - decided + 4, 0, 5) / 5
    lens.entropy[:] = 5 - 4.5 * depth / layers
    for row in range(layers + 1):
        first = np.where(row >= decided, ids, (ids + 3 + row) % len(words))
        for rank in range(lens.top_ids.shape[2]):
            lens.top_ids[row, :, rank] = (first + rank) % len(words)
    sure = np.clip(0.35 + 0.6 * (depth >= decided) + 0.01 * (depth - decided), 0.02, 0.97)
    shares = 0.5 ** np.arange(lens.top_ids.shape[2])
    lens.top_probabilities[:] = sure[..., None] * shares
    lens.top_probabilities[..., 1:] *= 1 - sure[..., None]
    lens.next_log_probability[:] = np.log(sure)
    lens.kl[-1], lens.overlap[-1] = 0, 1
    lens.vocabulary.update(enumerate(words))
    apart = np.where(depth >= decided, 0.1, 0.65) * (depth < layers)
    settling = apart.astype(np.float32)
    texts = [words[token] for token in ids]
    depths = token_depths(lens, settling, settings)
    return Continuation(ids.astype(np.int64), texts, lens, settling, depths)
