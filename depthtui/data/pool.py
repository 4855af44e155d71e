"""The ways to pool the runs of a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

Pool: TypeAlias = Literal["none", "task", "model"]
"""The prompts of a model that are pooled: none, those of each task and level, or all."""

POOLS: Mapping[Pool, str] = {
    "none": "each run by itself",
    "task": "the prompts of each task pooled",
    "model": "all prompts of each model pooled",
}
"""Each way to pool, in words."""
