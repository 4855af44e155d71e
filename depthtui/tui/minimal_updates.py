"""Send the terminal only what changed.

Textual repaints a changed region from the left edge of its widget, and every
run of text with all of its colours: kilobytes for one cell at the right of a
wide pane. A screen whose `_compositor` is a `ThinCompositor` sends each region
from its own left edge, and of each style only what differs from the last one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from rich.color import Color, ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.control import Control
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, Compositor

_ATTRIBUTES = {
    "bold": ("1", "22"),
    "dim": ("2", "22"),
    "italic": ("3", "23"),
    "underline": ("4", "24"),
    "blink": ("5", "25"),
    "blink2": ("6", "25"),
    "reverse": ("7", "27"),
    "conceal": ("8", "28"),
    "strike": ("9", "29"),
    "underline2": ("21", "24"),
    "overline": ("53", "55"),
}
"""SGR parameters that turn an attribute of a style on and off."""


class ThinUpdate(ChopsUpdate):
    """Changed spans of lines, each cut at both of its ends."""

    def render_segments(self, console: Console) -> str:
        """The escape sequences that repaint the spans."""
        if console.color_system is None:
            return super().render_segments(console)
        segments: list[Segment] = []
        for y, first, last in self.spans:
            for end, (start, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                left, right = max(start, first), min(end, last)
                if strip is not None and left < right:
                    segments.append(Control.move_to(left, y).segment)
                    segments += strip.crop(left - start, right - start)
        return encode_changes(segments, COLOR_SYSTEMS[console.color_system])


class ThinCompositor(Compositor):
    """Textual's compositor with thin partial updates."""

    def render_partial_update(self) -> ChopsUpdate | None:
        update = super().render_partial_update()
        return update and ThinUpdate(update.chops, update.spans, update.chop_ends)


def encode_changes(segments: Iterable[Segment], system: ColorSystem) -> str:
    """The segments as text that names only the changes of style."""
    parts: list[str] = []
    before = _PLAIN
    for text, style, control in segments:
        if control:
            parts.append(text)
            continue
        if style is not None and style.link:
            parts += ["\x1b[0m", style.render(text, color_system=system)]
            before = _PLAIN
            continue
        after = _PLAIN if style is None else _codes(style, system)
        if after != before:
            parts.append(f"\x1b[{_change(before, after)}m")
            before = after
        parts.append(text)
    return "".join(parts) + "\x1b[0m"


_Codes = tuple[tuple[str, ...], str, str]
"""Names of the attributes, SGR parameters of the foreground and of the background."""

_PLAIN: _Codes = ((), "39", "49")


def _change(before: _Codes, after: _Codes) -> str:
    """The shorter way from one style to another: step by step, or from scratch."""
    steps: list[str] = []
    if before[0] != after[0]:
        # Bold and dim are turned off together: what stays is turned on again.
        steps += [_ATTRIBUTES[name][1] for name in before[0] if name not in after[0]]
        steps += [_ATTRIBUTES[name][0] for name in after[0]]
    steps += [new for old, new in zip(before[1:], after[1:], strict=True) if new != old]
    afresh = ["0", *(_ATTRIBUTES[name][0] for name in after[0])]
    afresh += [code for code in after[1:] if code not in _PLAIN]
    return min(";".join(steps), ";".join(afresh), key=len)


@lru_cache(maxsize=4096)
def _codes(style: Style, system: ColorSystem) -> _Codes:
    return (
        tuple(name for name in _ATTRIBUTES if getattr(style, name)),
        _colour(style.color, system, foreground=True),
        _colour(style.bgcolor, system, foreground=False),
    )


def _colour(colour: Color | None, system: ColorSystem, foreground: bool) -> str:
    if colour is None:
        return "39" if foreground else "49"
    return ";".join(colour.downgrade(system).get_ansi_codes(foreground))
