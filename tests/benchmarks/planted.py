"""Planted truth on a real model: what is expected of each case, what is said, and whether it holds.

    python -m tests.benchmarks.planted [--model demo] [--cases rotated,idle-behind] [--prompts 1]

Each case is a copy of a Llama-like model in float32 on the CPU, changed so that a part of the
answer is known (`tests/planted.py`). Takes a minute or more a case.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.reading import Reading, reading_of
from depthtui.engine.engine import Engine
from depthtui.metrics import with_order_texts
from depthtui.metrics.sufficient import METRIC
from depthtui.models.loading import LoadedModel, describe, load
from depthtui.prompts.tasks import make_prompts
from depthtui.settings import default_cache_dir, models_dir
from tests import planted
from tests.naive import blocks

SETTINGS = RunSettings(
    metrics=("contributions", "logit_lens", "similarity", "ablation", "kept"),
    sufficient_order="own",
    sufficient_search="ranked",
)
IDLE = 6
"""Layers that are planted in a case of idle ones."""


@dataclass(frozen=True)
class Said:
    """What is said of a case.

    Attributes:
        layers: N(1).
        idle: the layers that write nothing.
        counts: of layers that may lie anywhere, by measure.
        missed: the layers that ablation misses.
        first: the layers that go first, of each order.
        text: warnings and sentence.
    """

    layers: float
    idle: tuple[int, ...]
    counts: dict[str, int]
    missed: tuple[int, ...]
    first: list[tuple[int, ...]]
    text: str

    @classmethod
    def of(cls, reading: Reading) -> Said:
        """What a reading says."""
        found, verdict = reading.get(METRIC), reading.verdict
        assert verdict is not None
        counted = [one for one in reading.evidence if one.layers is not None]
        missed = next((one.layers for one in counted if one.measure == "ablation"), None)
        return cls(
            found.within(),
            reading.idle,
            {one.measure: one.count for one in counted if one.count is not None},
            missed or (),
            [way.order for way in found.ways],
            verdict.text,
        )

    @property
    def in_short(self) -> str:
        """The same in a line."""
        idle = f"; {len(self.idle)} idle" if self.idle else ""
        warned = "; knows nothing" if self.knows_nothing else ""
        return f"N(1) {self.layers:.2f}, ablation {self.counts.get('ablation')}{idle}{warned}"

    @property
    def knows_nothing(self) -> bool:
        """Whether it warns of a model that knows nothing of the text."""
        return "knows nothing" in self.text


@dataclass(frozen=True)
class Case:
    """A model and what must be said of it.

    Attributes:
        name: its name.
        expected: in words.
        model: makes it.
        holds: whether what is said of it is right.
    """

    name: str
    expected: str
    model: Callable[[], PreTrainedModel]
    holds: Callable[[Said], bool]


def cases(
    model: PreTrainedModel, base: Said, read: Callable[[PreTrainedModel], Said], width: float
) -> Iterator[Case]:
    """The cases.

    Args:
        model: what plants are put into.
        base: what is said of it.
        read: what is said of another one.
        width: the length of the stream in the middle of the model.
    """
    count = len(blocks(model))
    half = count // 2
    places = {
        "in-front": [0] * IDLE,
        "between": [half] * IDLE,
        "behind": [count] * IDLE,
        "scattered": [round((place + 1) * count / (IDLE + 1)) for place in range(IDLE)],
    }
    for name, before in places.items():
        changed, idle = planted.with_idle(model, before)

        def is_idle(said: Said, idle: list[int] = idle) -> bool:
            most = max(said.counts.values())
            return said.idle == tuple(idle) and _near(said, base, 0.01) and most <= count

        yield Case(
            f"idle-{name}",
            f"N(1) {base.layers:.2f}, {IDLE} idle, no count above {count}",
            lambda changed=changed: changed,  # type: ignore[misc]
            is_idle,
        )
    yield Case(
        "rotated",
        f"N(1) {base.layers:.2f}, the same sentence",
        lambda: planted.rotated(model),
        lambda said: _near(said, base, 0.05) and said.text == base.text,
    )
    yield Case(
        "last-third",
        f"at most {count - count // 3} layers, {count // 3} idle",
        lambda: planted.without_writes(model, range(count - count // 3, count)),
        lambda said: (
            said.idle == tuple(range(count - count // 3, count))
            and max(said.layers, *said.counts.values()) <= count - count // 3
        ),
    )
    working = tuple(range(0, count, 4))
    yield Case(
        "few-work",
        f"at most {len(working)} layers, {count - len(working)} idle",
        lambda: planted.working_only_in(model, dict.fromkeys(working, 1.0)),
        lambda said: (
            said.idle == tuple(layer for layer in range(count) if layer not in working)
            and max(said.layers, *said.counts.values()) <= len(working)
        ),
    )
    yield Case(
        "random",
        "knows nothing",
        lambda: _untrained(model),
        lambda said: said.knows_nothing,
    )
    yield Case(
        "halves",
        f"N(1) {base.layers:.2f} to {base.layers + 1:.2f}, a layer more",
        lambda: planted.in_halves(model, half),
        lambda said: base.layers - 0.5 <= said.layers <= base.layers + 1.5,
    )
    yield Case(
        "swapped",
        f"N(1) {base.layers:.2f}, three more or less",
        lambda: planted.with_neighbours_swapped(model, half),
        lambda said: _near(said, base, 3.0),
    )
    yield Case(
        "cancelling",
        f"N(1) {base.layers:.2f}, one more or less; ablation misses both",
        lambda: planted.with_cancelling_pair(model, half, width / 2),
        lambda said: (
            {half, half + 1} <= set(said.missed) and not said.idle and _near(said, base, 1.0)
        ),
    )
    direction = int(model.model.norm.weight.abs().argmin())
    yield Case(
        "unread",
        "N(1) as without it, half a layer more or less; not idle, among the first, not missed",
        lambda: planted.with_unread_layer(model, direction, half, width / 10),
        lambda said: (
            not said.idle
            and half not in said.missed
            and all(half in order[:3] for order in said.first)
            and _near(said, read(planted.blind_to(model, direction)), 0.5)
        ),
    )


def _near(said: Said, other: Said, most: float) -> bool:
    return abs(said.layers - other.layers) <= most


def _untrained(model: PreTrainedModel) -> PreTrainedModel:
    config = model.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return type(model)(config).eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo", help="a Llama-like model")
    parser.add_argument("--cases", help="names of cases, with commas between them")
    parser.add_argument("--prompts", type=int, default=1, help="commonsense prompts")
    parser.add_argument("--cache-dir", type=Path, default=default_cache_dir())
    asked = parser.parse_args()
    spec = ModelSpec(asked.model, device="cpu", dtype="float32")
    loaded = load(spec, models_dir(asked.cache_dir), lambda event: None)
    prompts = make_prompts("commonsense", None, asked.prompts)
    texts = [prompt.text for prompt in prompts]
    engine = Engine(open_store(None, 0, print), models_dir(asked.cache_dir), lambda event: None)

    def read(model: PreTrainedModel) -> Said:
        info = describe(spec, asked.model, "planted", model, loaded.tokenizer, 1)
        engine.use(LoadedModel(model, loaded.tokenizer, info, {"": 1}))
        runs = [
            engine.run(prompt, with_order_texts(SETTINGS, texts, number))
            for number, prompt in enumerate(prompts)
        ]
        return Said.of(reading_of(runs, SummarySettings()))

    base = read(loaded.model)
    print(f"base: {base.in_short}\n{base.text}", flush=True)
    width = _stream_width(loaded, texts[0])
    table = Table("case", "expected", "said", "")
    wanted = asked.cases.split(",") if asked.cases else None
    for case in cases(loaded.model, base, read, width):
        if wanted is None or case.name in wanted:
            said = read(case.model())
            right = "right" if case.holds(said) else "WRONG"
            table.add_row(case.name, case.expected, said.in_short, right)
            print(f"{case.name}: {said.in_short}: {right}", flush=True)
    Console(width=120).print(table)


def _stream_width(loaded: LoadedModel, text: str) -> float:
    """The median length of the residual stream in the middle of the model."""
    ids = loaded.tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        states = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states
    return float(states[len(states) // 2][0, 1:].norm(dim=-1).median())


if __name__ == "__main__":
    main()
