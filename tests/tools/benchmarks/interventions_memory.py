"""Peak memory of every metric, over what the model takes, for a long prompt on the demo model.

    python -m tests.tools.benchmarks.interventions_memory [--tokens 512]
        [--metrics skip_effects,ablation]

Each metric runs alone through the engine, without a cache, as `depthtui run` does,
and is stopped after a minute: its batches are as large then as later on.
"""

from __future__ import annotations

import argparse
import time

from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.settings import default_cache_dir, models_dir
from tests.tools.benchmarks.interventions import WORDS
from tests.tools.benchmarks.peak_memory import anonymous_bytes, watch_memory

ANSWER = 4
"""The last tokens stand for the answer."""


class TimeLimit(Control):
    """Stops a run after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._end = time.perf_counter() + seconds

    def checkpoint(self) -> None:
        if time.perf_counter() > self._end:
            self.stop()
        super().checkpoint()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--metrics", default=",".join(METRIC_BY_NAME))
    options = parser.parse_args()
    store = open_store(None, 0, print)
    engine = Engine(store, models_dir(default_cache_dir()), lambda event: None)
    empty = anonymous_bytes()
    engine.load(ModelSpec(dtype="float32", device="cpu"))
    loaded = (anonymous_bytes() - empty) / 2**20
    prompt = Prompt(WORDS * options.tokens)
    while (count := engine.count_tokens(prompt)) > options.tokens:
        per_token = len(prompt.text) / count
        prompt = Prompt(prompt.text[: -max(1, int((count - options.tokens) * per_token / 2))])
    print(f"T = {count}; anonymous memory of the model {loaded:.0f} MiB, without mapped weights\n")
    print("| metric | peak over the model's own, MiB | s | whole |\n| --- | --- | --- | --- |")
    for metric in options.metrics.split(","):
        settings = RunSettings(metrics=(metric,), answer_start=count - ANSWER)
        start = time.perf_counter()
        with watch_memory() as peak:
            result = engine.run(prompt, settings, TimeLimit(options.seconds))
        seconds = time.perf_counter() - start
        whole = "yes" if result.complete else "no"
        print(f"| {metric} | {peak.extra:.0f} | {seconds:.0f} | {whole} |", flush=True)


if __name__ == "__main__":
    main()
