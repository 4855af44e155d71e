"""The screens look as they are pictured; `python -m tests.pictures.renew` pictures them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pictures.picture import differences
from tests.pictures.renew import SCREENS
from tests.pictures.scenes import SCENES, Scene, picture_of


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_a_screen_looks_as_pictured(tmp_path: Path, scene: Scene) -> None:
    kept = (SCREENS / f"{scene.name}.txt").read_text("utf-8")
    drawn = await picture_of(scene, tmp_path)
    if drawn != kept:
        pytest.fail("\n".join([f"{scene.name} changed", *differences(kept, drawn)]), pytrace=False)


def test_every_picture_has_its_scene() -> None:
    assert {path.name for path in SCREENS.iterdir()} == {f"{scene.name}.txt" for scene in SCENES}
