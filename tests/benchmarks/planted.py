"""Planted truth on a real model: what is expected of each case, what is said, and whether it holds.

    python -m tests.benchmarks.planted [--model demo] [--cases rotated,idle-behind] [--prompts 1]

Each case is a copy of a Llama-like model in float32 on the CPU, changed so that a part of the
answer is known (`tests/planted.py`), or the model itself on prompts of which it can know little.
Judged is what the layers keep of what the model knows: nine tenths (N90), and the mean depth D,
by the model's ranked order where no prompt's own is meant. Takes a minute or more a case.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random

import torch
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.reading import Reading, reading_of
from depthtui.engine.engine import Engine
from depthtui.metrics import kept, with_order_texts
from depthtui.models.loading import LoadedModel, describe, load
from depthtui.prompts.tasks import make_prompts
from depthtui.settings import default_cache_dir, models_dir
from tests import planted
from tests.naive import blocks

SETTINGS = RunSettings(metrics=("contributions", "logit_lens", "similarity", "ablation", "kept"))
OWN = replace(SETTINGS, sufficient_order="own")
GREEDY = replace(OWN, sufficient_search="greedy")

IDLE = 6
"""Layers that are planted in a case of idle ones."""

FACTS = {
    "zebra": " river",
    "trumpet": " lamp",
    "volcano": " horse",
    "pancake": " cloud",
    "giraffe": " bread",
    "violin": " stone",
}
"""Words behind which another one is planted."""

NOISE_TOKENS = 40


@dataclass(frozen=True)
class Said:
    """What is said of a case.

    Attributes:
        layers: N90; None where too little is known, like the next one.
        depth: D.
        gain: what is known of a token, in nats.
        reliability: how sure the count is.
        idle: the layers that write nothing.
        counts: of layers that may lie anywhere, by measure.
        missed: the layers that ablation misses.
        stay: the layers that stay at N90 in the first order.
        orders: every order that was read.
        bold: the headline of the sentence.
        text: warnings and sentence.
    """

    layers: float | None
    depth: float | None
    gain: float
    reliability: str
    idle: tuple[int, ...]
    counts: dict[str, int]
    missed: tuple[int, ...]
    stay: tuple[int, ...]
    orders: frozenset[tuple[int, ...]]
    bold: str
    text: str

    @classmethod
    def of(cls, reading: Reading) -> Said:
        """What a reading says."""
        knowledge, verdict = reading.get(kept.METRIC), reading.verdict
        assert verdict is not None
        assert verdict.headline is not None
        rows = {row.measure: row for row in reading.evidence}
        missed = rows["ablation"].layers if "ablation" in rows else None
        return cls(
            verdict.headline.count,
            verdict.headline.mean_depth,
            verdict.headline.gain,
            rows["kept"].reliability,
            reading.idle,
            {
                row.measure: row.count
                for row in rows.values()
                if row.layers is not None and row.count is not None
            },
            missed or (),
            knowledge.kept_layers,
            frozenset(
                order for part in reading.reduced(kept.METRIC) for order in part.orders if order
            ),
            verdict.words.headline,
            verdict.text,
        )

    @property
    def too_little(self) -> bool:
        """Whether too little is known for a count, and there is no number in bold."""
        return self.layers is None and not re.search(r"\d+ of|of its \d|\d layers", self.bold)

    @property
    def in_short(self) -> str:
        """The same in a line."""
        idle = f"; {len(self.idle)} idle" if self.idle else ""
        if self.layers is None or self.depth is None:
            counted = "too little known"
        else:
            counted = f"N90 {self.layers:.2f}, D {self.depth:.2f}, {self.reliability}"
        return f"{counted}, {self.gain:.1f} nats{idle}"

    def is_near(self, layers: float, depth: float, most: float) -> bool:
        """Whether both numbers are within `most` layers of others."""
        if self.layers is None or self.depth is None:
            return False
        return abs(self.layers - layers) <= most and abs(self.depth - depth) <= most

    def is_within(self, layers: int) -> bool:
        """Whether no count is above so many layers."""
        return max(self.layers or 0, self.depth or 0, *self.counts.values()) <= layers


Reader = Callable[..., Said]
"""What is said of a model; of other prompts or by other settings where these are given."""


@dataclass(frozen=True)
class Case:
    """A model and prompts, and what must be said of them.

    Attributes:
        name: its name.
        expected: in words.
        said: reads it.
        holds: whether what is said of it is right.
    """

    name: str
    expected: str
    said: Callable[[], Said]
    holds: Callable[[Said], bool]


def cases(
    loaded: LoadedModel, base: Said, prompts: Sequence[Prompt], read: Reader
) -> Iterator[Case]:
    """The cases.

    Args:
        loaded: what plants are put into.
        base: what is said of it.
        prompts: those that were read.
        read: what is said of another model, or of other prompts.
    """
    yield from _idle_ones(loaded.model, base, read)
    yield from _changed_ones(loaded.model, base, read)
    yield from _of_one_order(loaded, prompts, read)
    yield from _little_known(loaded, base, prompts, read)
    yield from _facts(loaded, base, read)


def _numbers(base: Said) -> tuple[float, float]:
    assert base.layers is not None
    assert base.depth is not None
    return base.layers, base.depth


def _idle_ones(model: PreTrainedModel, base: Said, read: Reader) -> Iterator[Case]:
    """Layers that write nothing, in four places, and a model most of whose layers are idle."""
    count, numbers = len(blocks(model)), _numbers(base)
    places = {
        "in-front": [0] * IDLE,
        "between": [count // 2] * IDLE,
        "behind": [count] * IDLE,
        "scattered": [round((place + 1) * count / (IDLE + 1)) for place in range(IDLE)],
    }
    for name, before in places.items():
        changed, idle = planted.with_idle(model, before)
        yield Case(
            f"idle-{name}",
            f"N90 {numbers[0]:.2f}, D {numbers[1]:.2f}, {base.reliability}, {IDLE} idle",
            lambda changed=changed: read(changed),  # type: ignore[misc]
            lambda said, idle=tuple(idle): (  # type: ignore[misc]
                said.idle == idle
                and said.is_near(*numbers, 0.01)
                and said.reliability == base.reliability
                and said.is_within(count)
            ),
        )
    third = tuple(range(count - count // 3, count))
    few = tuple(layer for layer in range(count) if layer % 4)
    for name, idle_layers in (("last-third", third), ("few-work", few)):
        most = count - len(idle_layers)
        yield Case(
            name,
            f"at most {most} layers or too little known, {len(idle_layers)} idle",
            lambda silent=idle_layers: read(planted.without_writes(model, silent)),  # type: ignore[misc]
            lambda said, silent=idle_layers, most=most: (  # type: ignore[misc]
                said.idle == silent and said.is_within(most)
            ),
        )


def _changed_ones(model: PreTrainedModel, base: Said, read: Reader) -> Iterator[Case]:
    """Another basis, a layer in halves, two layers in each other's place."""
    numbers, half = _numbers(base), len(blocks(model)) // 2
    words = f"N90 {numbers[0]:.2f}, D {numbers[1]:.2f}"
    yield Case(
        "rotated",
        f"{words}, the same sentence",
        lambda: read(planted.rotated(model)),
        lambda said: said.is_near(*numbers, 0.05) and said.text == base.text,
    )
    yield Case(
        "halves",
        f"{words}, up to a layer more",
        lambda: read(planted.in_halves(model, half)),
        lambda said: said.is_near(numbers[0] + 0.5, numbers[1] + 0.5, 1.0),
    )
    yield Case(
        "swapped",
        f"{words}, three more or less",
        lambda: read(planted.with_neighbours_swapped(model, half)),
        lambda said: said.is_near(*numbers, 3.0),
    )


