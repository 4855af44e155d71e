"""The screen as text, and as an SVG that needs no network and looks the same everywhere."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import Any

from rich.cells import cell_len
from textual.app import App

from depthtui.tui.textual_patches.names import shown_lines
from depthtui.tui.textual_patches.toasts import without_toasts

_WEB_FONT = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)

_FRAME = re.compile(r'<text class="[^"]*-title".*?</g>\s*(?=<g transform="translate\()', re.DOTALL)
"""The title and the buttons of a window, which are not part of the screen."""

_VIEW = re.compile(r'viewBox="0 0 (?P<width>[\d.]+) (?P<height>[\d.]+)"')
_LEFT, _TOP, _REST = 9, 41, 9
"""Pixels of the window around the screen; `_REST` on the right and beneath."""

_RUN = re.compile(
    r'<text class="(?P<style>[^"]*)" x="(?P<x>[^"]*)" y="(?P<y>[^"]*)" '
    r'textLength="(?P<length>[^"]*)" clip-path="(?P<clip>[^"]*)">(?P<text>[^<]*)</text>'
)
"""A run of text as Rich writes it, blanks included."""

_BACKGROUND = re.compile(
    r'(?P<start><rect fill="[^"]*" x="[^"]*" y="[^"]*" width=")(?P<width>[^"]*)(?P<end>" height)'
)
_OVERLAP = 0.25
"""Pixels that a background reaches over the next one, as Rich lets each line over the next: where
two only touch, renderers leave seams between them."""

_WORD = re.compile(r"[\u2500-\u28ff·]{1,4}|[^\s\u2500-\u28ff·]{1,12}")
"""The text that is placed together: short, since not every renderer stretches text to a length."""


def screen_text(app: App[Any]) -> str:
    """The screen as text, without blanks at the ends of lines."""
    return "\n".join(line.text.rstrip() for line in shown_lines(app.screen))


def take_screenshot(app: App[Any]) -> str:
    """The screen without toasts, as SVG; fonts are the reader's own, never fetched."""
    with without_toasts(app.screen):
        picture = app.export_screenshot(title="depthtui")
    picture = _VIEW.sub(_crop, _FRAME.sub("", _WEB_FONT.sub("", picture)), 1)
    return _RUN.sub(_place_words, _BACKGROUND.sub(_widen, picture))


def _widen(background: re.Match[str]) -> str:
    """A background that leaves no seam at its right."""
    width = float(background["width"]) + _OVERLAP
    return f"{background['start']}{width:g}{background['end']}"


def _crop(view: re.Match[str]) -> str:
    """The part of the picture that is the screen."""
    width, height = float(view["width"]), float(view["height"])
    return f'viewBox="{_LEFT} {_TOP} {width - _LEFT - _REST:g} {height - _TOP - _REST:g}"'


def _place_words(run: re.Match[str]) -> str:
    """Each word of a run at its own place, since fonts differ in the width of blanks."""
    text = unescape(run["text"])
    if not text:
        return ""
    cell = float(run["length"]) / len(text)

    def word(word_match: re.Match[str]) -> str:
        x = float(run["x"]) + cell * cell_len(text[: word_match.start()])
        return (
            f'<text class="{run["style"]}" x="{x:g}" y="{run["y"]}" '
            f'textLength="{cell * cell_len(word_match[0]):g}" clip-path="{run["clip"]}">'
            f"{escape(word_match[0])}</text>"
        )

    return "".join(map(word, _WORD.finditer(text)))
