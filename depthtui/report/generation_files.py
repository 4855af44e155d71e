"""Generated texts as Markdown, JSON, HTML and safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from depthtui import palette
from depthtui.data.arrays import arrays_of
from depthtui.data.generation import Generation
from depthtui.depth.token_depths import TOKEN_DEPTHS
from depthtui.errors import DepthError
from depthtui.files import write_whole
from depthtui.report import svg
from depthtui.report.generation import (
    HEADS,
    TREND,
    about,
    depths_of_text,
    exit_sentence,
    rolling_mean,
    rows,
    trend_sentence,
)
from depthtui.report.legible import legible
from depthtui.report.markdown import code_block, escaped, table
from depthtui.report.phrases import model_facts, provenance_sentence
from depthtui.report.summary import finite

SCHEMA = 1
"""Number of the file's layout."""


def export_generations(
    generations: Sequence[Generation],
    folder: Path,
    formats: Iterable[str],
    name: str = "generation",
) -> list[Path]:
    """Write generated texts to a folder, replacing files of the same name.

    Raises:
        DepthError: there is nothing to export, or the folder cannot be written.
    """
    if not generations:
        raise DepthError("There is nothing to export yet.", "Let the model write first.")
    return [
        write_whole(folder / f"{name}.{each}", GENERATION_FORMATS[each](generations))
        for each in formats
    ]


def generation_json(generations: Sequence[Generation]) -> bytes:
    """Everything but the lens's lists of tokens; an unknown value is null."""
    value = {"schema": SCHEMA, "generations": [_as_dict(each) for each in generations]}
    return (json.dumps(finite(value), indent=1, ensure_ascii=True) + "\n").encode()


def _as_dict(generation: Generation) -> dict[str, Any]:
    written = generation.continuation
    return {
        "model": asdict(generation.model),
        "settings": asdict(generation.settings),
        "prompt": {
            **asdict(generation.prompt),
            "tokens": generation.tokens.texts,
            "token_ids": generation.tokens.ids,
        },
        "text": written.text,
        "tokens": written.texts,
        "token_ids": written.ids,
        "stopped_by": generation.stopped_by,
        "complete": generation.complete,
        "probability": written.probability,
        "entropy": written.lens.entropy[-1],
        "depths": dict(arrays_of(written.depths)),
        "curves": {
            "kl": written.lens.kl,
            "overlap": written.lens.overlap,
            "divergence": written.divergence,
        },
        "summary": {
            each.measure.name: {
                "mean": each.mean,
                "median": each.median,
                "quarters": list(each.quarters),
                "without": each.without,
            }
            for each in depths_of_text(written)
        },
        "trend": trend_sentence(written),
        "provenance": None if generation.provenance is None else asdict(generation.provenance),
    }


def generation_markdown(generations: Sequence[Generation]) -> bytes:
    """The texts with their tables, as UTF-8."""
    lines = ["# Depth of generated text", ""]
    for each in generations:
        lines += _markdown(each)
    return ("\n".join(lines).rstrip() + "\n").encode("utf-8")


def _markdown(generation: Generation) -> Iterable[str]:
    written = generation.continuation
    yield f"## {escaped(generation.model.name)}"
    yield ""
    yield escaped(" · ".join(model_facts(generation.model)))
    yield ""
    yield from ("### Prompt", "", *code_block(generation.prompt.text), "")
    yield from ("### Text", "", *code_block(written.text), "")
    yield escaped(about(generation))
    yield ""
    if len(written):
        yield from table(HEADS, [[escaped(cell) for cell in row] for row in rows(written)])
        yield ""
        yield escaped(f"{exit_sentence(generation)} {trend_sentence(written)}")
        yield ""
    if generation.provenance is not None:
        yield escaped(provenance_sentence(asdict(generation.provenance)))
        yield ""


def generation_html(generations: Sequence[Generation]) -> bytes:
    """One page: the texts coloured by depth, depth over tokens, the tables; no scripts."""
    css = (files("depthtui.report") / "report.css").read_text(encoding="utf-8") + _style()
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" ',
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Depth of generated text</title><style>{css}</style></head><body>",
        "<h1>Depth of generated text</h1>",
        *(part for each in generations for part in _html(each)),
        "</body></html>\n",
    ]
    return "\n".join(page).encode("utf-8")


