"""Prompts from published data sets: from a file, or from the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from depthtui.data.run import Prompt
from depthtui.errors import DepthError, first_line
from depthtui.files import parse_json
from depthtui.installing import install_extra
from depthtui.prompts.asking import Asking
from depthtui.prompts.dataset_formats import DATASETS, Dataset, Row
from depthtui.prompts.local_datasets import (
    PREPARED,
    absence_words,
    how_to_put,
    local_file,
    split_beside,
)
from depthtui.prompts.prompt_files import decode_text, read_bytes
from depthtui.prompts.tasks import no_choices
from depthtui.settings import datasets_dir, default_cache_dir

LARGEST_FILE = 512 * 1024 * 1024
"""Most bytes of a file; the largest of the known sets, as JSON, are a tenth of this."""


WITH_COLUMNS = frozenset({".parquet", ".pq", PREPARED})
"""The endings of files that pyarrow reads."""


@dataclass(frozen=True)
class DatasetChoice:
    """A choice of prompts of a data set.

    Attributes:
        name: a name in `DATASETS`.
        examples: number of prompts.
        source: a file (see `rows`), or None for the hub.
        level: a level of the set, or None for all.
        sample_seed: seed of a sample; None for the first rows.
        max_tokens: most tokens of a prompt; the caller with the tokenizer leaves
            longer ones out, and uses the next ones of `rows` instead.
    """

    name: str
    examples: int
    source: str | Path | None = None
    level: int | str | None = None
    sample_seed: int | None = None
    max_tokens: int | None = None


def read_dataset(
    name: str,
    source: str | Path | None = None,
    examples: int = 10,
    sample_seed: int | None = None,
    level: int | str | None = None,
    folder: Path | None = None,
    fewest: int | None = None,
    asking: Asking | None = None,
) -> list[Prompt]:
    """The first `examples` prompts of `rows`.

    Raises:
        DepthError: as `rows`; or there are fewer than `fewest`, or than `examples` where `fewest`
            is None.
    """
    fewest = examples if fewest is None else fewest
    prompts = list(islice(rows(name, source, sample_seed, level, folder, asking), examples))
    if len(prompts) < fewest:
        raise DepthError(
            f"The data set {name} has {len(prompts)} prompts"
            f"{'' if level is None else f' at level {level}'}, not {fewest}.",
            "Ask for fewer, or for another level or file.",
        )
    return prompts


def rows(
    name: str,
    source: str | Path | None = None,
    sample_seed: int | None = None,
    level: int | str | None = None,
    folder: Path | None = None,
    asking: Asking | None = None,
) -> Iterator[Prompt]:
    """The prompts of a data set, made one by one.

    Args:
        name: a name in `DATASETS`.
        source: a Parquet file (`.parquet`), or a file of JSON lines or of a JSON list
            of objects (any other name), in the columns of the set; None for the
            file on this disk (see `local_file`), or else the hub, from which the
            library `datasets` fetches it once and keeps it.
        sample_seed: seed that shuffles the rows; None leaves them in order.
        level: only rows of this level; None for all.
        folder: folder of data sets; None for that of the default cache folder.
        asking: how the questions are asked; None for these alone. A set that is always asked with
            options has them either way.

    Raises:
        DepthError: there is no such set or level, it has no options to choose from where these
            are asked for, a library is missing, the source
            cannot be read, or it lacks a column; and, while the prompts are made,
            a row is invalid, or there are too few others for the shots.
    """
    dataset, asking = _find(name), asking or Asking()
    if asking.choices and dataset.to_choices is None:
        raise no_choices(f"The data set {name}")
    chosen_level = _find_level(dataset, level)
    folder = folder or datasets_dir(default_cache_dir())
    file = Path(source) if source else local_file(name, folder)
    table = _table(dataset, file, folder)
    shots = _table_of_shots(dataset, file, folder) if asking.shots else None
    order: Sequence[int] = range(table.n_rows)
    if sample_seed is not None:
        # A string seeds the same in every process; a hash would not.
        order = Random(f"{name} {sample_seed}").sample(order, len(order))
    questions = _Questions(dataset, table, order, chosen_level, asking, shots)
    return questions.in_halves() if asking.in_halves and asking.shots else questions.prompts()


@dataclass(frozen=True)
class DatasetRows:
    """The rows of a source, by number.

    Attributes:
        where: the name of the source, for errors.
        columns: the names of its columns.
        n_rows: the number of rows.
        row: returns a row by its number.
    """

    where: str
    columns: Sequence[str]
    n_rows: int
    row: Callable[[int], Row]


@dataclass(frozen=True)
class _Questions:
    """The rows of a set as they are asked.

    Attributes:
        dataset: the set.
        table: its rows.
        order: the rows in the order in which they are asked.
        level: the level, or empty for all.
        asking: how they are asked.
        shots: the rows of the split for shots; None where other rows of the table are.
    """

    dataset: Dataset
    table: DatasetRows
    order: Sequence[int]
    level: str
    asking: Asking
    shots: DatasetRows | None = None

    def prompts(self) -> Iterator[Prompt]:
        """The prompts, made one by one."""
        where = (self.shots or self.table).where
        for place, index in enumerate(self.order):
            heading, prompt = self._question(self.table, index)
            if prompt is not None:
                others = self._others(place, heading, prompt)
                yield self.asking.behind_shots(prompt, others, where, heading)

    def in_halves(self) -> Iterator[Prompt]:
        """The prompts, where the halves are those of the rows that are not left out."""
        places = [index for index in self.order if self._question(self.table, index)[1] is not None]
        yield from replace(self, order=places).prompts()

    def _others(self, place: int, heading: str, prompt: Prompt) -> Iterator[Prompt]:
        """The prompts of other rows with the same heading, in the order of shots."""
        for other_heading, other in self._other_questions(place, prompt):
            if other is not None and other_heading == heading and other.text != prompt.text:
                yield other

    def _other_questions(self, place: int, prompt: Prompt) -> Iterator[tuple[str, Prompt | None]]:
        """The rows of the split for shots, or the others of the table."""
        if self.shots is not None:
            for index in range(self.shots.n_rows):
                yield self._question(self.shots, index)
        else:
            for other in self.asking.other_rows(place, len(self.order), prompt):
                yield self._question(self.table, self.order[other])

    def _question(self, table: DatasetRows, index: int) -> tuple[str, Prompt | None]:
        """A row's heading, and its prompt; None where the row is left out."""
        row, dataset = table.row(index), self.dataset
        make = dataset.to_choices if self.asking.choices else dataset.to_prompt
        assert make is not None
        try:
            prompt = make(row)
        except DepthError as error:
            raise DepthError(
                f"{table.where}, row {index + 1}: {error.message}", _columns_hint(dataset)
            ) from error
        is_left_out = prompt is None or self.level not in ("", prompt.level)
        return dataset.heading(row), None if is_left_out else prompt


