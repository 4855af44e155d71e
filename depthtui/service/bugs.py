"""What the engine's process says of an error that nobody foresaw."""

from __future__ import annotations

import traceback

from depthtui.errors import named_line


def met_an_error(error: Exception) -> tuple[str, str]:
    """The sentence for it and the hint; the details go into the process's log."""
    traceback.print_exception(error)
    return f"The engine met an error: {named_line(error)}.", "Its log has the details."
