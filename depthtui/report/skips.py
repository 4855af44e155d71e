"""The changes of a what-if in words: layers left out or run twice, states put in."""

from __future__ import annotations

from collections.abc import Collection

from depthtui.data.model import ModelInfo
from depthtui.data.run_settings import PatchedCell, Repeated, RunSettings, Skip
from depthtui.data.selection import ranges_of
from depthtui.data.sentence import noun_for

_MOST_CELLS = 2

_PARTS = {"layer": "", "attention": " attention", "mlp": " MLP"}


def skipped_text(skipped: Collection[Skip]) -> str:
    """The layers as ranges, such as `layers 3 and 20-29, layer 5 MLP`; empty for a clean run."""
    words = []
    for part, name in _PARTS.items():
        layers = sorted({skip.layer for skip in skipped if skip.part == part})
        if layers:
            ranges = [str(a) if a == b else f"{a}-{b}" for a, b in ranges_of(layers)]
            last = f" and {ranges[-1]}" if len(ranges) > 1 else ranges[0]
            noun = noun_for(len(layers), "layer")
            words.append(f"{noun} {', '.join(ranges[:-1])}{last}{name}")
    return ", ".join(words)


def without_text(skipped: Collection[Skip]) -> str:
    """A run's name by what it leaves out, such as `without layers 20-29`; empty for a clean run."""
    return f"without {skipped_text(skipped)}" if skipped else ""


def twice_text(repeated: Collection[Repeated]) -> str:
    """The blocks that run twice, such as `layers 12-14 twice`; empty for a clean run."""
    words = []
    for block in sorted(repeated):
        is_single = block.first == block.last
        words.append(f"layer {block.first}" if is_single else f"layers {block.first}-{block.last}")
    return f"{', '.join(words)} twice" if words else ""


def patched_text(cells: Collection[PatchedCell]) -> str:
    """The states put in, such as `patched at layer 14, token 9`; empty for a clean run."""
    named = sorted(cells)[:_MOST_CELLS]
    words = [f"layer {cell.layer}{_PARTS[cell.part]}, token {cell.token}" for cell in named]
    if len(cells) > len(named):
        words.append(f"{len(cells) - len(named)} more")
    return f"patched at {'; '.join(words)}" if words else ""


def changes_of(settings: RunSettings) -> str:
    """A run's name by its changes, such as `without layer 3, layers 12-14 twice`.

    Empty for a clean run.
    """
    words = (
        without_text(settings.skipped),
        twice_text(settings.repeated),
        patched_text(settings.patched),
    )
    return ", ".join(filter(None, words))


def parameter_share(model: ModelInfo, skipped: Collection[Skip]) -> float | None:
    """The share of the model's parameters that a run does not use; None where unknown."""
    count = model.parameters_of(skipped)
    return None if count is None or not model.parameters else count / model.parameters
