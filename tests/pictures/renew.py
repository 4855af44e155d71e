"""Picture every screen anew, and show what was beside what is: python -m tests.pictures.renew"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.pictures.picture import draw_picture, read_picture
from tests.pictures.scenes import SCENES, picture_of

SCREENS = Path(__file__).with_name("screens")

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Screens of depthtui</title>
<style>
body {{ font-family: sans-serif }}
div {{ display: flex; gap: 1em; align-items: start }}
svg {{ flex: 1 1 0; min-width: 0; max-width: 50% }}
</style>
{}
"""


def main() -> None:
    """Write the pictures, drop those without a scene, and make the page."""
    old = {path.stem: path.read_text("utf-8") for path in SCREENS.glob("*.txt")}
    new = {}
    for scene in SCENES:
        with tempfile.TemporaryDirectory() as folder:
            new[scene.name] = asyncio.run(picture_of(scene, Path(folder)))
    SCREENS.mkdir(exist_ok=True)
    for name in old.keys() - new.keys():
        (SCREENS / f"{name}.txt").unlink()
    for name, picture in new.items():
        (SCREENS / f"{name}.txt").write_text(picture, "utf-8", newline="\n")
    page = Path(tempfile.mkdtemp(prefix="depthtui-pictures-")) / "screens.html"
    page.write_text(page_of(old, new), "utf-8")
    changed = [name for name in old | new if old.get(name) != new.get(name)]
    print(f"{len(changed)} of {len(new)} changed: {', '.join(changed) or 'none'}")
    print(page)


def page_of(old: dict[str, str], new: dict[str, str]) -> str:
    """Old and new pictures side by side, those that changed first; by name, as texts."""
    names = sorted(old | new, key=lambda name: (old.get(name) == new.get(name), name))
    return PAGE.format("\n".join(_row(name, old.get(name), new.get(name)) for name in names))


def _row(name: str, old: str | None, new: str | None) -> str:
    sides = {"old": old, "new": new} if old != new else {"unchanged": new}
    drawn = [
        draw_picture(read_picture(picture), side, f"{name}-{side}")
        for side, picture in sides.items()
        if picture is not None
    ]
    return f"<h2>{name}</h2><div>{''.join(drawn)}</div>"


if __name__ == "__main__":
    main()
