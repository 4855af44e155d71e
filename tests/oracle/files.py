"""What an independent implementation found on the demo model; README.md says how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def prompts() -> dict[str, dict[str, Any]]:
    """The prompts by their ids, in the order in which they were run."""
    return {prompt["id"]: prompt for prompt in json.loads((FOLDER / "prompts.json").read_text())}


def values(metric: str) -> dict[str, Any]:
    """What was found for a metric, named as its file in `values/`."""
    return json.loads((FOLDER / "values" / f"{metric}.json").read_text())[metric]
