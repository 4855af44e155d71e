"""What the rules say under each lens, how well each lens reads held-out text, and its fit's time.

    python -m tests.tools.benchmarks.lens_study [--model demo] [--texts FILE] [--prompts FILE]
        [--jacobian 4]

--texts is what lenses are fitted on, JSON lines with `text`; else the model writes some.
--prompts is read beside the built-in tasks, JSON lines with `text`. In float32 on the CPU, on a
quiet machine; a Jacobian lens of so many prompts takes minutes each, and 0 leaves it out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from depthtui.data.lens_view import fitted_words
from depthtui.data.run import Prompt
from depthtui.data.run_settings import LENSES, ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.reading import reading_of
from depthtui.engine.engine import Engine
from depthtui.engine.lenses import LensChoice
from depthtui.lenses.maps import LensMaps
from depthtui.prompts.prompt_files import read_prompts
from depthtui.prompts.tasks import TASKS, make_prompts
from depthtui.settings import default_cache_dir, models_dir

FIGURES = 10
"""Depths whose held-out KL is printed."""


def fitted(engine: Engine, choice: LensChoice) -> LensMaps:
    """Fit a lens, and say how long that took."""
    start = time.perf_counter()
    maps = engine.fit_lens(choice)
    print(f"{choice.kind}: {time.perf_counter() - start:.1f} s, {fitted_words(maps.fit)}\n")
    return maps


def print_held_out(lenses: dict[str, LensMaps]) -> None:
    """KL of each lens on held-out text, at some depths."""
    some = next(iter(lenses.values()))
    depths = np.unique(np.linspace(0, some.n_layers - 1, FIGURES).round().astype(int))
    print("| held-out KL at depth | " + " | ".join(map(str, depths)) + " | mean |")
    print("| --- |" + " --- |" * (len(depths) + 1))
    rows = {"logit": some.logit_held_out_kl} | {
        kind: maps.held_out_kl for kind, maps in lenses.items()
    }
    for kind, kl in rows.items():
        cells = [f"{kl[depth]:.2f}" for depth in depths]
        print(f"| {kind} | {' | '.join(cells)} | {np.nanmean(kl):.2f} |")
    print(flush=True)


def print_rules(engine: Engine, sets: dict[str, list[Prompt]], kinds: tuple[str, ...]) -> None:
    """The KL and the overlap rule's counts, and the KL by depth, under each lens."""
    metrics = ("logit_lens", *(f"{kind}_lens" for kind in kinds if kind != "logit"))
    print("| prompts | lens | KL rule | overlap rule | KL at every third depth |")
    print("| --- | --- | --- | --- | --- |")
    for title, prompts in sets.items():
        runs = [engine.run(prompt, RunSettings(metrics=metrics)) for prompt in prompts]
        for kind in kinds:
            summary = reading_of(runs, replace(SummarySettings(), lens=kind))
            assert summary is not None
            counts = {depth.rule: depth.count for depth in summary.depths}
            curve = " ".join(f"{kl:.1f}" for kl in summary.curves["kl"][:-1:3])
            print(
                f"| {title} | {kind} | {counts['kl']} | {counts['overlap']} | {curve} |", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--texts", default="")
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--jacobian", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(
            open_store(None, 0, print),
            models_dir(default_cache_dir()),
            lambda event: None,
            lenses_dir=Path(folder),
        )
        engine.load(ModelSpec(options.model, dtype="float32", device="cpu"))
        lenses = {"affine": fitted(engine, LensChoice("affine", options.texts))}
        if options.jacobian:
            choice = LensChoice("jacobian", options.texts, prompts=options.jacobian)
            lenses["jacobian"] = fitted(engine, choice)
        print_held_out(lenses)
        sets = {task.title: make_prompts(task.name, None, 3) for task in TASKS.values()}
        if options.prompts is not None:
            sets[options.prompts.name] = read_prompts(options.prompts)[:3]
        print_rules(engine, sets, tuple(kind for kind in LENSES if kind in {"logit", *lenses}))


if __name__ == "__main__":
    main()
