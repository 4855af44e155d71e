"""An engine with a model, for commands that need nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from depthtui.cli.output import print_notice
from depthtui.cli.shared_options import Overrides
from depthtui.data.run_settings import ModelSpec
from depthtui.data.trust import TrustedModels

if TYPE_CHECKING:
    from depthtui.engine.engine import Engine


@contextmanager
def loaded_engine(
    spec: ModelSpec, trusted: TrustedModels, overrides: Overrides, stages: Sequence[str] = ()
) -> Iterator[Engine]:
    """An engine that has loaded a model; a progress bar is shown meanwhile.

    `stages` are the engine's long stages that follow the loading: they are numbered.
    """
    from depthtui.cli.progress import ProgressDisplay
    from depthtui.engine.factory import Storage, make_engine
    from depthtui.models.reach import check_can_open

    storage = Storage.of(overrides.settings())
    # Report a model that cannot be opened before importing torch, which takes seconds.
    check_can_open(spec, storage.models_dir, spec in trusted)
    with ProgressDisplay(print_notice) as display:
        if stages:
            display.steps = ["loading", *stages]
            display.begin("loading")
        engine = make_engine(storage, display.emit, print_notice, trusted=trusted)
        engine.load(spec)
        yield engine
