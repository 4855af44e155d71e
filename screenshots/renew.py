"""Take the pictures of the README anew: `python -m screenshots.renew [NAME ...]`, or all.

Each is a scene beside this file, played on the demo model as `depthtui --play` does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings, default_cache_dir
from depthtui.tui.player import play_scene
from depthtui.tui.scene import read_scene
from screenshots.raster import card_png, tour_gif
from screenshots.tour import Film

FOLDER = Path(__file__).parent
SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}
THEMES = {"dark": "depth-dark", "light": "depth-light"}
PICTURES = [
    *(f"explorer-{shade}-{size}" for size in SIZES for shade in THEMES),
    *(
        f"{scene}-dark-120x40"
        for scene in ("verdict", "step", "compare", "what-if", "writing", "sweep", "keys")
    ),
    "tour",
]
"""Scene, theme and size of each still; and the film."""

PIXELS: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "tour": ("tour.gif", tour_gif),
    "explorer-dark-120x40": ("social-card.png", card_png),
}
"""A file of pixels that is drawn from an SVG, by the SVG's name."""


def picture(name: str) -> str:
    """A picture, as SVG."""
    scene_name, shade, size = (*name.rsplit("-", 2), "dark", "")[:3]
    scene = read_scene(FOLDER / f"{scene_name}.jsonl")
    scene = replace(scene, heading=replace(scene.heading, theme=THEMES[shade]))
    settings, film = Settings(cache_dir=default_cache_dir()), Film()
    with TemporaryDirectory(prefix="depthtui-") as scratch, chdir(scratch):
        still = Path(scratch, "still.svg")
        if play_scene(scene, ModelSpec(), settings, still, SIZES.get(size), film.watch):
            sys.exit(f"{name} was not played to its end.")
        return film.svg() if name == "tour" else still.read_text(encoding="utf-8")


def renew(names: list[str]) -> None:
    """Write these pictures, and print how long each took."""
    for name in names:
        begun = time.monotonic()
        drawn = picture(name)
        (FOLDER / f"{name}.svg").write_text(drawn, encoding="utf-8")
        if name in PIXELS:
            file, draw = PIXELS[name]
            (FOLDER / file).write_bytes(draw(drawn))
        print(f"{name}.svg, {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    wanted = sys.argv[1:] or PICTURES
    if unknown := [name for name in wanted if name not in PICTURES]:
        sys.exit(f"No picture is called {', '.join(unknown)}. There are {', '.join(PICTURES)}.")
    renew(wanted)
