"""The verdict's sentence for the first prompts of all tasks, and where the truth is planted.

    python -m tests.tools.benchmarks.verdicts [--model demo] [--every-level]

Computes the quick causal measures, and with a known answer the kept answers, in float32 on the
CPU, and prints Markdown. The planted models are the demo model with its last third writing
nothing, with two layers that write nothing, and with two layers of the same weights. Takes
minutes; --every-level an hour.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.verdict_words import layers_in_words, spread
from depthtui.engine.engine import Engine
from depthtui.prompts.tasks import TASKS, level_words, make_prompts, prompt_title
from depthtui.settings import default_cache_dir, models_dir
from tests.builders.readings import verdict
from tests.naive import blocks

METRICS = (
    "contributions",
    "logit_lens",
    "similarity",
    "context_depth",
    "order",
    "ablation",
    "accuracy",
    "kept",
)


def first_prompts(every_level: bool) -> Iterator[Prompt]:
    """One of each task, at its easiest, default and hardest level, or at all of them."""
    for task in TASKS.values():
        levels: Iterable[int | None] = [None]
        if task.levels:
            few = {task.levels[0], task.default_level, task.levels[-1]}
            levels = (
                task.levels if every_level else [level for level in task.levels if level in few]
            )
        for level in levels:
            yield make_prompts(task.name, level, 1)[0]


def tell(engine: Engine, prompt: Prompt, title: str, at_length: bool = False) -> None:
    """Print the sentence, and each measure's count."""
    result = engine.run(prompt, RunSettings(metrics=METRICS))
    found = verdict([result], SummarySettings())
    assert found is not None
    print(f"**{title}** ({len(result.tokens)} tokens). {found.sentence}\n", flush=True)
    if at_length:
        for measure in found.evidence:
            holds = "firm" if measure.firm else f"fragile: {measure.reason}"
            count = "none" if measure.count is None else f"{measure.count} ({spread(measure)})"
            print(f"- {measure.title}: {count}, layers {layers_in_words(measure) or '–'}; {holds}")
        print(flush=True)


def silence(layer: Any) -> None:
    """Let a layer write nothing."""
    layer.self_attn.o_proj.weight.zero_()
    layer.mlp.down_proj.weight.zero_()


@contextmanager
def changed(model: Any, change: Callable[[], None]) -> Iterator[None]:
    """A model with some weights changed."""
    saved = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        change()
    try:
        yield
    finally:
        model.load_state_dict(saved)


def planted(engine: Engine) -> None:
    """The demo model with a truth in it."""
    model: Any = engine._model.loaded.model  # type: ignore[union-attr]
    layers = blocks(model)
    third, middle = len(layers) // 3, len(layers) // 2

    def idle_end() -> None:
        for layer in layers[-third:]:
            silence(layer)

    def idle_pair() -> None:
        for layer in layers[middle : middle + 2]:
            silence(layer)

    def same_pair() -> None:
        layers[middle + 1].load_state_dict(layers[middle].state_dict())

    plants = {
        f"layers {len(layers) - third} to {len(layers) - 1} write nothing": idle_end,
        f"layers {middle} and {middle + 1} write nothing": idle_pair,
        f"layers {middle} and {middle + 1} have the same weights": same_pair,
    }
    for title, change in plants.items():
        with changed(model, change):
            tell(engine, make_prompts("commonsense", None, 1)[0], title, at_length=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--every-level", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as lenses:
        engine = Engine(
            open_store(None, 0, print),
            models_dir(default_cache_dir()),
            lambda event: None,
            lenses_dir=Path(lenses),
        )
        engine.load(ModelSpec(options.model, dtype="float32", device="cpu"))
        planted(engine)
        for prompt in first_prompts(options.every_level):
            words = ", ".join(filter(None, (TASKS[prompt.task].title, level_words(prompt))))
            tell(engine, prompt, f"{words}: {prompt_title(prompt, 40)}")


if __name__ == "__main__":
    main()
