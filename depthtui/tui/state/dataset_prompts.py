"""The published data sets that prompts can be chosen from, and the prompts read from them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.prompts.asking import Asking
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.datasets import rows
from depthtui.prompts.local_datasets import how_to_get, local_file

OFFERED = 500
"""How many prompts of a data set are offered."""


@dataclass(frozen=True)
class SetPrompts:
    """The first prompts of a data set; the reason why there are no more, or empty."""

    prompts: tuple[Prompt, ...]
    problem: str = ""


class Datasets:
    """Looks for data sets and reads them; both are slow, so a thread does them.

    Args:
        folder: the folder with the files of data sets.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}
        self._read: dict[tuple[str, int | None, bool], SetPrompts] = {}

    def look(self) -> None:
        """Look which data sets are here now; forget prompts that were read from another file."""
        paths = {name: local_file(name, self._folder) for name in DATASETS}
        files = {name: path for name, path in paths.items() if path is not None}
        self._read = {
            key: read for key, read in self._read.items() if files.get(key[0]) == self.file(key[0])
        }
        self._files = files

    def file(self, name: str) -> Path | None:
        """The file of a data set, if `look` found one."""
        return self._files.get(name)

    def how_to_get(self, name: str) -> str:
        """How to get a data set that is not here, in sentences."""
        return how_to_get(name, self._folder)

    def already_read(
        self, name: str, level: int | None, choices: bool = False
    ) -> SetPrompts | None:
        """The prompts read from a data set at a level (None: all); None if not read yet.

        `choices` is whether they are asked with options to choose from.
        """
        return self._read.get((name, level, choices))

    def read(self, name: str, level: int | None, choices: bool = False) -> SetPrompts:
        """The first prompts of a data set that is here; slow."""
        prompts: list[Prompt] = []
        problem = ""
        try:
            asking = Asking(choices)
            of_file = rows(name, self._files[name], None, level, asking=asking)
            prompts.extend(islice(of_file, OFFERED))
        except DepthError as error:
            problem = str(error)
        set_prompts = SetPrompts(tuple(prompts), problem)
        if not problem:
            self._read[name, level, choices] = set_prompts
        return set_prompts

    def around(self, prompt: Prompt) -> tuple[Prompt, ...]:
        """The prompts that were read together with a prompt; empty where it was not read."""
        for (name, *_), read in self._read.items():
            if name == prompt.task and prompt in read.prompts:
                return read.prompts
        return ()