def _of_one_order(loaded: LoadedModel, prompts: Sequence[Prompt], read: Reader) -> Iterator[Case]:
    """Layers that undo each other, and one that nothing reads, in the prompts' own order."""
    model = loaded.model
    half, direction = len(blocks(model)) // 2, int(model.model.norm.weight.abs().argmin())
    width = float(_states(loaded, prompts[0].text, half)[1:].norm(dim=-1).median())
    pair = {half, half + 1}
    for settings, most in ((OWN, 2.0), (GREEDY, 0.0)):
        yield Case(
            f"cancelling-{settings.sufficient_search}",
            f"ablation misses both; {most:g} layers more at most than without them",
            lambda settings=settings: read(  # type: ignore[misc]
                planted.with_cancelling_pair(model, half, width / 2), settings=settings
            ),
            lambda said, settings=settings, most=most: (  # type: ignore[misc]
                pair <= set(said.missed)
                and not said.idle
                and said.is_near(
                    *(value + most / 2 for value in _numbers(read(model, settings=settings))),
                    most / 2 + 0.5,
                )
            ),
        )
    yield Case(
        "unread",
        "as without it, half a layer more or less; not idle, among the first, not missed",
        lambda: read(planted.with_unread_layer(model, direction, half, width / 10), settings=OWN),
        lambda said: (
            not said.idle
            and half not in said.missed
            and all(half in order[:3] for order in said.orders)
            and said.is_near(*_numbers(read(planted.blind_to(model, direction), settings=OWN)), 0.5)
        ),
    )


def _little_known(
    loaded: LoadedModel, base: Said, prompts: Sequence[Prompt], read: Reader
) -> Iterator[Case]:
    """Untrained weights, whatever is measured; shuffled words and random tokens."""
    model, draw = loaded.model, Random(0)
    for metrics in (SETTINGS.metrics, ("contributions", "ablation", "kept"), ("kept",)):
        yield Case(
            f"untrained-{len(metrics)}",
            f"too little known, no number in bold; of {', '.join(metrics)}",
            lambda metrics=metrics: read(  # type: ignore[misc]
                _untrained(model), settings=replace(SETTINGS, metrics=metrics)
            ),
            lambda said: said.too_little,
        )

    def is_little(said: Said) -> bool:
        return said.too_little or said.gain < base.gain / 2

    shuffled = []
    for prompt in prompts:
        words = prompt.text.split()
        shuffled.append(Prompt(" ".join(draw.sample(words, len(words)))))
    noise = [
        Prompt(
            loaded.tokenizer.decode(draw.sample(range(100, model.config.vocab_size), NOISE_TOKENS))
        )
        for _ in prompts
    ]
    for name, texts in (("shuffled", shuffled), ("noise", noise)):
        yield Case(
            name,
            f"too little known, or less than half of {base.gain:.1f} nats",
            lambda texts=texts: read(model, texts),  # type: ignore[misc]
            is_little,
        )


