"""Planted truth on a real model: what is expected of each case, what is said, and whether it holds.

    python -m tests.tools.benchmarks.planted [--model demo] [--cases rotated,idle-behind]
        [--prompts 1]

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
from depthtui.metrics import kept
from depthtui.metrics.needed_settings import with_other_prompts
from depthtui.models.loading import LoadedModel, describe, load
from depthtui.prompts.tasks import make_prompts
from depthtui.settings import default_cache_dir, models_dir
from tests import planted
from tests.naive import blocks

SETTINGS = RunSettings(metrics=("contributions", "logit_lens", "similarity", "ablation", "kept"))
OWN = replace(SETTINGS, order_source="own")
GREEDY = replace(OWN, order_search="greedy")

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

    def is_near(self, other: Said, most: float, more: float = 0.0) -> bool:
        """Whether both numbers are another's, or up to `more` above, give or take `most` layers."""
        if None in (self.layers, self.depth, other.layers, other.depth):
            return False
        changes = (self.layers or 0) - (other.layers or 0), (self.depth or 0) - (other.depth or 0)
        return all(-most <= change <= more + most for change in changes)

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
        holds: whether what is said of it is right, beside what is said of another.
        beside: reads the other one; None for the model without a plant.
    """

    name: str
    expected: str
    said: Callable[[], Said]
    holds: Callable[[Said, Said], bool]
    beside: Callable[[], Said] | None = None


def cases(loaded: LoadedModel, prompts: Sequence[Prompt], read: Reader) -> Iterator[Case]:
    """The cases.

    Args:
        loaded: what plants are put into.
        prompts: those that are read.
        read: what is said of another model, or of other prompts.
    """
    model = loaded.model
    count = len(blocks(model))
    half, third = count // 2, count // 3
    yield _idle_ones("in-front", model, [0] * IDLE, read)
    yield _idle_ones("between", model, [half] * IDLE, read)
    yield _idle_ones("behind", model, [count] * IDLE, read)
    scattered = [round((place + 1) * count / (IDLE + 1)) for place in range(IDLE)]
    yield _idle_ones("scattered", model, scattered, read)
    yield _silent_ones("last-third", model, range(count - third, count), read)
    yield _silent_ones("few-work", model, [layer for layer in range(count) if layer % 4], read)
    # By rounding, the model in another basis may write another text: not in its order, and with
    # another guess.
    yield Case(
        "rotated",
        "a quarter of a layer more or less, in the prompts' own order",
        lambda: read(planted.rotated(model), settings=OWN),
        lambda said, other: said.is_near(other, 0.25),
        lambda: read(model, settings=OWN),
    )
    yield Case(
        "halves",
        "the same, or up to a layer more",
        lambda: read(planted.in_halves(model, half)),
        lambda said, base: said.is_near(base, 0.5, more=1.0),
    )
    yield Case(
        "swapped",
        "three layers more or less",
        lambda: read(planted.with_neighbours_swapped(model, half)),
        lambda said, base: said.is_near(base, 3.0),
    )
    width = float(_states(loaded, prompts[0].text)[half][1:].norm(dim=-1).median())
    yield _cancelling(model, half, width / 2, read, OWN)
    yield _cancelling(model, half, width / 2, read, GREEDY)
    yield _unread(loaded, prompts[0].text, width / 10, read)
    yield _untrained("untrained", model, read, SETTINGS.metrics)
    yield _untrained("untrained-no-lens", model, read, ("contributions", "ablation", "kept"))
    yield _untrained("untrained-alone", model, read, ("kept",))
    yield from _little_known(loaded, prompts, read)
    yield from _facts(loaded, read)


def _idle_ones(name: str, model: PreTrainedModel, before: Sequence[int], read: Reader) -> Case:
    """Layers that write nothing, beside those of the model."""
    idle = tuple(place + number for number, place in enumerate(sorted(before)))
    return Case(
        f"idle-{name}",
        f"the same and as sure, {len(idle)} idle",
        lambda: read(planted.with_idle(model, before)[0]),
        lambda said, base: (
            said.idle == idle
            and said.is_near(base, 0.01)
            and said.reliability == base.reliability
            and said.is_within(len(blocks(model)))
        ),
    )


def _silent_ones(name: str, model: PreTrainedModel, silent: Sequence[int], read: Reader) -> Case:
    """Some of the model's own layers write nothing."""
    most = len(blocks(model)) - len(silent)
    return Case(
        name,
        f"at most {most} layers or too little known, {len(silent)} idle",
        lambda: read(planted.without_writes(model, silent)),
        lambda said, base: said.idle == tuple(silent) and said.is_within(most),
    )


def _cancelling(
    model: PreTrainedModel, before: int, size: float, read: Reader, settings: RunSettings
) -> Case:
    """Two layers that undo each other: no order that goes by single layers sees it."""
    return Case(
        f"cancelling-{settings.order_search}",
        "ablation misses both; two layers more at most",
        lambda: read(planted.with_cancelling_pair(model, before, size), settings=settings),
        lambda said, other: (
            {before, before + 1} <= set(said.missed)
            and not said.idle
            and said.is_near(other, 0.5, more=2.0)
        ),
        lambda: read(model, settings=settings),
    )


def _unread(loaded: LoadedModel, text: str, size: float, read: Reader) -> Case:
    """A layer that writes where nothing reads."""
    model, before = loaded.model, len(blocks(loaded.model)) // 2
    direction = _least_read(loaded, text)
    return Case(
        "unread",
        "as without it, 1.5 layers more or less; not idle, among the first, not missed",
        lambda: read(planted.with_unread_layer(model, direction, before, size), settings=OWN),
        lambda said, other: (
            not said.idle
            and before not in said.missed
            and all(before in order[:3] for order in said.orders)
            # The norms round otherwise, so that the model writes other texts: another guess.
            and said.is_near(other, 1.5)
        ),
        lambda: read(planted.blind_to(model, direction), settings=OWN),
    )


