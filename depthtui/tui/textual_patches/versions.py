"""The versions of Textual that the patches are for."""

from __future__ import annotations

import textual

TRIED = ("8.2.8",)
"""The versions with which `tests/tui/textual_patches` passes; 8.2.3 to 8.2.7 fail some of it."""

ARE_ON = textual.__version__ in TRIED
"""Whether the patches are installed; with any other version, the explorer runs without them."""