def _facts(loaded: LoadedModel, base: Said, read: Reader) -> Iterator[Case]:
    """A layer that alone knows what follows some words: one task takes it, no other text."""
    model, numbers = loaded.model, _numbers(base)
    layer = 2 * len(blocks(model)) // 3
    prompts = [
        Prompt(f"Behind the old house there was a small {word}{answer}", answer)
        for word, answer in FACTS.items()
    ]
    changed = cache(lambda: _with_facts(loaded, layer, prompts))
    yield Case(
        "fact-own-order",
        f"layer {layer} is missed and stays",
        lambda: read(changed(), prompts, OWN),
        lambda said: layer in said.missed and layer in said.stay,
    )
    yield Case(
        "fact-model-order",
        f"layer {layer} is missed, goes first by other texts, and with it the answers",
        lambda: read(changed(), prompts),
        lambda said: (
            layer in said.missed
            and all(order[0] == layer for order in said.orders)
            and said.layers is not None
            and said.layers > len(blocks(model))
        ),
    )
    yield Case(
        "fact-elsewhere",
        f"N90 {numbers[0]:.2f}, D {numbers[1]:.2f}: no other text takes it",
        lambda: read(changed()),
        lambda said: said.is_near(*numbers, 0.1) and layer not in said.missed,
    )


def _with_facts(loaded: LoadedModel, layer: int, prompts: Sequence[Prompt]) -> PreTrainedModel:
    """A copy with a layer that knows the answers of prompts, one token each."""
    tokenizer, model = loaded.tokenizer, loaded.model
    questions = [_states(loaded, prompt.question, layer) for prompt in prompts]
    texts = [*make_prompts("commonsense", None, 17), *make_prompts("grade_school", None, 10)]
    texts += make_prompts("word_problem", 2, 10)
    others = [states[:-1] for states in questions]
    others += [_states(loaded, prompt.text, layer) for prompt in texts]
    keys = torch.stack([states[-1] for states in questions])
    head = model.lm_head.weight * model.model.norm.weight
    answers = torch.tensor([tokenizer(prompt.answer).input_ids[0] for prompt in prompts])
    written = head[answers] - head.mean(dim=0)
    written *= 4 * keys.norm(dim=-1, keepdim=True) / written.norm(dim=-1, keepdim=True)
    return planted.with_facts(model, layer, keys, torch.cat(others), written)


def _states(loaded: LoadedModel, text: str, depth: int) -> torch.Tensor:
    """The residual stream in front of a layer, `[T, d]`."""
    ids = loaded.tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        states = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states
    return states[depth][0]


def _untrained(model: PreTrainedModel) -> PreTrainedModel:
    config = model.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return type(model)(config).eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo", help="a Llama-like model")
    parser.add_argument("--cases", help="beginnings of names of cases, with commas between them")
    parser.add_argument("--prompts", type=int, default=1, help="commonsense prompts")
    parser.add_argument("--cache-dir", type=Path, default=default_cache_dir())
    asked = parser.parse_args()
    spec = ModelSpec(asked.model, device="cpu", dtype="float32")
    loaded = load(spec, models_dir(asked.cache_dir), lambda event: None)
    loaded.model.requires_grad_(False)
    # All tokens are scored: an answer has two.
    base_prompts = [
        Prompt(prompt.text) for prompt in make_prompts("commonsense", None, asked.prompts)
    ]
    engine = Engine(open_store(None, 0, print), models_dir(asked.cache_dir), lambda event: None)

    def read(
        model: PreTrainedModel,
        prompts: Sequence[Prompt] = base_prompts,
        settings: RunSettings = SETTINGS,
    ) -> Said:
        info = describe(spec, asked.model, "planted", model, loaded.tokenizer, 1)
        engine.use(LoadedModel(model, loaded.tokenizer, info, {"": 1}))
        texts = [prompt.text for prompt in prompts]
        runs = [
            engine.run(prompt, with_order_texts(settings, texts, number))
            for number, prompt in enumerate(prompts)
        ]
        return Said.of(reading_of(runs, SummarySettings()))

    base = read(loaded.model)
    print(f"base: {base.in_short}\n{base.text}", flush=True)
    table = Table("case", "expected", "said", "")
    wanted = tuple(asked.cases.split(",")) if asked.cases else ("",)
    for case in cases(loaded, base, base_prompts, read):
        if case.name.startswith(wanted):
            said = case.said()
            right = "right" if case.holds(said) else "WRONG"
            table.add_row(case.name, case.expected, said.in_short, right)
            print(f"{case.name}: {said.in_short}: {right}\n  {said.text}", flush=True)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
