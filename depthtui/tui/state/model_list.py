"""The models that can be opened: which are on the disk, which is at hand, which were opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from depthtui.data.run_settings import ModelSpec
from depthtui.settings import Settings, models_dir

if TYPE_CHECKING:
    from depthtui.models.catalog import ModelListing

_MOST_RECENT = 12
"""Models opened before that are remembered."""

# The catalog is imported where it is asked: the first frame does not wait for it.


def models_on_disk(settings: Settings) -> list[ModelListing]:
    """The models that need no download, first those opened before; slow: a thread asks."""
    from depthtui.models.catalog import on_disk, recent_first

    return recent_first(on_disk(models_dir(settings.cache_folder)), settings.recent_models)


def check_model(spec: ModelSpec, settings: Settings) -> None:
    """See that a model is at hand, as far as that can be told without opening it; slow.

    Raises:
        DepthError: it is not.
    """
    from depthtui.models.reach import check_at_hand

    check_at_hand(spec, models_dir(settings.cache_folder))


def opened_last(name: str, recent: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the models opened before, as they are kept, once this one is opened."""
    from depthtui.models.catalog import lasting_name

    return tuple(dict.fromkeys((lasting_name(name), *recent)))[:_MOST_RECENT]
