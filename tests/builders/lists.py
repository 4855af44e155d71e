"""Lists of the house with another value in them."""

from __future__ import annotations

from typing import Any

import pytest

from depthtui.data.lazy import LazyDict


def plant(patch: pytest.MonkeyPatch, mapping: LazyDict[str, Any], name: str, value: object) -> None:
    """Put a value into a mapping, until the end of the test."""
    patch.setattr(mapping, "_items", {**mapping, name: value})
