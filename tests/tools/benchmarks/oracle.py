"""Causal metrics against an independent implementation's values, on the demo model in float32.

    python -m tests.tools.benchmarks.oracle

Prints a Markdown table. The relative difference is the largest difference
over the largest value of the same layer's row. It takes some ten minutes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.reading import reading_of
from depthtui.engine.engine import Engine
from depthtui.metrics import context_depth, order
from depthtui.metrics.direct_effects import DirectEffects
from depthtui.metrics.integrated_gradients import IntegratedGradients
from depthtui.metrics.residual_erasure import ResidualErasure
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.metrics.spec import Metric
from depthtui.settings import default_cache_dir, models_dir
from tests.oracle import files as oracle


def farthest(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The largest difference, absolute and relative to its row's largest value."""
    apart = np.abs(ours - theirs)
    largest = np.abs(theirs).max(axis=-1, keepdims=True)
    known = np.broadcast_to(largest, apart.shape) > 0
    relative = np.where(known, apart / np.where(largest > 0, largest, 1), 0)
    return float(apart.max()), float(relative.max())


class Check:
    """The demo model, the oracle's prompts and values."""

    def __init__(self) -> None:
        self._prompts = oracle.prompts()
        store = open_store(None, 0, print)
        self._engine = Engine(store, models_dir(default_cache_dir()), lambda event: None)
        self._engine.load(ModelSpec("demo", device="cpu", dtype="float32"))

    def run(self, name: str, **settings: Any) -> RunResult:
        prompt = self._prompts[name]
        asked = Prompt(prompt["text"], prompt.get("a", ""))
        return self._engine.run(asked, RunSettings(**settings))

    def skip_effects(self) -> None:
        lengths: list[int] = []
        for expected in oracle.values("layer_effects")["per_prompt"]:
            result = self.run(
                expected["id"], metrics=("skip_effects",), lengths_before=tuple(lengths)
            )
            found = result.get(SkipEffects)
            assert found is not None
            assert list(found.positions) == expected["positions"], (
                found.positions,
                expected["positions"],
            )
            lengths.append(len(result.tokens))
            self.row(
                f"skip effects, {expected['id']}",
                found.layers,
                np.array(expected["max_future_layer"]),
            )
            output = np.array(expected["max_future_out"])
            self.row(f"output effects, {expected['id']}", found.output[:, None], output[:, None])
            assert (np.diag(found.layers) == 0).all()

    def direct_effects(self) -> None:
        """The largest of all prompts, at the positions of skip effects."""
        lengths: list[int] = []
        largest: Any = 0.0
        for name in self._prompts:
            asked = {"metrics": ("direct_effects",), "lengths_before": tuple(lengths)}
            result = self.run(name, **asked)
            found = result.get(DirectEffects)
            assert found is not None
            largest = np.maximum(largest, found.layers)
            lengths.append(len(result.tokens))
        self.row("direct effects, all", largest, np.array(oracle.values("direct")["effect"]))

    def erasure(self) -> None:
        values = oracle.values("erasure")
        baseline = tuple(self._prompts[name]["text"] for name in values["baseline_prompts"])
        for expected in values["per_prompt"]:
            result = self.run(expected["id"], metrics=("residual_erasure",), baseline=baseline)
            assert result.get(ResidualErasure) is not None
            effect = result.get(ResidualErasure).effect
            self.row(f"residual erasure, {expected['id']}", effect, np.array(expected["effect"]))

    def gradients(self) -> None:
        values = oracle.values("igrads")
        for expected in values["per_prompt"]:
            result = self.run(
                expected["id"], metrics=("integrated_gradients",), riemann_steps=values["steps"]
            )
            assert result.get(IntegratedGradients) is not None
            ours = result.get(IntegratedGradients).attribution
            what = f"integrated gradients, {values['steps']} steps, {expected['id']}"
            self.row(what, ours, np.array(expected["attribution"]))

    def pooled(self, metric: Metric) -> dict[str, Any]:
        """What a summary says of all prompts."""
        pooled = reading_of(
            [self.run(name, metrics=(metric.name,)) for name in self._prompts], SummarySettings()
        )
        found: dict[str, Any] = metric.summary(pooled.get(metric), pooled)
        return found

    def order(self) -> None:
        ours, theirs = self.pooled(order.METRIC), oracle.values("pairs")
        for name in ("parallel", "swapped"):
            self.row(f"order of layers, {name}", ours[name], np.array(theirs[name]))

    def context(self) -> None:
        ours, theirs = self.pooled(context_depth.METRIC), oracle.values("context")
        assert ours["starts"] == list(theirs["starts"].values())
        self.row("context depth", ours["loss"], np.array(theirs["loss"]))

    def row(self, what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        absolute, relative = farthest(ours, theirs)
        print(f"| {what} | {absolute:.1e} | {relative:.1e} |", flush=True)


def main() -> None:
    check = Check()
    print("| what | largest difference | relative to its row |\n| --- | --- | --- |")
    check.context()
    check.order()
    check.skip_effects()
    check.direct_effects()
    check.erasure()
    check.gradients()


if __name__ == "__main__":
    main()
