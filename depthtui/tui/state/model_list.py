"""The models that can be opened: on the engine's disk, in the cache, or opened before."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeAlias

from depthtui.data.model import ModelListing
from depthtui.data.protocol import FindModel, ListModels, ModelFound, ModelsListed
from depthtui.data.run_settings import ModelSpec
from depthtui.errors import DepthError
from depthtui.settings import Settings, models_dir
from depthtui.tui.state.engine_life import EngineLife

_MOST_RECENT = 12
"""Models opened before that are remembered."""

_PATIENCE = 60.0
"""Seconds that an engine elsewhere may take to answer."""

# The catalog is imported where it is used: the first frame does not wait for it.


_Answers: TypeAlias = "SimpleQueue[ModelsListed | ModelFound | None]"


class ModelList:
    """Looks for models on this disk, or asks the engine elsewhere.

    Args:
        engine: the engine.
        settings: returns the user's settings.
    """

    def __init__(self, engine: EngineLife, settings: Callable[[], Settings]) -> None:
        self._engine = engine
        self._settings = settings
        self._pending: dict[ListModels | FindModel, list[_Answers]] = {}

    def on_disk(self) -> list[ModelListing]:
        """The models that need no download, those opened before first; slow, so a thread calls it.

        Raises:
            DepthError: the engine elsewhere is gone.
        """
        from depthtui.models.catalog import on_disk, recent_first

        settings = self._settings()
        if self._engine.command:
            listed = self._answer_to(ListModels())
            assert isinstance(listed, ModelsListed)
            return recent_first(list(listed.models), settings.recent_models)
        return recent_first(on_disk(models_dir(settings.cache_folder)), settings.recent_models)

    def check(self, spec: ModelSpec) -> None:
        """Check that a model is available, as far as possible without opening it; slow.

        Raises:
            DepthError: it is not available, or the engine elsewhere is gone.
        """
        from depthtui.models.reach import check_can_open

        if self._engine.command:
            self._answer_to(FindModel(spec))
        else:
            check_can_open(spec, models_dir(self._settings().cache_folder))

    def _answer_to(self, command: ListModels | FindModel) -> ModelsListed | ModelFound:
        """Ask the engine and wait, in a thread."""
        answers: _Answers = SimpleQueue()
        self._pending.setdefault(command, []).append(answers)
        self._engine.ask(command)
        try:
            answer = answers.get(timeout=_PATIENCE)
        except Empty:
            raise DepthError("The engine does not answer.", "r connects again.") from None
        if answer is None:
            raise DepthError("The engine is gone.", "esc, then r, connects again.")
        if answer.problem:
            raise DepthError(answer.problem)
        return answer

    def answered(self, event: ModelsListed | ModelFound) -> None:
        """Hand an answer to the threads that wait for it."""
        command = FindModel(event.spec) if isinstance(event, ModelFound) else ListModels()
        for answers in self._pending.pop(command, []):
            answers.put(event)

    def drop_requests(self) -> None:
        """Release the threads that wait for an answer: the engine is gone, or is another one."""
        waiting, self._pending = self._pending, {}
        for answers in itertools.chain(*waiting.values()):
            answers.put(None)


def opened_last(name: str, recent: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the models opened before, to be kept, once this one is opened."""
    from depthtui.models.catalog import lasting_name

    return tuple(dict.fromkeys((lasting_name(name), *recent)))[:_MOST_RECENT]
