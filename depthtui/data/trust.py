"""The right of a model's own Python code to run on this machine.

The command line grants it, or the user whom the explorer asks. It belongs to a process: no file
grants it, and a file that claims it is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from depthtui.data.run_settings import ModelSpec

HOW_TO_TRUST = (
    "If you have read and trust it: --trust-remote-code on the command line, "
    "or m in the explorer, which asks."
)


class TrustedModels:
    """The models whose own Python code may run in this process.

    Args:
        specs: these models, however they are loaded.
        every: every model that this process opens.
    """

    def __init__(self, specs: Iterable[ModelSpec] = (), every: bool = False) -> None:
        self.every = every
        self._trusted = {_identity(spec) for spec in specs}

    def add(self, spec: ModelSpec) -> None:
        """Let the code of another model run."""
        self._trusted.add(_identity(spec))

    def __contains__(self, spec: object) -> bool:
        return isinstance(spec, ModelSpec) and (self.every or _identity(spec) in self._trusted)


def _identity(spec: ModelSpec) -> tuple[str, str]:
    """Identity of a model's code: a folder by its real path, a hub model by its revision."""
    name = spec.name
    with suppress(ValueError):  # an invalid name for a file
        path = os.path.expanduser(name)
        name = os.path.realpath(path) if os.path.exists(path) else name
    return name, spec.revision
