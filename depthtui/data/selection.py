"""Some of a model's layers or of a prompt's tokens, in a notation for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from depthtui.errors import DepthError
from depthtui.options import WrongValue

_PART = re.compile(r"(?:([0-9]{1,5})(?:-([0-9]{1,5}))?)?(?:/([1-9][0-9]{0,4}))?")
"""At most five digits: no model has more layers, and ranges are expanded in memory."""


def read_layers(value: Any) -> str:
    """Layers such as `0-5,20` or `/4`, checked and without spaces, also from a list of numbers.

    At least one layer: an empty value is more likely a mistake than meant for all layers.

    Raises:
        WrongValue: the value has no layers in this notation.
    """
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    text = re.sub(r"\s", "", value) if isinstance(value, str) else "?"
    if not text.strip(","):
        text = "?"
    for part in filter(None, text.split(",")):
        match = _PART.fullmatch(part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise WrongValue("layers such as 0-5,20 or 0-28/4, or /4 for every fourth one")
    return text.strip(",")


def check_layer(layer: int, n_layers: int) -> None:
    """Check that a model has a layer.

    Raises:
        DepthError: it has none of this number.
    """
    if not 0 <= layer < n_layers:
        raise DepthError(f"There is no layer {layer}.", f"Layers are 0 to {n_layers - 1}.")


def layers_in(text: str, n_layers: int) -> list[int]:
    """The layers, in order, of a text from `read_layers`; all layers for an empty text.

    Numbers beyond the model's layers are kept.
    """
    layers: set[int] = set()
    for part in filter(None, text.split(",")):
        match = _PART.fullmatch(part)
        assert match is not None, f"{text!r} was not read"
        first, last, step = match.groups()
        start = int(first or 0)
        end = int(last) if last else start if first and not step else n_layers - 1
        layers |= set(range(start, end + 1, int(step or 1))) or {start}
    return sorted(layers) if text else list(range(n_layers))


def indices_text(count: int) -> str:
    """The indices of `count` layers or tokens, such as `0-29`."""
    return "0" if count == 1 else f"0-{count - 1}"


def read_positions(value: Any) -> tuple[int, ...]:
    """Positions from a text such as `8,20`, from one number, or from a list of them.

    Raises:
        WrongValue: the value has no positions in this notation.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value,)
    parts = value.split(",") if isinstance(value, str) else value
    texts = [str(part).strip() for part in parts] if isinstance(parts, list | tuple) else ["?"]
    if not all(re.fullmatch(r"[1-9][0-9]{0,7}", text) for text in texts):
        raise WrongValue("positions of at least 1, such as 8,20")
    return tuple(sorted({int(text) for text in texts}))


def positions_text(positions: Sequence[int]) -> str:
    """Positions as `read_positions` reads them."""
    return ",".join(map(str, positions))


def numbers_text(numbers: Sequence[int], between: str = ", ") -> str:
    """Numbers in order, neighbours as ranges: `0-5, 20`."""
    ranges = (str(a) if a == b else f"{a}-{b}" for a, b in ranges_of(numbers))
    return between.join(ranges)


def ranges_of(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and last number of each run of consecutive numbers, in their order."""
    first: int | None = None
    last = 0
    for number in numbers:
        if first is None:
            first = number
        elif number != last + 1:
            yield first, last
            first = number
        last = number
    if first is not None:
        yield first, last
