"""A copied text in the desktop's clipboard, by a program where there is one for it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from shutil import which

from depthtui.files import system_reason

BY_TERMINAL = "the terminal (OSC 52)"
"""The way of a copied text that needs no program: an escape sequence, which the terminal obeys."""

_PATIENCE = 5.0
"""Seconds after which a program that takes a text has failed."""


def copy_command(named: str) -> Sequence[str]:
    """The words of the command that takes a copied text.

    Args:
        named: the command of the settings; empty for the first that is there for this desktop.

    Returns:
        Its words; none where the terminal alone copies.
    """
    if named:
        return shlex.split(named)
    return next((words for words in map(str.split, _of_desktop()) if which(words[0])), ())


def _of_desktop() -> Iterator[str]:
    """Commands for the clipboard of the screen that the user sits at, the best one first."""
    is_remote = "SSH_CONNECTION" in os.environ
    if sys.platform == "darwin" and not is_remote:
        yield "pbcopy"
    if os.environ.get("WAYLAND_DISPLAY") and not is_remote:
        yield "wl-copy"
    if os.environ.get("DISPLAY"):
        yield "xclip -selection clipboard"
    if os.environ.get("TMUX"):
        # With `-w`, tmux also hands it to the terminal around it.
        yield "tmux load-buffer -w -"


def give(words: Sequence[str], text: str) -> str:
    """Give a text to a command's input; returns why it does not take it, or nothing."""
    try:
        status = subprocess.run(
            words,
            input=text.encode("utf-8", "replace"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            timeout=_PATIENCE,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return f"no end within {_PATIENCE:g} seconds"
    except (OSError, ValueError) as error:
        return system_reason(error)
    return f"status {status}" if status else ""