def _find(name: str) -> Dataset:
    if name not in DATASETS:
        raise DepthError(f"There is no data set {name[:40]!r}.", f"Sets: {', '.join(DATASETS)}.")
    return DATASETS[name]


def _find_level(dataset: Dataset, level: int | str | None) -> str:
    if level is None or level == "":
        return ""
    if not dataset.levels:
        raise DepthError(f"The data set {dataset.name} has no levels.", "Leave the level out.")
    if str(level) not in map(str, dataset.levels):
        raise DepthError(
            f"The data set {dataset.name} has no level {str(level)[:40]!r}.",
            f"Levels: {dataset.levels[0]} to {dataset.levels[-1]}.",
        )
    return str(level)


def _table(dataset: Dataset, file: Path | None, folder: Path) -> DatasetRows:
    """The rows of a set's split, of a file or of the hub."""
    table = _from_hub(dataset, folder) if file is None else _from_file(file)
    _check_columns(dataset, table)
    return table


def _table_of_shots(dataset: Dataset, file: Path | None, folder: Path) -> DatasetRows | None:
    """The rows of the split for shots; None where a set or a file has none."""
    beside = None if file is None else split_beside(dataset, file)
    if not dataset.shots_split or (file and not beside):
        return None
    return _table(replace(dataset, split=dataset.shots_split), beside, folder)


