"""The screens that are pictured, and what leads to them.

A file in `played/` is the scene of one picture, as `depthtui --record` writes it; what no key can
do is a function here. Nothing that depends on the clock or the machine is to be seen: the engine is
scripted, and what is named after the time or a folder gets a fixed name.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from unittest.mock import patch

from textual.widgets import Input, TextArea

from depthtui.data.lens import AffineLens
from depthtui.data.model import ModelListing
from depthtui.data.own_commands import OwnCommand
from depthtui.data.protocol import Event, ModelLoaded, Pace
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.saved_session import SavedRun, SavedSession
from depthtui.data.session_files import SessionFolder
from depthtui.metrics.registry import MEASURE_BY_NAME
from depthtui.settings import Settings
from depthtui.tui.app import DepthApp
from depthtui.tui.player import play
from depthtui.tui.scene import read_scene
from depthtui.tui.screens.dialogs.code_dialog import CodeDialog
from depthtui.tui.screens.dialogs.command_output import CommandOutput
from depthtui.tui.screens.dialogs.looks_picker import LooksPicker
from depthtui.tui.state.engine_connection import EngineConnection
from depthtui.tui.state.phase import CodeQuestion
from tests.builders.engines import FakeEngine
from tests.builders.lenses import smooth_lens
from tests.builders.metrics import smooth_metric
from tests.builders.models import model_info
from tests.pictures.picture import Picture, take_picture, write_picture
from tests.prompts.test_datasets import ROWS, write_lines
from tests.tui.app_helpers import MOST_SECONDS, DrawnAtOnce, Explored, explore
from tests.tui.test_dialogs import three_runs
from tests.tui.test_picked_datasets import choose
from tests.tui.test_sweep import ran, show

NOON = datetime(2025, 1, 1, 12, 0)
RIVERS = ("The Rhine ends in the sea.", "The Po ends in the sea.", "The Ebro ends in the sea.")
LONGER_THAN_A_FRAME = 0.04
"""Seconds in which a screen that has something new is drawn again."""

Drive = Callable[[Explored, Path], Awaitable[None]]

SMALL, MEDIUM, LARGE = (80, 24), (120, 40), (200, 60)


@dataclass(frozen=True)
class Scene:
    """A screen to be pictured.

    Attributes:
        name: of its file.
        drive: leads from the finished first run to the screen; it gets an empty folder.
        size: columns and lines.
        theme: the explorer's theme; empty for its own dark one.
        make_engine: its engine.
    """

    name: str
    drive: Drive
    size: tuple[int, int] = MEDIUM
    theme: str = ""
    make_engine: Callable[[], EngineConnection] = FakeEngine


async def picture_of(scene: Scene, folder: Path) -> str:
    """Play a scene in an empty folder; returns the text of its picture."""
    settings = Settings(theme=scene.theme, cache_dir=folder / "cache", export_dir=Path("/exports"))
    # A picture depends neither on the terminal nor on what was fetched from the hub.
    with (
        patch.dict(os.environ, HF_HUB_CACHE="/nowhere"),
        patch("textual.constants.COLOR_SYSTEM", "truecolor"),
    ):
        os.environ.pop("NO_COLOR", None)
        async with explore(folder, scene.make_engine, scene.size, settings, kind=DrawnAtOnce) as it:
            it.app.animation_level = "none"
            await scene.drive(it, folder)
            return write_picture(await settled(it))


async def settled(it: Explored) -> Picture:
    """Wait until nothing goes on any more and the picture stays as it is."""
    before: Picture = []
    end = monotonic() + MOST_SECONDS
    while monotonic() < end:
        await it.pilot.pause(LONGER_THAN_A_FRAME)
        stop_blinking(it.app)
        picture = take_picture(it.app)
        waits = it.session.live is None or getattr(it.engines[-1], "manual", False)
        idle = waits and all(worker.is_finished for worker in it.app.workers)
        if idle and picture == before:
            return picture
        before = picture
    raise AssertionError("the screen never came to rest")


def stop_blinking(app: DepthApp) -> None:
    """Let every cursor stay to be seen."""
    for field in (*app.screen.query(Input), *app.screen.query(TextArea)):
        field.cursor_blink = False


async def seen(it: Explored, words: str) -> None:
    """Wait until the screen says this."""
    await it.until(lambda: words in it.screen_text(), words)


def keys(*pressed: str, says: str = "") -> Drive:
    """Press keys, and wait for words that only the last screen says."""

    async def drive(it: Explored, folder: Path) -> None:
        await it.press(*pressed)
        await seen(it, says)

    return drive


async def side_column(it: Explored, folder: Path) -> None:
    await three_runs(it)
    await it.press("tab", "tab", "tab", "i")
    await it.ready()
    await it.press("i")
    await seen(it, "least")


async def own_code(it: Explored, folder: Path) -> None:
    snapshot = "/home/me/.cache/huggingface/hub/models--org--own/snapshots/0123456789abcdef"
    with patch("depthtui.tui.screens.dialogs.code_dialog.SECONDS_TO_READ", 0.01):
        it.app.ask_for_trust(CodeQuestion(ModelSpec("org/own"), snapshot))
        await seen(it, "No, leave it closed")
        dialog = it.app.screen
        assert isinstance(dialog, CodeDialog)
        await it.until(lambda: not dialog.listing.get_option_at_index(1).disabled)


async def models(it: Explored, folder: Path) -> None:
    found = [
        ModelListing("demo", "demo", "demo", 270_000_000, True, "the demo model"),
        ModelListing("org/large", "org/large", "hub", 2_000_000_000, False, "in the hub cache"),
    ]
    with patch("depthtui.models.catalog.on_disk", lambda _: found):
        await it.press("m")
        await seen(it, "org/large")


async def themes(it: Explored, folder: Path) -> None:
    await it.press("comma", "tab", "tab", "down")
    await it.until(lambda: it.app.theme == "depth-light")
    picker = it.app.screen
    assert isinstance(picker, LooksPicker)
    for key in ("end", "up"):
        await it.press(key)
        # The palette is shown once the cursor rests on it.
        await it.until(lambda: picker._shown_looks == picker._tried, "the palette")
        await it.pilot.pause()
    await seen(it, "blue, orange")


async def session(it: Explored, folder: Path) -> None:
    await three_runs(it)
    for run in it.session.runs:
        run.started = NOON
    await it.press("b")
    await seen(it, "space marks")
    await it.press("down", "space")


async def sessions(it: Explored, folder: Path) -> None:
    saved_sessions = SessionFolder(folder / "cache")
    for file in saved_sessions.files():
        # Its time is now.
        file.path.unlink()
    for day, title, names in (
        (2, "Where the lens first reads the river", ["demo"] * 2),
        (3, "法国的首都是巴黎", ["demo", "Qwen/Qwen2.5-1.5B-Instruct", "demo"]),
    ):
        saved = NOON.replace(day=day)
        runs = tuple(
            SavedRun(model_info(ModelSpec(name)), Prompt(text), RunSettings(), saved.isoformat())
            for name, text in zip(names, RIVERS, strict=False)
        )
        session = SavedSession(
            saved.isoformat(), runs, 0, 0, 0, "kl", "evidence", "heatmap", 0.5, 0.5, title
        )
        saved_sessions.create(session, saved).close()
    await it.press("b", "R")
    await seen(it, "The Ebro")


async def datasets(it: Explored, folder: Path) -> None:
    rows = folder / "cache" / "datasets"
    rows.mkdir(parents=True, exist_ok=True)
    write_lines(rows, ROWS["gsm8k"], "gsm8k.jsonl")
    await it.press("p", "ctrl+t")
    await it.until(lambda: it.main.datasets.file("gsm8k"))
    await choose(it, "gsm8k")
    await seen(it, "Ada has 6 bags")


async def settings(it: Explored, folder: Path) -> None:
    os.environ["DEPTHTUI_CACHE_DIR"] = "/cache"
    it.app.explorer.change_session(cache_dir=Path("/cache"), export_dir=Settings.export_dir)
    await it.press("comma", "end", "enter")
    await seen(it, "not written")


async def settings_field(it: Explored, folder: Path) -> None:
    await settings(it, folder)
    await it.press(*["up"] * 6, "enter", "0", "enter")
    await seen(it, "lens_top_k must be")


async def export(it: Explored, folder: Path) -> None:
    await it.press("e")
    await seen(it, "into /exports")
    it.app.screen.query_one("#file-name", Input).value = f"depth-{NOON:%Y%m%d-%H%M%S}"


async def compare(it: Explored, folder: Path) -> None:
    await three_runs(it)
    await it.press("b")
    await settled(it)
    await it.press("C")
    await seen(it, "esc back")


async def answers(it: Explored, folder: Path) -> None:
    """The options of a sum, at depth 12."""
    it.app.explorer.run(Prompt("19 + 27 = 46", " 46", "sums", choices=(" 47", " 46", " 64", " 36")))
    await it.ready()
    it.main.action_go_to("answers")
    await it.press("i")
    await seen(it, "which is right")
    await it.press("1", "2", "G")
    await seen(it, "▴12")


async def own_command(it: Explored, folder: Path) -> None:
    run = "seq 3; echo {model}: no note of layer {layer} yet; exit 2"
    it.app._own.run(OwnCommand("f6", "Note this layer", run))
    await it.until(lambda: isinstance(it.app.screen, CommandOutput), "the output")
    await seen(it, "It ended with status 2.")


async def welcome(it: Explored, folder: Path) -> None:
    it.app.action_welcome()
    await seen(it, "any key goes on")


async def reading(it: Explored, folder: Path) -> None:
    it.engine.say(Pace(forward=0.005, tokens=30))
    await it.until(lambda: it.app.explorer.engine.pace.forward == 0.005)
    it.main.choose_reading()
    await it.press("right")
    await seen(it, "not fitted yet")


async def affine_lens(it: Explored, folder: Path) -> None:
    result = it.session.current.result
    lens = smooth_lens(AffineLens, result)
    lens.held_out_kl[24] = lens.logit_held_out_kl[24] + 1
    result.put("affine_lens", lens)
    it.main.measure = MEASURE_BY_NAME["kl"]
    await it.read(lens="affine")
    await seen(it, "Affine lens at")
    it.app.clear_notifications()


async def pairs_map(it: Explored, folder: Path) -> None:
    result = it.session.current.result
    result.put("pairs", smooth_metric("pairs", result))
    it.main.measure = MEASURE_BY_NAME["pairs"]
    await seen(it, "says little")


async def sweep(it: Explored, folder: Path) -> None:
    await show(it, ran(folder / "sweep"))
    await it.press("space", "2", "j", "space", "j")


async def being_written(it: Explored, folder: Path) -> None:
    """Forty words of a text of which more are to come."""
    it.engine.manual = True
    await it.press("w")
    it.engine.advance(9)
    await seen(it, "40 of 256 tokens")


async def written(it: Explored, folder: Path) -> None:
    """The same text once it is whole."""
    await being_written(it, folder)
    it.engine.advance()
    await it.ready()


def hybrid() -> FakeEngine:
    """An engine whose model mixes linear attention with full attention, as Qwen3-Next does."""
    types = (*["linear attention"] * 3, "full attention") * 6

    def load(spec: ModelSpec) -> Iterator[Event]:
        yield ModelLoaded(model_info(spec, len(types), layer_types=types))

    return FakeEngine(load)


def played(file: Path) -> Scene:
    """The scene of a file, after its first run; it begins with its size."""
    scene = read_scene(file)
    first, *steps = scene.steps
    assert first.size is not None

    async def drive(it: Explored, folder: Path) -> None:
        await play(it.app, it.pilot, steps)

    return Scene(file.stem, drive, first.size, scene.heading.theme)


SCENES = (
    *map(played, sorted(Path(__file__).with_name("played").iterdir())),
    Scene("main-large", side_column, LARGE),
    Scene("welcome", welcome, SMALL),
    Scene("answers", answers),
    Scene("hybrid", keys("i", "d", "z", says="By type"), LARGE, make_engine=hybrid),
    Scene("affine-lens", affine_lens),
    Scene("pairs-light", pairs_map, theme="depth-light"),
    Scene("themes", themes, SMALL),
    Scene("reading", reading),
    Scene("datasets", datasets, SMALL),
    Scene("models", models, SMALL),
    Scene("own-code", own_code, SMALL),
    Scene("own-command-light", own_command, SMALL, "depth-light"),
    Scene("settings", settings, LARGE),
    Scene("settings-light", settings_field, SMALL, "depth-light"),
    Scene("session", session),
    Scene("sessions", sessions, SMALL),
    Scene("export-light", export, SMALL, "depth-light"),
    Scene("compare", compare, LARGE),
    Scene("writing", being_written),
    Scene("written-light", written, SMALL, "depth-light"),
    Scene("sweep", sweep),
)
