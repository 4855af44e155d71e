"""The document of a report of generated texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from depthtui import ramps
from depthtui.data.generation import Generation
from depthtui.depth.reading import text_verdicts
from depthtui.metrics.token_depths import DECIDED
from depthtui.palettes import OWN_PALETTE
from depthtui.report import svg
from depthtui.report.blocks import (
    AT_LENGTH,
    Block,
    Code,
    Document,
    Figures,
    Heading,
    Note,
    Paragraph,
    Token,
    Tokens,
    ViewBlocks,
)
from depthtui.report.generation import (
    about,
    exit_sentence,
    lens_note,
    trend_sentence,
)
from depthtui.report.phrases import model_facts, provenance_sentence
from depthtui.report.token_depths import depth_figures, depths_of_text, depths_table

_SPANS = {"thinking": "While it thinks", "answer": "In the answer"}


def generation_document(
    generations: Sequence[Generation], palette_name: str = OWN_PALETTE
) -> Document:
    """A report of generated texts, whose tokens have the colours of a palette."""
    blocks = (block for generation in generations for block in _blocks(generation))
    return Document("Depth of generated text", blocks, css=svg.token_style(palette_name))


def _blocks(generation: Generation) -> Iterator[Block]:
    text = generation.continuation
    yield ViewBlocks(AT_LENGTH, _prompt(generation))
    yield Note(about(generation))
    if generation.fit is not None:
        yield Note(lens_note(generation.fit))
    for name, verdict in text_verdicts(generation).items():
        yield Paragraph(verdict.text if name == "text" else f"{_SPANS[name]}: {verdict.text}")
    yield ViewBlocks(AT_LENGTH, _text(generation))
    if len(text):
        yield depths_table(depths_of_text(text.depths))
        yield Paragraph(f"{exit_sentence(generation)} {trend_sentence(text)}")
        curves = depth_figures(text.depths, generation.model.n_layers)
        yield ViewBlocks(["pictures"], [Heading("Over the text", 3), Figures(curves)])
    if generation.provenance is not None:
        sentence = provenance_sentence(asdict(generation.provenance))
        yield ViewBlocks(AT_LENGTH, [Heading("Provenance", 3), Note(sentence)])


def _prompt(generation: Generation) -> Iterator[Block]:
    yield Heading(generation.model.name, 2)
    yield Note(" · ".join(model_facts(generation.model)))
    yield Heading("Prompt", 3)
    yield Code(generation.prompt.text)
    yield Heading("Text", 3)


def _text(generation: Generation) -> Iterator[Block]:
    """The text, its tokens coloured by depth."""
    continuation, n_layers = generation.continuation, generation.model.n_layers
    depths = getattr(continuation.depths, DECIDED.name)
    levels = ramps.levels(depths, 0, n_layers, ramps.LEVELS).tolist()
    if len(continuation):
        yield ViewBlocks(["pictures"], [Note(f"Coloured by {DECIDED.title}, 0 to {n_layers}.")])
    tokens = [
        Token(text, f"d{level}") for text, level in zip(continuation.texts, levels, strict=True)
    ]
    yield Tokens(tokens, continuation.text)
