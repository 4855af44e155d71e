"""A sweep's remaining time, from the time of its prompts so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from depthtui.data.protocol import Event, Progress
from depthtui.data.run_settings import ModelSpec
from depthtui.sweep.plan import Cell
from depthtui.sweep.records import Record


class SweepPace:
    """Seconds per token, for each model.

    Args:
        work: the work of a token in each model, relative to the others; 0 where unknown.
    """

    def __init__(self, work: Mapping[ModelSpec, float] | None = None) -> None:
        self._work = work or {}
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

        A model that has not run yet is as fast as the others, but for its size.

        Args:
            waiting: the model and the characters of each prompt, None where not known yet.
        """
        n_tokens = sum(self._tokens.values())
        if not n_tokens or not self._characters:
            return None
        per_token = {model: self._seconds[model] / n for model, n in self._tokens.items() if n}
        mean = self._characters / self._prompts
        tokens_a_character = n_tokens / self._characters
        return sum(
            (mean if n_characters is None else n_characters)
            * tokens_a_character
            * expected(per_token, model, self._work)
            for model, n_characters in waiting
        )


def expected(
    seconds: Mapping[ModelSpec, float], model: ModelSpec, work: Mapping[ModelSpec, float]
) -> float:
    """The seconds of a model: its own, else the mean over the others at its size; 0 for none."""
    if model in seconds:
        return seconds[model]
    at_size = [
        value * work[model] / work[other] if work.get(model) and work.get(other) else value
        for other, value in seconds.items()
    ]
    return sum(at_size) / len(at_size) if at_size else 0.0


class Waiting:
    """The prompts that a sweep has not reached yet.

    Work that a model needs once, such as its loading and its order, is timed apart from its
    prompts: the engine reports it as stages, before or in the first one.

    Args:
        prompts: the cell and the characters of each, None where not known yet.
        work: the work of a token in each model, relative to the others; 0 where unknown.
    """

    def __init__(
        self,
        prompts: Iterable[tuple[Cell, int | None]] = (),
        work: Mapping[ModelSpec, float] | None = None,
    ) -> None:
        self._prompts = list(prompts)
        self._work = work or {}
        # Texts that a model writes have other lengths, and take longer for each token.
        self._paces = {False: SweepPace(work), True: SweepPace(work)}
        self._once: dict[ModelSpec, float] = {}
        self._stages, self._of_prompt = 0.0, 0.0
        self._stage_began: float | None = None

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
        if not numbers or len(numbers) < len(parts):
            return None
        to_begin = {cell.model for cell, _ in self._prompts} - self._once.keys()
        return sum(numbers) + sum(expected(self._once, one, self._work) for one in to_begin)

    def clock(self, event: Event, now: float) -> None:
        """Time the engine's stages: each lasts until the next event that is of none."""
        if self._stage_began is not None:
            self._stages += now - self._stage_began
        self._stage_began = now if isinstance(event, Progress) and event.stage else None

    def prompt_begins(self) -> None:
        """Begin a prompt; the stages before are no part of its time."""
        self._stage_began, self._of_prompt = None, self._stages

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
            if cell.model not in self._once:
                self._once[cell.model] = self._stages
                seconds = max(0.0, seconds - (self._stages - self._of_prompt))
            pace.add(cell.model, len(record.prompt.text), record.n_tokens, seconds)
            self._stages = self._of_prompt = 0.0
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
