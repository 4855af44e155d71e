"""The screen as an SVG that needs nothing from the network."""

from __future__ import annotations

import re
from typing import Any

from textual.app import App

_WEB_FONT = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)


def take_screenshot(app: App[Any]) -> str:
    """What is on the screen, as SVG; fonts are the reader's own, never fetched."""
    return _WEB_FONT.sub("", app.export_screenshot(title="depthtui"))