def _style() -> str:
    """Backgrounds for tokens by depth, on light pages and on dark ones."""

    def rules(dark: bool) -> str:
        return "".join(
            f".d{level}{{background:{palette.css(colour)};color:{_ink(colour)}}}"
            for level, colour in enumerate(palette.sequential(dark))
        )

    return f"{rules(dark=False)}@media(prefers-color-scheme:dark){{{rules(dark=True)}}}"


def _ink(background: palette.RGB) -> str:
    return "#000" if palette.lightness(background) > 0.6 else "#fff"


def _html(generation: Generation) -> Iterable[str]:
    written, n_layers = generation.continuation, generation.model.n_layers
    yield f"<h2>{_safe(generation.model.name)}</h2>"
    yield f'<p class="soft">{_safe(" · ".join(model_facts(generation.model)))}</p>'
    yield "<h3>Prompt</h3>"
    yield f'<div class="tokens">{_lines(generation.prompt.text)}</div>'
    yield f'<h3>Text</h3><p class="soft">{_safe(about(generation))}</p>'
    if not len(written):
        return
    yield f'<p class="soft">Coloured by settling depth, 0 to {n_layers}.</p>'
    yield f'<div class="tokens">{_coloured(generation)}</div>'
    yield f"<p>{_safe(trend_sentence(written))} {_safe(exit_sentence(generation))}</p>"
    heads = "".join(f"<th>{_safe(each)}</th>" for each in HEADS)
    yield f'<div class="wide"><table><tr>{heads}</tr>'
    for title, *cells in rows(written):
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells[:-1])
        yield f'<tr><td>{_safe(title)}</td>{numbers}<td class="soft">{_safe(cells[-1])}</td></tr>'
    yield '</table></div><h3>Over the text</h3><div class="figures">'
    for each in TOKEN_DEPTHS:
        depths = np.asarray(getattr(written.depths, each.name), np.float64)
        lines = [svg.Line(depths, "layer", "token"), svg.Line(rolling_mean(depths), "mean", "mean")]
        title = f"{each.title.capitalize()}, by token; thick: mean of the last 16"
        panel = svg.Panel(lines, len(depths), limits=(0.0, float(n_layers)), title=title)
        remark = f"<small> {_safe(each.meaning)}</small>"
        caption = f"<figcaption>{_safe(each.title.capitalize())}{remark}</figcaption>"
        yield f"<figure>{caption}{svg.curves(panel)}</figure>"
    yield "</div>"
    if generation.provenance is not None:
        sentence = provenance_sentence(asdict(generation.provenance))
        yield f'<h3>Provenance</h3><p class="soft">{_safe(sentence)}</p>'


def _coloured(generation: Generation) -> str:
    written = generation.continuation
    depths = getattr(written.depths, TREND)
    levels = palette.levels(depths, 0, generation.model.n_layers, palette.LEVELS)
    spans = [
        f'<bdi class="d{level}">{_safe(text)}</bdi>' + ("<br>" if "\n" in text else "<wbr>")
        for text, level in zip(written.texts, levels.tolist(), strict=True)
    ]
    return "".join(spans)


def _lines(text: str) -> str:
    return "<br>".join(_safe(line) for line in text.split("\n"))


def _safe(text: str) -> str:
    return escape(legible(text))


def generation_arrays(generations: Sequence[Generation]) -> bytes:
    """A safetensors file: `0/token_ids`, `0/lens/kl`, `0/depths/settling`, …, numbered by text.

    The JSON under `generations` in its metadata says what each was, token texts included.
    """
    arrays: dict[str, np.ndarray] = {}
    words = []
    for number, generation in enumerate(generations):
        written = generation.continuation
        arrays[f"{number}/token_ids"] = written.ids
        arrays[f"{number}/settling/divergence"] = np.ascontiguousarray(written.divergence)
        for part in ("lens", "depths"):
            for name, values in arrays_of(getattr(written, part)):
                arrays[f"{number}/{part}/{name}"] = np.ascontiguousarray(values)
        words.append(
            {
                "model": asdict(generation.model),
                "prompt": asdict(generation.prompt),
                "settings": asdict(generation.settings),
                "tokens": written.texts,
                "stopped_by": generation.stopped_by,
                "vocabulary": {str(id_): text for id_, text in written.lens.vocabulary.items()},
            }
        )
    return save(arrays, metadata={"generations": json.dumps(words)})


GENERATION_FORMATS: dict[str, Callable[[Sequence[Generation]], bytes]] = {
    "md": generation_markdown,
    "json": generation_json,
    "html": generation_html,
    "safetensors": generation_arrays,
}
"""The formats by the ending of their files."""
