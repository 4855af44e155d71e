"""Scenes: keys, mouse, pastes and sizes for the explorer, as JSON lines.

The first line is the heading. Each other line is a step: conditions to wait for, then an input.

    {"depthtui": "0.1.0"}
    {"at": "ready", "press": "s"}
    {"at": "halted", "layers": 5, "press": "tab z"}
    {"words": "of its 30 layers"}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from textual import events
from textual.geometry import Size

from depthtui import __version__
from depthtui.data.plain import Misfit, from_plain
from depthtui.errors import DepthError
from depthtui.files import parse_json
from depthtui.tui.explorer_app import ExplorerApp
from depthtui.tui.pastes import TypedInto
from depthtui.tui.state.phase import Phase

MouseKind = Literal["down", "up", "move", "scroll_up", "scroll_down"]

MOUSE_EVENTS: dict[MouseKind, type[events.MouseEvent]] = {
    "down": events.MouseDown,
    "up": events.MouseUp,
    "move": events.MouseMove,
    "scroll_up": events.MouseScrollUp,
    "scroll_down": events.MouseScrollDown,
}
_KINDS = {event: kind for kind, event in MOUSE_EVENTS.items()}


@dataclass(frozen=True)
class SceneHeading:
    """The first line of a scene.

    Attributes:
        depthtui: the version that made it.
        theme: the explorer's theme; empty for its own dark one.
        keys: keys that replace the explorer's own, by the binding.
    """

    depthtui: str
    theme: str = ""
    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mouse:
    """A press, release, move or turn of the mouse, at a cell of the screen."""

    kind: MouseKind
    x: int = 0
    y: int = 0
    button: int = 0
    shift: bool = False
    meta: bool = False
    ctrl: bool = False

    def event(self) -> events.MouseEvent:
        """The message of Textual."""
        marks = self.button, self.shift, self.meta, self.ctrl
        return MOUSE_EVENTS[self.kind](None, self.x, self.y, 0, 0, *marks, self.x, self.y)


@dataclass(frozen=True)
class SceneStep:
    """A line of a scene: conditions to wait for, then an input.

    Attributes:
        at: the engine's activity, a value of `Phase`. An activity that has ended by itself is not
            waited for.
        layers: layers that have run of the run on the screen, at the least.
        screen: the class of the screen on top.
        words: words on the screen.
        within: seconds after which a condition counts as missed; 0 for ten minutes, and for
            half a minute while the explorer is at rest.
        press: names of keys, with blanks between them.
        type: a typed text.
        paste: a pasted text.
        mouse: an event of the mouse.
        size: columns and lines of the window.
        seconds: a pause behind the input.
        caption: a key and a sentence under a film of the explorer.
    """

    at: str = ""
    layers: int = 0
    screen: str = ""
    words: str = ""
    within: float = 0.0
    press: str = ""
    type: str = ""
    paste: str = ""
    mouse: Mouse | None = None
    size: tuple[int, int] | None = None
    seconds: float = 0.0
    caption: tuple[str, str] | None = None


@dataclass(frozen=True)
class Scene:
    """The heading and the steps of a file."""

    heading: SceneHeading
    steps: tuple[SceneStep, ...]


def read_scene(path: Path) -> Scene:
    """The scene in a file.

    Raises:
        DepthError: it cannot be read, or a line of it is no step.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DepthError(f"{path} cannot be read: {error}.") from error
    if not lines:
        raise DepthError(f"{path} is empty.", "`depthtui --record FILE` makes a scene.")
    heading, *steps = _values(path, lines)
    return Scene(heading, tuple(steps))


def _values(path: Path, lines: Iterable[str]) -> Iterator[Any]:
    kind: type[Any] = SceneHeading
    for number, line in enumerate(lines, start=1):
        try:
            value = from_plain(kind, parse_json(line))
            if isinstance(value, SceneStep) and value.at:
                Phase(value.at)
            yield value
        except (Misfit, ValueError) as error:
            raise DepthError(f"Line {number} of {path} cannot be played: {error}.") from error
        kind = SceneStep


def conditions(app: ExplorerApp) -> SceneStep:
    """The explorer as it is now: a step's activity, layers and screen."""
    explorer = app.explorer
    current = explorer.session.current
    layers = current.result.layers_done if current and current.result else 0
    return SceneStep(explorer.phase.value, layers, type(app.screen).__name__)


class Recorder:
    """Writes each input into a file as it comes, so that a crash leaves what led to it.

    Args:
        path: the file, which must be new.
        with_texts: whether typed and pasted texts are written; otherwise `x` for each character,
            and 1 for each digit.
        theme, keys: those of the heading.

    Raises:
        DepthError: the file exists, or cannot be written.
    """

    def __init__(self, path: Path, with_texts: bool, theme: str, keys: dict[str, str]) -> None:
        try:
            self._file = path.open("x", encoding="utf-8")
        except FileExistsError:
            raise DepthError(f"{path} exists.", "Name another file for the scene.") from None
        except OSError as error:
            raise DepthError(f"{path} cannot be written: {error}.") from error
        self._with_texts = with_texts
        self._typed: SceneStep | None = None
        self._size: Size | None = None
        self._write(SceneHeading(__version__, theme, keys))

    def take(self, event: events.Event, app: ExplorerApp) -> None:
        """Write an event that the terminal has sent; moves without a button are left out.

        Raises:
            DepthError: the file cannot be written any more.
        """
        match event:
            case events.Resize(size=size) if size != self._size:
                self._size = size
                self._put(SceneStep(size=(size.width, size.height)))
            case events.Key(key=key, character=character) if _is_typed(event, app):
                self._type(replace(conditions(app), type=self._shown(character or key)))
            case events.Key(key=key):
                self._put(replace(conditions(app), press=key))
            case events.Paste(text=text):
                self._put(replace(conditions(app), paste=self._shown(text)))
            case events.MouseMove(button=0):
                pass
            case events.MouseEvent() if type(event) in _KINDS:
                self._put(replace(conditions(app), mouse=_mouse(event)))

    def end(self) -> None:
        """Write the text that was being typed, and close the file."""
        self._put(None)
        self._file.close()

    def _type(self, step: SceneStep) -> None:
        """Gather characters of one text into one step."""
        if self._typed is not None and self._typed.screen == step.screen:
            self._typed = replace(self._typed, type=self._typed.type + step.type)
        else:
            self._put(None)
            self._typed = step

    def _put(self, step: SceneStep | None) -> None:
        for written in (self._typed, step):
            if written is not None:
                self._write(written)
        self._typed = None

    def _write(self, line: SceneHeading | SceneStep) -> None:
        values = asdict(
            line, dict_factory=lambda pairs: {name: value for name, value in pairs if value}
        )
        try:
            self._file.write(json.dumps(values, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise DepthError(f"{self._file.name} ends before this input: {error}.") from error

    def _shown(self, text: str) -> str:
        """A text as it is written."""
        if self._with_texts:
            return text
        return "".join("1" if character.isdigit() else "x" for character in text)


def _is_typed(key: events.Key, app: ExplorerApp) -> bool:
    """Whether a key is a character for a field, focused or not."""
    focused = app.focused
    if focused is not None and focused.check_consume_key(key.key, key.character):
        return True
    is_for_field = isinstance(app.screen, TypedInto) and key.is_printable
    return is_for_field and key.key not in app.active_bindings


def _mouse(event: events.MouseEvent) -> Mouse:
    marks = event.button, event.shift, event.meta, event.ctrl
    return Mouse(_KINDS[type(event)], int(event.screen_x), int(event.screen_y), *marks)
