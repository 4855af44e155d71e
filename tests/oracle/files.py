"""What an independent implementation found on the demo model; README.md says how."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def prompts() -> dict[str, dict[str, Any]]:
    """The prompts by their ids, in the order in which they were run."""
    return {prompt["id"]: prompt for prompt in json.loads((FOLDER / "prompts.json").read_text())}


def values(metric: str) -> dict[str, Any]:
    """What was found for a metric, named as its file in `values/`."""
    return json.loads((FOLDER / "values" / f"{metric}.json").read_text())[metric]


def calibration() -> list[str]:
    """The texts that the affine lens was fitted on, of the file that `DEPTHTUI_CALIBRATION` names.

    Rows 1000 to 1049 of GSM8K's test set, JSON lines with `text`.
    """
    lines = Path(os.environ["DEPTHTUI_CALIBRATION"]).read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]
