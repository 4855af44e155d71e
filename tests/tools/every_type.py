"""Every type that transformers predicts text with: measured, refused or not made, and why.

python -m tests.tools.every_type          compare what is found with the list that is kept
python -m tests.tools.every_type --renew  write that list anew
python -m tests.tools.every_type llama    show what is found of these types alone
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from depthtui.data.lens import LogitLens
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError
from depthtui.manual.model_types import (
    FAULT,
    IN_PART,
    MEASURED,
    NOT_MADE,
    REFUSED,
    SAVED,
)
from depthtui.metrics.contributions import Contributions
from depthtui.metrics.skip_effects import SkipEffects
from tests.naive import (
    layer_ends,
    naive_contributions,
    naive_lens,
    naive_skip_effects,
    naive_writes,
)
from tests.tools.small_types import kinds, small_folder, small_model

TEXT = "The ferry did not run."

_SETTINGS = RunSettings(
    metrics=(*RunSettings().metrics, "skip_effects"), lens_top_k=6, skip_everywhere=True
)


@dataclass(frozen=True)
class Found:
    """What became of a type.

    Attributes:
        outcome: one of `MEASURED`, `IN_PART`, `REFUSED` and `NOT_MADE`.
        why: what is not measured, or why nothing is; empty where all is.
        misses: a number's name -> how far it is from that of ordinary forwards, as a share.
    """

    outcome: str
    why: str = ""
    misses: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.outcome}: {self.why}" if self.why else self.outcome


def find(kind: str, parent: Path) -> Found:
    """Make a tiny model of a type in a folder, open it from there and measure a prompt."""
    try:
        folder, model = small_folder(parent, kind), small_model(kind)
    except Exception as error:
        return Found(NOT_MADE, _sentence(error))
    engine = Engine(
        open_store(None, 0, print), parent, lambda event: None, on_bug=lambda error: None
    )
    try:
        engine.load(ModelSpec(str(folder), device="cpu"))
        result = engine.run(Prompt(TEXT), _SETTINGS)
    except DepthError as error:
        return Found(REFUSED, _sentence(error))
    except Exception as error:
        return Found(FAULT, _sentence(error))
    info = engine.model
    assert info is not None
    missing = {"no split": info.split_missing, "no lens": info.lens_missing}
    missing |= {
        name: why for name, why in result.unavailable.items() if why not in missing.values()
    }
    found = "; ".join(f"{name}: {why}" for name, why in missing.items() if why)
    if info.calls or info.streams > 1:
        # `tests/metrics` has ordinary forwards of looped blocks and of streams side by side.
        return Found(IN_PART if found else MEASURED, _plain(found))
    if type(model).__name__ != info.architecture:
        # Opened without what reads images and sounds.
        assert engine._model is not None
        model = engine._model.loaded.model
    return Found(IN_PART if found else MEASURED, _plain(found), _misses(model, result))


def _misses(model: PreTrainedModel, result: RunResult) -> dict[str, float]:
    """How far the numbers of a run are from those of one ordinary forward for each intervention."""
    ids = torch.from_numpy(result.tokens.ids)[None]
    contributions = result.get(Contributions)
    depth = len(contributions.layer_norm_ratio)
    if np.isnan(contributions.attention_norm_ratio).all():
        ends = [layer_ends(model, ids, layer) for layer in range(depth)]
        before, after = (np.stack(side) for side in zip(*ends, strict=True))
        ratio = np.linalg.norm(after - before, axis=-1) / np.linalg.norm(before, axis=-1)
        misses = {"change": _share(contributions.layer_norm_ratio, ratio)}
    else:
        expected = naive_contributions(*naive_writes(model, ids), result.model.parallel)
        misses = {
            name: _share(
                getattr(contributions, f"{name}_norm_ratio"), expected[f"{name}_norm_ratio"]
            )
            for name in ("layer", "attention", "mlp")
        }
    if (lens := result.measured.get("logit_lens")) is not None:
        assert isinstance(lens, LogitLens)
        expected = naive_lens(model, ids, 6)["next_log_probability"]
        misses["lens"] = _share(lens.next_log_probability[:, :-1], expected[:, :-1])
    if (effects := result.measured.get("skip_effects")) is not None:
        assert isinstance(effects, SkipEffects)
        expected, output = naive_skip_effects(model, ids, [0])
        misses["skip"] = _share(effects.layers, expected)
        misses["skip output"] = _share(effects.output, output)
    return misses


def _share(found: Any, expected: Any) -> float:
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 0.01))


def _sentence(error: Exception) -> str:
    name = "" if isinstance(error, DepthError) else f"{type(error).__name__}: "
    return name + _plain(" ".join(str(error).split()))


def _plain(text: str) -> str:
    """A sentence without the numbers and places that differ from run to run."""
    text = re.sub(r"\S*/(?=[\w.-]+/config\.json)", "", text)
    return re.sub(r" \(off by [^)]*\)", "", text).replace("tiny-", "")


def find_all(chosen: Sequence[str]) -> dict[str, Found]:
    """What becomes of these types, by name, told as it is found."""
    found = {}
    for kind in chosen:
        with tempfile.TemporaryDirectory() as parent:
            found[kind] = find(kind, Path(parent))
        misses = " ".join(f"{name} {miss:.0e}" for name, miss in found[kind].misses.items())
        print(f"{kind}: {found[kind]} [{misses}]", flush=True)
    return found


def listed(found: dict[str, Found]) -> str:
    """The list that is kept: how many came to what, and a line for each type."""
    counts = [
        f"# {sum(one.outcome == outcome for one in found.values())} {outcome}"
        for outcome in (MEASURED, IN_PART, REFUSED, FAULT, NOT_MADE)
    ]
    by = "python -m tests.tools.every_type --renew"
    head = f"# Types of transformers {transformers.__version__}, by {by}"
    lines = [f"{kind}: {one}" for kind, one in sorted(found.items())]
    return "\n".join([head, *counts, "", *lines, ""])


def main(arguments: Sequence[str]) -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    renew = "--renew" in arguments
    chosen = [argument for argument in arguments if argument != "--renew"]
    found = find_all(chosen or kinds())
    if renew and not chosen:
        SAVED.write_text(listed(found), encoding="utf-8")
    worst = [
        (miss, f"{kind}'s {name}")
        for kind, one in found.items()
        for name, miss in one.misses.items()
    ]
    print("furthest off:", ", ".join(f"{whose} {miss:.1e}" for miss, whose in sorted(worst)[-8:]))


if __name__ == "__main__":
    main(sys.argv[1:])
