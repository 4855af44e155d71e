"""Right answers of a model to a task, from the logs of lm-evaluation-harness.

With `--output_path` and `--log_samples` the harness writes `results_DATE.json`, and beside it
`samples_TASK_DATE.jsonl` for each task: a line for each document and filter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from depthtui.data.arrays import Shape
from depthtui.errors import DepthError, short_repr
from depthtui.files import open_regular, parse_json, system_reason

_DATE = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
_RESULTS = re.compile(rf".+_({_DATE})\.json")
_SAMPLES = re.compile(rf"samples_(.+)_({_DATE})\.jsonl")

_LARGEST = 64 << 20
"""Most bytes of a results file, or of one document's line; each mostly has some thousands."""

_MOST_DOCUMENTS = 10**12

_HOW_TO_LOG = "Run lm_eval with --log_samples and --output_path."
_WHAT_TO_NAME = "Name a results_….json or samples_….jsonl of lm_eval."


@dataclass(frozen=True)
class LoggedAnswers:
    """A model's answers to a task, read by one filter; N documents in the order of the log.

    Attributes:
        task: name of the task.
        filter: name of the filter, such as `strict-match`; `none` without any.
        model: the harness's type of model, such as `hf`; empty where there are no results.
        model_args: the model's arguments; likewise.
        ids: number of each document in the task's set, `[N]`.
        hashes: hash of each document, the same in all logs of a task.
        right: by metric, whether each document is answered right, `[N]`: `acc` (the likeliest
            option), `acc_norm` (the likeliest a character), `exact_match` or another metric
            that is 0 or 1 for every document.
        log_likelihoods: of each document's options, in nats; empty where answers are written.
    """

    task: str
    filter: str
    model: str
    model_args: Mapping[str, Any]
    ids: Annotated[np.ndarray, Shape("N", dtype=np.int64)]
    hashes: tuple[str, ...]
    right: Mapping[str, Annotated[np.ndarray, Shape("N", dtype=np.bool_)]]
    log_likelihoods: tuple[Annotated[np.ndarray, Shape("k", dtype=np.float64)], ...] = ()

    def at(self, places: Sequence[int]) -> LoggedAnswers:
        """The answers to some of the documents, in this order."""
        index = np.array(places, dtype=np.int64)
        options = self.log_likelihoods
        return replace(
            self,
            ids=self.ids[index],
            hashes=tuple(self.hashes[place] for place in places),
            right={metric: values[index] for metric, values in self.right.items()},
            log_likelihoods=tuple(options[place] for place in places) if options else (),
        )


def paired(first: LoggedAnswers, second: LoggedAnswers) -> tuple[LoggedAnswers, LoggedAnswers]:
    """Two logs' answers to the documents that both have, by hash, in the order of the first.

    A document that a set has several times is paired in turn.

    Raises:
        DepthError: no document is in both.
    """
    places = {turn: place for place, turn in enumerate(_turns(second.hashes))}
    both = [
        (place, places[turn]) for place, turn in enumerate(_turns(first.hashes)) if turn in places
    ]
    if not both:
        raise DepthError(
            f"The logs of {first.task} and {second.task} have no document in common.",
            "Compare logs of one task in one version.",
        )
    ours, theirs = zip(*both, strict=True)
    return first.at(ours), second.at(theirs)


