"""Every patch works, and Textual still needs it."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest
import textual
from textual import _wrap
from textual._xterm_parser import XTermParser
from textual.drivers import web_driver
from textual.message_pump import MessagePump
from textual.widget import Widget

from depthtui.tui import textual_patches
from depthtui.tui.textual_patches import (
    PATCHES,
    dispatch,
    layout,
    timers,
)
from tests.tui.textual_patches.scenes import OURS, SCENES, TEXTUALS, Kit, Scene

textual_patches.install()

ORIGINALS: dict[str, tuple[Any, str, Any]] = {
    "MessagePump._dispatch_message": (MessagePump, "_dispatch_message", dispatch.textuals),
    "Widget.refresh": (Widget, "refresh", layout.textuals),
    "_wrap.cell_len": (_wrap, "cell_len", layout.textuals_cell_len),
    "MessagePump.set_timer": (MessagePump, "set_timer", timers.textuals),
    "web_driver.XTermParser": (web_driver, "XTermParser", XTermParser),
}
"""Textual's own function in the place of each patch that all of Textual gets: where it lies, its
name, and itself."""

EACH_SCENE = pytest.mark.parametrize(
    ("function", "scene"),
    SCENES,
    ids=[f"{function}-{scene.__name__}" for function, scene in SCENES],
)


@EACH_SCENE
async def test_with_the_patch_all_goes_well(
    function: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await scene(OURS, monkeypatch)


@EACH_SCENE
async def test_without_the_patch_it_does_not(
    function: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit: Kit = TEXTUALS
    if function in ORIGINALS:
        kit = OURS
        owner, name, original = ORIGINALS[function]
        monkeypatch.setattr(owner, name, original)
    try:
        goes_well = await scene(kit, monkeypatch)
    except Exception:
        goes_well = False
    name = next(patch.name for patch in PATCHES if patch.replaces == function)
    assert not goes_well, (
        f"Textual {textual.__version__} has mended this: delete textual_patches/{name}.py, "
        f"or the part of it for {function}"
    )


def test_every_patch_has_a_scene_and_is_listed_once() -> None:
    listed = [patch.replaces for patch in PATCHES]
    assert {function for function, _ in SCENES} == set(listed)
    assert len(set(listed)) == len(listed)
    assert {patch.replaces for patch in PATCHES if patch.everywhere} == set(ORIGINALS)


def test_every_module_describes_its_patches() -> None:
    for patch in PATCHES:
        text = inspect.getsource(import_module(f"{textual_patches.__name__}.{patch.name}"))
        for words in (patch.replaces.rpartition(".")[2], *filter(None, patch.issue.split(", "))):
            assert words in text, patch
