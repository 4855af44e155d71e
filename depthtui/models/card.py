"""The card of a model that is written: its README.md, as the hub reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from depthtui import __version__
from depthtui.data.model import ModelInfo
from depthtui.data.pieces import NO_PARTS, NumberedParts
from depthtui.data.selection import numbers_text
from depthtui.data.sentence import plural
from depthtui.models.catalog import resolve
from depthtui.token_text import printable_line

CARD = "README.md"

NOT_MEASURED = "Nothing was measured on this model."


def model_card(
    model: ModelInfo,
    models_dir: Path,
    layers: Sequence[int],
    parts: NumberedParts = NO_PARTS,
    sections: Sequence[str] = (),
) -> bytes:
    """The card of a model that has some layers of another, or every one without some parts.

    Args:
        model: the model that has the layers.
        models_dir: the folder of converted models.
        layers: the layers, in the order in which they run.
        parts: the parts of these that write nothing.
        sections: what was measured, in Markdown; empty where nothing was.
    """
    source = resolve(model.spec, models_dir)
    is_on_hub = source.kind == "hub"
    data = ModelCardData(
        base_model=source.location if is_on_hub else None,
        license=None if is_on_hub else _license(Path(source.location) / CARD),
        library_name="transformers",
        tags=["pruned", "depthtui"],
    )
    name = printable_line(model.name)
    left_out = [layer for layer in range(model.n_blocks) if layer not in layers]
    what = f"without layers {numbers_text(left_out)}" if left_out else "with some layers twice"
    of = f"{name}, revision {model.revision}" if model.revision else name
    has = (
        f"{len(layers)} layers of {of} (of {model.n_blocks}, counted from 0): "
        f"{numbers_text(layers) if len(set(layers)) == len(layers) else list(layers)}."
    )
    if parts != NO_PARTS:
        what = f"without {plural(len(parts.attention) + len(parts.mlp), 'part')}"
        has = f"All {len(layers)} layers of {of}, counted from 0. {parts.at_zero}"
    body = [
        f"# {name} {what}",
        has,
        *(sections or [NOT_MEASURED]),
        f"Made by depthtui {__version__}.",
    ]
    return ("---\n" + data.to_yaml() + "\n---\n\n" + "\n\n".join(body) + "\n").encode()


def _license(card: Path) -> str | None:
    """The license that the card of the whole model names; None where it names none."""
    try:
        return ModelCard.load(card).data.license if card.is_file() else None
    except (OSError, ValueError):
        return None