def _turns(hashes: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Each hash, with how often it came before."""
    before = Counter[str]()
    for one in hashes:
        yield one, before[one]
        before[one] += 1


def read_answers(path: str | Path) -> list[LoggedAnswers]:
    """The answers in a log of lm-evaluation-harness, for each task and filter.

    Args:
        path: a results file with the samples beside it, or a file of samples; where its results
            lie beside it, these name the model.

    Raises:
        DepthError: the file cannot be read, is something else or damaged, or has no samples.
    """
    path = Path(path)
    if path.suffix == ".jsonl":
        name = _SAMPLES.fullmatch(path.name)
        task, date = name.groups() if name else (path.stem, "")
        beside = sorted(path.parent.glob(f"*_{date}.json")) if date else []
        return _answers(path, task, _results(beside[0]) if beside else {})
    results, name = _results(path), _RESULTS.fullmatch(path.name)
    files = {
        task: path.with_name(f"samples_{task}_{name[1]}.jsonl")
        for task in results["configs"]
        if name and task == Path(task).name
    }
    logged = {task: file for task, file in files.items() if file.exists()}
    if not logged:
        raise DepthError(f"{path} has no samples beside it.", _HOW_TO_LOG)
    return [answers for task, file in logged.items() for answers in _answers(file, task, results)]


def _results(path: Path) -> Mapping[str, Any]:
    """A results file.

    Raises:
        DepthError: it cannot be read, or is something else.
    """
    try:
        with open_regular(path) as file:
            content = file.read(_LARGEST + 1)
        results = parse_json(content)
        if not all(isinstance(results[part], dict) for part in ("configs", "config", "n-samples")):
            raise ValueError("parts are no objects")
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, LookupError, TypeError) as error:
        raise DepthError(
            f"{path} has no results of lm-evaluation-harness, or is damaged.", _WHAT_TO_NAME
        ) from error
    return results


def _answers(path: Path, task: str, results: Mapping[str, Any]) -> list[LoggedAnswers]:
    """The answers in a file of samples, for each filter.

    Raises:
        DepthError: it cannot be read, is something else, or lacks documents of the results.
    """
    by_filter: dict[str, list[_Sample]] = {}
    for sample in _samples(path):
        by_filter.setdefault(sample.filter, []).append(sample)
    if not by_filter:
        raise DepthError(f"{path} has no samples.", _HOW_TO_LOG)
    counted = results.get("n-samples", {}).get(task) or {}
    expected = counted.get("effective") if isinstance(counted, dict) else None
    for samples in by_filter.values():
        if expected is not None and len(samples) != expected:
            raise DepthError(
                f"{path} has {len(samples)} of {expected} documents: it is damaged.",
                "Copy it again, or run lm_eval again.",
            )
    config = results.get("config", {})
    arguments = config.get("model_args") or {}
    if isinstance(arguments, str):
        # As they were given from Python.
        arguments = dict(argument.partition("=")[::2] for argument in arguments.split(","))
    if not isinstance(arguments, dict):
        raise DepthError(f"The results beside {path} are damaged: `model_args` has no names.")
    return [
        LoggedAnswers(
            task,
            name,
            str(config.get("model") or ""),
            arguments,
            np.array([sample.id for sample in samples], dtype=np.int64),
            tuple(sample.hash for sample in samples),
            _right(path, samples),
            tuple(np.array(sample.options) for sample in samples)
            if all(sample.options for sample in samples)
            else (),
        )
        for name, samples in by_filter.items()
    ]


@dataclass(frozen=True)
class _Sample:
    """One line: a document, answered and read by a filter."""

    id: int
    hash: str
    filter: str
    values: Mapping[str, Any]
    options: tuple[float, ...]


def _samples(path: Path) -> Iterator[_Sample]:
    """The lines of a file of samples.

    Raises:
        DepthError: it cannot be read, or a line is something else.
    """
    try:
        with open_regular(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(_LARGEST), b""), start=1):
                try:
                    yield _sample(parse_json(line))
                except (ValueError, LookupError, TypeError, OverflowError) as error:
                    raise DepthError(
                        f"{path}, line {number} is no sample of lm-evaluation-harness, or is "
                        "damaged.",
                        _WHAT_TO_NAME,
                    ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _sample(row: Any) -> _Sample:
    """A line's sample; an exception where it lacks a part or has another in its place."""
    number, text, name = row["doc_id"], row["doc_hash"], row["filter"]
    if not (isinstance(number, int) and isinstance(text, str) and isinstance(name, str)):
        raise TypeError("parts of another kind")
    if abs(number) > _MOST_DOCUMENTS:
        raise ValueError("a number of no document")
    values = {metric: row[metric] for metric in row["metrics"]}
    return _Sample(number, text, name, values, tuple(_options(row["filtered_resps"])))


def _options(responses: Sequence[Any]) -> Iterator[float]:
    """Log-likelihoods of options, each beside whether it is the greedy one; none of texts."""
    for response in responses:
        if isinstance(response, list) and len(response) == 2 and response[1] in _TRUTHS:
            yield float(response[0])


_TRUTHS = ("True", "False")


def _right(path: Path, samples: Sequence[_Sample]) -> dict[str, np.ndarray]:
    """Which documents are right, by each metric that is 0 or 1 for all of them.

    Raises:
        DepthError: there is no such metric.
    """
    shared = set.intersection(*(set(sample.values) for sample in samples))
    right = {
        metric: np.array([bool(sample.values[metric]) for sample in samples])
        for metric in samples[0].values
        if metric in shared and all(_is_0_or_1(sample.values[metric]) for sample in samples)
    }
    if not right:
        names = ", ".join(samples[0].values) or "no metric"
        raise DepthError(
            f"{path} has no right answers: {short_repr(names)} is not 0 or 1 for each document.",
            "acc, acc_norm and exact_match are.",
        )
    return right


def _is_0_or_1(value: Any) -> bool:
    return isinstance(value, int | float) and value in (0, 1)


def _unreadable(path: Path, error: OSError) -> DepthError:
    if isinstance(error, FileNotFoundError):
        return DepthError(f"There is no file {path}.", "Check its name.")
    if isinstance(error, IsADirectoryError):
        return DepthError(f"{path} is a folder.", _WHAT_TO_NAME)
    return DepthError(f"{path} cannot be read: {system_reason(error)}.")
