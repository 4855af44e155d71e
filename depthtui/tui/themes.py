"""The explorer's own two themes, and pairs that follow the terminal; Textual's are beside them.

The accent is a pink unlike any colour of the heatmap's ramps, since it marks the cursor on top of
them.
"""

from __future__ import annotations

from textual.theme import Theme

DEFAULT_THEME = "depth-dark"

FOLLOWING = {"auto": (DEFAULT_THEME, "depth-light"), "ansi": ("ansi-dark", "ansi-light")}
"""Names for the themes of a dark and of a light terminal; those of `ansi` have its own colours."""


def theme_setting(theme: str) -> str:
    """The setting of a theme: empty for the explorer's own."""
    return "" if theme == DEFAULT_THEME else theme


THEMES = (
    Theme(
        name=DEFAULT_THEME,
        primary="#7aa2f7",
        secondary="#9aa5ce",
        accent="#ff79c6",
        foreground="#d6d9e4",
        background="#111319",
        surface="#171a22",
        panel="#20242f",
        success="#9ece6a",
        warning="#e0af68",
        error="#f7768e",
        dark=True,
    ),
    Theme(
        name="depth-light",
        primary="#2e5bb8",
        secondary="#5a6380",
        accent="#c2188b",
        foreground="#23262f",
        background="#fbfbf8",
        surface="#f3f3ee",
        panel="#e7e7e0",
        success="#3f7a1f",
        warning="#9a6700",
        error="#c0273f",
        dark=False,
    ),
)
