"""Completes a typed path by the files there, or a typed name by a list of names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from textual.suggester import Suggester


class PathSuggester(Suggester):
    """Suggests the first folder or file that continues the typed text; → accepts it.

    Args:
        endings: the endings of suggested files; empty for all.
        names: suggestions where the text is no path, such as known models.
        completes_paths: whether files are suggested.
    """

    def __init__(
        self,
        endings: tuple[str, ...] = (),
        names: Callable[[], Sequence[str]] = tuple,
        completes_paths: bool = True,
    ) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._endings = endings
        self._names = names
        self._completes_paths = completes_paths

    async def get_suggestion(self, value: str) -> str | None:
        names = [name for name in self._names() if name.startswith(value) and name != value]
        suggestions = names
        if self._completes_paths and not names:
            suggestions = await asyncio.to_thread(paths_from, value, self._endings)
        return suggestions[0] if suggestions and suggestions[0].isprintable() else None


def paths_from(typed: str, endings: tuple[str, ...] = ()) -> list[str]:
    """Completions of a typed path, folders with a slash; none for an empty path.

    Hidden files are suggested once their dot is typed.
    """
    if not typed:
        return []
    folder, prefix = os.path.split(typed)
    try:
        entries = sorted(os.scandir(Path(folder or ".").expanduser()), key=lambda entry: entry.name)
        return [
            os.path.join(folder, name)
            for entry in entries
            if (name := f"{entry.name}/" if entry.is_dir() else entry.name).startswith(prefix)
            and (prefix.startswith(".") or not entry.name.startswith("."))
            and (entry.is_dir() or not endings or entry.name.endswith(endings))
            and name != prefix
        ]
    except (OSError, RuntimeError, ValueError):
        return []
