"""Byte counts as people write and read them."""

from __future__ import annotations

import re

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "k": 1024,
    "m": 1024**2,
    "g": 1024**3,
    "t": 1024**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}


def parse_size(text: str) -> int:
    """Bytes in a size such as `10GiB`, `500 MB`, `2G` (binary) or `1048576`.

    Raises:
        ValueError: the text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{text!r} is not a size; write it like 10GiB, 500MB or 1048576")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def format_size(n_bytes: int) -> str:
    """A size with three significant digits and a binary unit, such as `1.34 GiB`."""
    size, units = float(n_bytes), ["TiB", "GiB", "MiB", "KiB", "B"]
    while size >= 1000 and len(units) > 1:
        size /= 1024
        units.pop()
    whole = units[-1] == "B" or size >= 100
    return f"{size:.{0 if whole else 1 if size >= 10 else 2}f} {units[-1]}"