def _least_read(loaded: LoadedModel, text: str) -> int:
    """The direction of the stream of which norms let through least: without it little changes."""
    model, states = loaded.model, _states(loaded, text)[:-1]
    shares = [state[1:].square().mean(dim=0).sqrt() / state[1:].norm() for state in states]
    read = [
        share * torch.maximum(norm.weight.abs(), other.weight.abs())
        for share, block in zip(shares, blocks(model), strict=True)
        for norm, other in [(block.input_layernorm, block.post_attention_layernorm)]
    ]
    read.append(shares[-1] * model.model.norm.weight.abs())
    return int(torch.stack(read).amax(dim=0).argmin())


def _untrained(name: str, model: PreTrainedModel, read: Reader, metrics: tuple[str, ...]) -> Case:
    """Weights that are drawn, whatever is measured."""

    def drawn() -> PreTrainedModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return type(model)(model.config).eval().requires_grad_(False)

    return Case(
        name,
        f"too little known, no number in bold; of {', '.join(metrics)}",
        lambda: read(drawn(), settings=replace(SETTINGS, metrics=metrics)),
        lambda said, base: said.too_little,
    )


def _little_known(loaded: LoadedModel, prompts: Sequence[Prompt], read: Reader) -> Iterator[Case]:
    """Shuffled words and random tokens."""
    draw, tokens = Random(0), range(100, loaded.model.config.vocab_size)
    shuffled, noise = [], []
    for prompt in prompts:
        words = prompt.text.split()
        shuffled.append(Prompt(" ".join(draw.sample(words, len(words)))))
        noise.append(Prompt(str(loaded.tokenizer.decode(draw.sample(tokens, NOISE_TOKENS)))))

    def is_little(said: Said, base: Said) -> bool:
        return said.too_little or said.gain < base.gain / 2

    expected = "too little known, or less than half of the text"
    yield Case("shuffled", expected, lambda: read(loaded.model, shuffled), is_little)
    yield Case("noise", expected, lambda: read(loaded.model, noise), is_little)


def _facts(loaded: LoadedModel, read: Reader) -> Iterator[Case]:
    """A layer that alone knows what follows some words: one task takes it, no other text."""
    count = len(blocks(loaded.model))
    layer = 2 * count // 3
    prompts = [
        Prompt(f"Behind the old house there was a small {word}{answer}", answer)
        for word, answer in FACTS.items()
    ]
    changed = cache(lambda: _with_facts(loaded, layer, prompts))
    yield Case(
        "fact-own-order",
        f"layer {layer} is missed and stays",
        lambda: read(changed(), prompts, OWN),
        lambda said, base: layer in said.missed and layer in said.stay,
    )
    yield Case(
        "fact-model-order",
        f"layer {layer} is missed, goes first by other texts, and with it the answers: fragile",
        lambda: read(changed(), prompts),
        lambda said, base: (
            layer in said.missed
            and all(order[0] == layer for order in said.orders)
            and (said.layers or 0) > count
            and said.reliability == "fragile"
        ),
    )
    yield Case(
        "fact-elsewhere",
        "the same: no other text takes it",
        lambda: read(changed()),
        lambda said, base: said.is_near(base, 0.1) and layer not in said.missed,
    )


def _with_facts(loaded: LoadedModel, layer: int, prompts: Sequence[Prompt]) -> PreTrainedModel:
    """A copy with a layer that knows the answers of prompts, one token each."""
    tokenizer, model = loaded.tokenizer, loaded.model
    questions = [_states(loaded, prompt.question)[layer] for prompt in prompts]
    texts = [*make_prompts("commonsense", None, 17), *make_prompts("grade_school", None, 10)]
    texts += make_prompts("word_problem", 2, 10)
    others = [states[:-1] for states in questions]
    others += [_states(loaded, prompt.text)[layer] for prompt in texts]
    keys = torch.stack([states[-1] for states in questions])
    head = model.lm_head.weight * model.model.norm.weight
    answers = torch.tensor([tokenizer(prompt.answer).input_ids[0] for prompt in prompts])
    written = head[answers] - head.mean(dim=0)
    written *= 4 * keys.norm(dim=-1, keepdim=True) / written.norm(dim=-1, keepdim=True)
    return planted.with_facts(model, layer, keys, torch.cat(others), written)


def _states(loaded: LoadedModel, text: str) -> Sequence[torch.Tensor]:
    """The residual stream in front of each layer, `[T, d]`, and the output's state."""
    ids = loaded.tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        states = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states
    return [state[0] for state in states]


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
        runs = [
            engine.run(prompt, with_other_prompts(settings, prompts, number))
            for number, prompt in enumerate(prompts)
        ]
        return Said.of(reading_of(runs, SummarySettings()))

    base = read(loaded.model)
    print(f"base: {base.in_short}\n{base.text}", flush=True)
    table = Table("case", "expected", "beside", "said", "")
    wanted = tuple(asked.cases.split(",")) if asked.cases else ("",)
    for case in cases(loaded, base_prompts, read):
        if case.name.startswith(wanted):
            said, other = case.said(), case.beside() if case.beside else base
            right = "right" if case.holds(said, other) else "WRONG"
            table.add_row(case.name, case.expected, other.in_short, said.in_short, right)
            print(f"{case.name}: {said.in_short}; beside {other.in_short}: {right}")
            print(f"  {said.text}", flush=True)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
