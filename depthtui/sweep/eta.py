"""A sweep's remaining time, from the time of its prompts so far."""

from __future__ import annotations

from collections.abc import Iterable

from depthtui.data.run_settings import ModelSpec
from depthtui.sweep.plan import Cell
from depthtui.sweep.records import Record


class SweepPace:
    """Seconds per token, for each model and over all."""

    def __init__(self) -> None:
        self._prompts = 0
        self._characters = 0
        self._tokens: dict[ModelSpec, int] = {}
        self._seconds: dict[ModelSpec, float] = {}

    def add(self, model: ModelSpec, n_characters: int, n_tokens: int, seconds: float) -> None:
        """Add a prompt that was run."""
        self._prompts += 1
        self._characters += n_characters
        self._tokens[model] = self._tokens.get(model, 0) + n_tokens
        self._seconds[model] = self._seconds.get(model, 0.0) + seconds

    def seconds_for(self, waiting: Iterable[tuple[ModelSpec, int | None]]) -> float | None:
        """Seconds for the waiting prompts; None before the first was run.

        A model that has not run yet is assumed to be as fast as the others.

        Args:
            waiting: the model and the characters of each prompt, None where not known yet.
        """
        n_tokens = sum(self._tokens.values())
        if not n_tokens or not self._characters:
            return None
        per_token = {model: self._seconds[model] / n for model, n in self._tokens.items() if n}
        over_all = sum(self._seconds.values()) / n_tokens
        mean = self._characters / self._prompts
        tokens_a_character = n_tokens / self._characters
        return sum(
            (mean if n_characters is None else n_characters)
            * tokens_a_character
            * per_token.get(model, over_all)
            for model, n_characters in waiting
        )


class Waiting:
    """The prompts that a sweep has not reached yet.

    Args:
        prompts: the cell and the characters of each, None where not known yet.
    """

    def __init__(self, prompts: Iterable[tuple[Cell, int | None]] = ()) -> None:
        self._prompts = list(prompts)
        # Texts that a model writes have other lengths, and take longer for each token.
        self._paces = {False: SweepPace(), True: SweepPace()}

    def __len__(self) -> int:
        return len(self._prompts)

    @property
    def seconds(self) -> float | None:
        """Seconds for the waiting prompts; None before the first of each kind was computed."""
        parts = [
            pace.seconds_for(waiting)
            for is_written, pace in self._paces.items()
            if (waiting := self._of_kind(is_written))
        ]
        numbers = [part for part in parts if part is not None]
        return sum(numbers) if numbers and len(numbers) == len(parts) else None

    def _of_kind(self, is_written: bool) -> list[tuple[ModelSpec, int | None]]:
        return [
            (cell.model, length)
            for cell, length in self._prompts
            if bool(cell.task.write) is is_written
        ]

    def prompt_ends(self, cell: Cell, record: Record | None, seconds: float) -> None:
        """A prompt was run, taken from the cache, or failed."""
        if record is not None and not _is_cached(record):
            pace = self._paces[bool(cell.task.write)]
            pace.add(cell.model, len(record.prompt.text), record.n_tokens, seconds)
        # Drop one of the cell's prompts; which one hardly matters.
        index = next((n for n, (prompt, _) in enumerate(self._prompts) if prompt == cell), None)
        if index is not None:
            del self._prompts[index]

    def cell_ends(self, cell: Cell) -> None:
        """A cell has ended."""
        self._prompts = [prompt for prompt in self._prompts if prompt[0] != cell]


def _is_cached(record: Record) -> bool:
    """Whether a record came from the cache: prompts that are computed take longer."""
    return record.provenance is not None and record.provenance.cached


def time_words(seconds: float) -> str:
    """A rough time, such as `40 s`, `12 min` or `3 h 20 min`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
