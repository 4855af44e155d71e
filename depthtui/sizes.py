"""Byte counts and times in notations for people."""

from __future__ import annotations

import re

from depthtui.errors import short_repr

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


LARGEST_SIZE = 2**62
"""Most bytes of a size: no disk is as large, and 64-bit numbers can represent it."""


def parse_size(text: str) -> int:
    """Bytes in a size such as `10GiB`, `500 MB`, `2G` (binary) or `1048576`.

    Raises:
        ValueError: the text is not a size, or the size is larger than `LARGEST_SIZE`.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{short_repr(text)} is not a size; write it like 10GiB, 500MB or 1048576")
    size = float(match[1]) * _UNITS[match[2].lower()]
    if size > LARGEST_SIZE:
        raise ValueError(f"{short_repr(text)} is larger than any disk")
    return int(size)


def exact_size(n_bytes: int) -> str:
    """A size that `parse_size` reads, in the largest unit that makes it a whole number: `2GiB`."""
    for power in (4, 3, 2, 1):
        for base, unit in ((1000, "B"), (1024, "iB")):
            count, remainder = divmod(n_bytes, base**power)
            if count and not remainder:
                return f"{count}{' kMGT'[power] if base == 1000 else ' KMGT'[power]}{unit}"
    return str(n_bytes)


def format_size(n_bytes: float) -> str:
    """A size with three significant digits and a decimal unit, as for downloads: `1.34 GB`."""
    size, units = float(n_bytes), ["TB", "GB", "MB", "kB", "B"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop()
    digits = 0 if units[-1] == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {units[-1]}"


def about(seconds: float) -> str:
    """An estimated time in one significant digit, such as `about 40 s` or `about 2 min`."""
    for unit, length, until in (("s", 1, 60), ("min", 60, 60), ("h", 3600, 24)):
        count = _one_digit(seconds / length)
        if count < until:
            return f"about {count} {unit}"
    days = _one_digit(seconds / 86400)
    return f"about {days:,} day{'' if days == 1 else 's'}"


def _one_digit(number: float) -> int:
    """A whole number of at least 1, rounded to one significant digit."""
    return max(1, round(float(f"{number:.0e}")))
