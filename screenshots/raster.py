"""Pixels of the pictures, for places that show no SVG: the tour as GIF, the social card as PNG.

Drawing takes Pillow (the extra `pictures`) and a Chromium on the path.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from screenshots.animation import INK, KEY, PAGE

if TYPE_CHECKING:
    from PIL import Image

CARD = (1280, 640)
"""Width and height of the social card, in pixels."""

_COLOURS = 64
"""Colours of the GIF."""

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def png(page: str, width: int, height: int) -> bytes:
    """A picture of an HTML page, drawn by Chromium.

    Raises:
        SystemExit: there is no Chromium.
    """
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        raise SystemExit("Chromium is not on the path. Install it, for example with apt.")
    with tempfile.TemporaryDirectory() as folder:
        source, picture = Path(folder, "page.html"), Path(folder, "page.png")
        source.write_text(page, encoding="utf-8")
        options = ("--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu")
        subprocess.run(
            [
                browser,
                *options,
                f"--screenshot={picture}",
                f"--window-size={width},{height}",
                source,
            ],
            check=True,
            capture_output=True,
        )
        return picture.read_bytes()


def tour_gif(svg: str) -> bytes:
    """The animated SVG of the tour as a GIF that begins again at its end."""
    from PIL import Image

    width, height = (
        int(side) for side in re.findall(r'<svg[^>]* width="(\d+)" height="(\d+)"', svg)[0]
    )
    seconds = frame_seconds(svg)
    frames = [
        Image.open(io.BytesIO(png(_page(still_of(svg, number)), width, height))).convert("RGB")
        for number in range(len(seconds))
    ]
    palette = _palette(frames)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    written = io.BytesIO()
    drawn[0].save(
        written,
        "GIF",
        save_all=True,
        append_images=drawn[1:],
        duration=[round(1000 * length) for length in seconds],
        loop=0,
        optimize=True,
    )
    return written.getvalue()


def frame_seconds(svg: str) -> list[float]:
    """How long each frame of an animated SVG is shown."""
    total = float(re.findall(r"animation-duration:([\d.]+)s", svg)[0])
    shares = re.findall(r"@keyframes k\d+\{0%\{visibility:hidden\}([\d.]+)%", svg)
    starts = [0.0, *(total * float(share) / 100 for share in shares), total]
    return [end - start for start, end in pairwise(starts)]


def still_of(svg: str, number: int) -> str:
    """The SVG without motion, with the frames up to this one drawn over each other."""
    shown = ",".join(f"#f{frame}" for frame in range(number + 1))
    rule = f".f{{animation:none!important;visibility:hidden}}{shown}{{visibility:visible}}"
    return svg.replace("</style>", f"{rule}</style>", 1)


def card_png(explorer: str) -> bytes:
    """The social card: the name, the question and the explorer."""
    style = (
        f"body{{background:{PAGE};color:{INK};font-family:'DejaVu Sans Mono',monospace}}"
        "main{padding:36px 56px 0}"
        "h1{font-size:56px;margin:0}"
        "p{font-size:26px;margin:10px 0 28px}"
        f"b{{color:{KEY}}}"
        "main>svg{width:1168px;height:auto;display:block}"
    )
    words = "<h1>depthtui</h1><p>How much of its <b>depth</b> does a language model use?</p>"
    return png(_page(f"<main>{words}{explorer}</main>", style), *CARD)


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """The colours that all frames share."""
    from PIL import Image

    width, height = frames[0].size
    together = Image.new("RGB", (width, height * len(frames)))
    for number, frame in enumerate(frames):
        together.paste(frame, (0, number * height))
    return together.quantize(_COLOURS)


def _page(body: str, style: str = "") -> str:
    return (
        '<!doctype html><meta charset="utf-8">'
        f"<style>body{{margin:0;overflow:hidden}}{style}</style>{body}"
    )
