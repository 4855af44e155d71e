"""Makes engines. torch is imported when one is made, not before."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from depthtui.data.plain import to_plain
from depthtui.data.protocol import Event
from depthtui.data.run_settings import ModelSpec
from depthtui.data.store import open_store
from depthtui.parallel.group import is_led, join
from depthtui.settings import Settings, lenses_dir, models_dir

if TYPE_CHECKING:
    from depthtui.engine.engine import Engine


@dataclass(frozen=True)
class Storage:
    """The folders and limits of an engine's models and results.

    Attributes:
        cache_dir: the folder of results.
        models_dir: the folder of converted models.
        save_results: whether results are read from and saved in the cache.
        cache_limit: most bytes of all results.
        activation_limit: activations of a run that take more bytes are not saved; 0 for none.
    """

    cache_dir: Path
    models_dir: Path
    save_results: bool = True
    cache_limit: int = 0
    activation_limit: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Storage:
        """The storage that the settings name."""
        return cls(
            cache_dir=settings.cache_folder,
            models_dir=models_dir(settings.cache_folder),
            save_results=settings.use_cache,
            cache_limit=settings.cache_limit,
            activation_limit=settings.activation_limit if settings.cache_activations else 0,
        )

    @property
    def lenses_dir(self) -> Path:
        """The folder of fitted lenses, beside their models."""
        return lenses_dir(self.models_dir.parent)

    def without_activations(self) -> Storage:
        """The storage for work that reads each prompt once: its activations would evict others."""
        return replace(self, activation_limit=0)


def make_engine(
    storage: Storage,
    emit: Callable[[Event], None],
    on_notice: Callable[[str], None],
    on_bug: Callable[[Exception], object] = traceback.print_exception,
    trusted: Container[ModelSpec] = (),
) -> Engine:
    """An engine without a model.

    Args:
        storage: where models and results are saved.
        emit: receives every event of the engine.
        on_notice: called with messages for the user on the cache.
        on_bug: logs the details of an error that cost a run one metric.
        trusted: the models whose own Python code may run.
    """
    from depthtui.engine.engine import Engine
    from depthtui.prompts.tasks import baseline_texts

    _share(storage)
    cache_dir = storage.cache_dir if storage.save_results else None
    store = open_store(cache_dir, storage.cache_limit, on_notice)
    store.evict()
    return Engine(
        store,
        storage.models_dir,
        emit,
        storage.activation_limit,
        baseline_texts=baseline_texts,
        on_bug=on_bug,
        lenses_dir=storage.lenses_dir,
        trusted=trusted,
    )


def _share(storage: Storage) -> None:
    """Let the other ranks make an engine too, which finds models in the same folders."""
    from depthtui.engine.shared_calls import send

    if is_led() and join().rank == 0:
        send({"storage": to_plain(storage)})