def _check_columns(dataset: Dataset, table: DatasetRows) -> None:
    absent = [column for column in dataset.columns if not set(column) & set(table.columns)]
    if absent:
        names = ", ".join(" or ".join(name) for name in absent)
        present = ", ".join(map(str, table.columns[:30])) or "none"
        raise DepthError(
            f"{table.where} lacks the column {names} of {dataset.title}; its columns: {present}.",
            "Rename its columns, or give another file.",
        )


def _columns_hint(dataset: Dataset) -> str:
    names = ", ".join(" or ".join(column) for column in dataset.columns)
    return f"{dataset.title} has the columns {names}, as in {dataset.hub_id} on the hub."


def _from_file(path: Path) -> DatasetRows:
    if path.suffix.lower() in WITH_COLUMNS:
        return rows_of_columns(path)
    text = decode_text(read_bytes(path, LARGEST_FILE), str(path), LARGEST_FILE)
    return rows_of_json(text, str(path))


def rows_of_json(text: str, name: str) -> DatasetRows:
    """The rows of JSON lines, or of a JSON list; `name` is the text's in errors.

    Raises:
        DepthError: a row is no JSON object.
    """
    if text.lstrip().startswith("["):
        rows = _json(text, name)
    else:
        lines = enumerate(text.split("\n"), start=1)
        rows = [_json(line, f"{name}, line {number}") for number, line in lines if line.strip()]
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DepthError(f"{name}, row {index + 1} is not a JSON object.", _JSON_HINT)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return DatasetRows(name, columns, len(rows), rows.__getitem__)


def _json(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise DepthError(f"{where} is not JSON: {error}.", _JSON_HINT) from error


def rows_of_columns(path: Path) -> DatasetRows:
    """The rows of a Parquet file, or of a file of the library `datasets`, an Arrow stream.

    Raises:
        DepthError: pyarrow is missing, or the file cannot be read.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DepthError(
            "Reading Parquet needs the library pyarrow.",
            f"Install it with: {install_extra('datasets')}; or give the set as JSON lines.",
        ) from error
    if not path.is_file():
        raise DepthError(f"There is no file {path}.", "Check its name.")
    try:
        if path.suffix == PREPARED:
            with pyarrow.memory_map(str(path)) as file:
                table = pyarrow.ipc.open_stream(file).read_all()
        else:
            table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DepthError(
            f"{path} cannot be read: {first_line(error)}.",
            "Fetch it again, or give another file.",
        ) from error
    return DatasetRows(
        str(path),
        table.column_names,
        table.num_rows,
        lambda index: table.slice(index, 1).to_pylist()[0],
    )


def _from_hub(dataset: Dataset, folder: Path) -> DatasetRows:
    reason = absence_words(dataset.name, folder)
    advice = how_to_put(dataset.name, folder)
    instead = f"{advice}; `run`, `sweep` and `prune` take it by --data {dataset.name}=FILE, too."
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DepthError(
            f"{reason} Fetching it from the hub needs the library `datasets`.",
            f"Install that with: {install_extra('datasets')}. {instead}",
        ) from error
    try:
        table = load_dataset(dataset.hub_id, dataset.config or None, split=dataset.split)
    except Exception as error:  # Each of the library's many layers has its own errors.
        raise DepthError(
            f"{reason} {dataset.hub_id} could not be fetched from the hub: {first_line(error)}.",
            f"Check the network. {instead}",
        ) from error
    return DatasetRows(dataset.hub_id, table.column_names, len(table), table.__getitem__)


_JSON_HINT = "A file is a JSON list of objects, or one object a line."
