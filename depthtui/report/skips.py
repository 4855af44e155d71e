"""What a what-if leaves out, and what it runs twice, in words."""

from __future__ import annotations

from collections.abc import Collection

from depthtui.data.model import ModelInfo
from depthtui.data.run_settings import Repeated, RunSettings, Skip
from depthtui.data.selection import ranges_of

_PARTS = {"layer": "", "attention": " attention", "mlp": " MLP"}


def skipped_text(skipped: Collection[Skip]) -> str:
    """The layers as ranges, such as `layers 3 and 20-29, layer 5 MLP`; empty for a clean run."""
    words = []
    for part, name in _PARTS.items():
        layers = sorted({skip.layer for skip in skipped if skip.part == part})
        if layers:
            ranges = [str(a) if a == b else f"{a}-{b}" for a, b in ranges_of(layers)]
            last = f" and {ranges[-1]}" if len(ranges) > 1 else ranges[0]
            noun = "layer" if len(layers) == 1 else "layers"
            words.append(f"{noun} {', '.join(ranges[:-1])}{last}{name}")
    return ", ".join(words)


def without(skipped: Collection[Skip]) -> str:
    """A run's name by what it leaves out, such as `without layers 20-29`; empty for a clean run."""
    return f"without {skipped_text(skipped)}" if skipped else ""


def twice(repeated: Collection[Repeated]) -> str:
    """The blocks that run twice, such as `layers 12-14 twice`; empty for a clean run."""
    words = []
    for block in sorted(repeated):
        one = block.first == block.last
        words.append(f"layer {block.first}" if one else f"layers {block.first}-{block.last}")
    return f"{', '.join(words)} twice" if words else ""


def changes_words(skipped: Collection[Skip], repeated: Collection[Repeated]) -> str:
    """Both, such as `without layer 3, layers 12-14 twice`."""
    return ", ".join(filter(None, (without(skipped), twice(repeated))))


def changes_of(settings: RunSettings) -> str:
    """A run's name by what it leaves out and runs twice; empty for a clean run."""
    return changes_words(settings.skipped, settings.repeated)


def parameter_share(model: ModelInfo, skipped: Collection[Skip]) -> float | None:
    """The share of the model's parameters that a run does not use; None where unknown."""
    count = model.parameters_of(skipped)
    return None if count is None or not model.parameters else count / model.parameters
