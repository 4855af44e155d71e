"""Write the run that comes with the program: `python -m tests.tools.first_run`.

The demo model's first prompt is measured as a first start does, with what is kept behind it, in
float32 on the CPU. To be written again where a result, a metric or the demo has changed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from depthtui.data.codec import encode
from depthtui.data.run_settings import ModelSpec
from depthtui.engine.factory import Storage, make_engine
from depthtui.metrics import kept
from depthtui.settings import Settings, default_cache_dir, models_dir
from depthtui.tui.state.task_prompts import first_prompt

FILE = Path(__file__).parents[2] / "depthtui" / "data" / "first_run.safetensors"


def main() -> None:
    settings, cache = Settings().run_settings(), default_cache_dir()
    engine = make_engine(Storage(cache, models_dir(cache), False, 0), lambda event: None, print)
    engine.load(ModelSpec("demo", device="cpu", dtype="float32"))
    settings = replace(settings, metrics=(*settings.metrics, kept.NAME))
    result = engine.run(first_prompt(), settings)
    assert result.complete
    assert not result.failed
    # Opened by its plain name, the demo may be on another device or in another dtype.
    result.model = replace(result.model, spec=ModelSpec())
    FILE.write_bytes(encode(result))
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
