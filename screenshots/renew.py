"""Take the pictures of the README anew: `python -m screenshots.renew [NAME ...]`, or all."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from screenshots.raster import card_png, tour_gif
from screenshots.take import STILLS, still
from screenshots.tour import tour

FOLDER = Path(__file__).parent
PICTURES: dict[str, Callable[[], Coroutine[Any, Any, str]]] = {
    **{name: partial(still, *how) for name, how in STILLS.items()},
    "tour": tour,
}

PIXELS: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "tour": ("tour.gif", tour_gif),
    "explorer-dark-120x40": ("social-card.png", card_png),
}
"""A file of pixels that is drawn from an SVG, by the SVG's name."""


def renew(names: list[str]) -> None:
    """Write these pictures, and say how long each took."""
    for name in names:
        begun = time.monotonic()
        picture = asyncio.run(PICTURES[name]())
        (FOLDER / f"{name}.svg").write_text(picture, encoding="utf-8")
        if name in PIXELS:
            file, draw = PIXELS[name]
            (FOLDER / file).write_bytes(draw(picture))
        print(f"{name}.svg, {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    wanted = sys.argv[1:] or [*PICTURES]
    if unknown := [name for name in wanted if name not in PICTURES]:
        sys.exit(f"No picture is called {', '.join(unknown)}. There are {', '.join(PICTURES)}.")
    renew(wanted)
