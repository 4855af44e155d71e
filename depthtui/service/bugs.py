"""Messages of the engine's process on unexpected errors."""

from __future__ import annotations

import traceback

from depthtui.errors import named_line


def met_an_error(error: Exception) -> tuple[str, str]:
    """A sentence and a hint for an unexpected error; the details go into the process's log."""
    traceback.print_exception(error)
    return f"The engine met an error: {named_line(error)}.", "Its log has the details."
