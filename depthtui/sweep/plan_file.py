"""A sweep's plan as a TOML file.

examples = 20
metrics = ["contributions", "logit_lens", "ablation"]

[[model]]
name = "Qwen/Qwen2.5-7B"
quantize = "8bit"

[[task]]
name = "addition"
level = "*"

[[task]]
name = "gsm8k"
data = "gsm8k.jsonl"
max_tokens = 400
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from depthtui.data.model import ModelSpec
from depthtui.errors import DepthError
from depthtui.metrics import METRIC_BY_NAME
from depthtui.sweep.plan import Drawing, SweepPlan, TaskChoice, choose_levels

Value = Callable[[Any], Any]
"""Reads a TOML value; raises _Wrong with what was expected."""


class _Wrong(Exception):
    """A value is not what its key expects; the text says what is."""


def read_plan(path: Path, base: SweepPlan, drawing: Drawing) -> SweepPlan:
    """The plan in a file.

    Args:
        path: the file; data files that it names are relative to its folder.
        base: settings that the file leaves out.
        drawing: how prompts are drawn where the file does not say.

    Raises:
        DepthError: the file cannot be read, or a key of it is wrong; the key is named.
    """
    table = _read(path)
    where = str(path)
    models, tasks = _tables(table, "model", where), _tables(table, "task", where)
    _check_keys(table, _DRAWING | _RUN | _SUMMARY, where)
    drawing = replace(drawing, **_values(table, _DRAWING, where))
    return SweepPlan(
        tuple(_model(row, f"{where}: model {n}") for n, row in enumerate(models, start=1)),
        tuple(
            task
            for n, row in enumerate(tasks, start=1)
            for task in _tasks(row, drawing, path.parent, f"{where}: task {n}")
        ),
        replace(base.run, **_values(table, _RUN, where)),
        replace(base.summary, **_values(table, _SUMMARY, where)),
    )


def _read(path: Path) -> dict[str, Any]:
    hint = "Give a TOML file such as the README's."
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DepthError(f"There is no file {path}.", "Check its name.") from None
    except OSError as error:
        raise DepthError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DepthError(f"{path} is not UTF-8 text.", hint) from None
    except tomllib.TOMLDecodeError as error:
        raise DepthError(f"{path} is not valid TOML: {error}.", hint) from None


def _tables(table: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    found = table.pop(name, [])
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise DepthError(f"{where}: {name} is no list of tables.", f"Begin each with [[{name}]].")
    return found


def _model(row: dict[str, Any], where: str) -> ModelSpec:
    _check_keys(row, _MODEL, where)
    if "name" not in row:
        raise DepthError(f"{where} has no name.", "A hub id, a folder, a GGUF file or demo.")
    return ModelSpec(**_values(row, _MODEL, where))


def _tasks(row: dict[str, Any], drawing: Drawing, folder: Path, where: str) -> list[TaskChoice]:
    _check_keys(row, _TASK | _DRAWING, where)
    if "name" not in row:
        raise DepthError(f"{where} has no name.", "`depthtui tasks` lists them.")
    values = _values(row, _TASK, where)
    data = values.get("data")
    path = str(folder / Path(data).expanduser()) if data else ""
    drawing = replace(drawing, **_values(row, _DRAWING, where))
    try:
        return choose_levels(values["name"], values.get("level", [""]), path, drawing)
    except DepthError as error:
        raise DepthError(f"{where}: {error.message}", error.hint) from None


def _check_keys(row: Mapping[str, Any], known: Mapping[str, Value], where: str) -> None:
    for name in row:
        if name not in known:
            raise DepthError(f"{where}: there is no key {name}.", f"Keys: {', '.join(known)}.")


def _values(row: Mapping[str, Any], known: Mapping[str, Value], where: str) -> dict[str, Any]:
    values = {}
    for name, read in known.items():
        if name in row:
            try:
                values[name] = read(row[name])
            except _Wrong as error:
                raise DepthError(f"{where}: {name} must be {error}, not {row[name]!r}.") from None
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong("text in quotes")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("true or false")
    return value


def _count(least: int) -> Value:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise _Wrong(f"a whole number of at least {least}")
        return value

    return read


def _share(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise _Wrong("a number from 0 to 1")
    return float(value)


def _choice(*choices: str) -> Value:
    def read(value: Any) -> str:
        if value not in choices:
            raise _Wrong(" or ".join(f'"{each}"' for each in choices))
        return str(value)

    return read


def _metrics(value: Any) -> tuple[str, ...]:
    if value == "all":
        return tuple(METRIC_BY_NAME)
    if not isinstance(value, list) or not value or not set(map(str, value)) <= set(METRIC_BY_NAME):
        raise _Wrong(f'"all" or a list of {", ".join(METRIC_BY_NAME)}')
    return tuple(value)


def _levels(value: Any) -> list[str]:
    """`3`, `"3"`, `"1-5"`, `"*"` or a list of these."""
    rows = value if isinstance(value, list) else [value]
    if not rows or not all(
        isinstance(each, int | str) and not isinstance(each, bool) for each in rows
    ):
        raise _Wrong('a level, a list of levels, or "*" for all of them')
    return [str(each) for each in rows]


_DRAWING: dict[str, Value] = {"examples": _count(1), "max_tokens": _count(0), "sample": _flag}
_RUN: dict[str, Value] = {
    "metrics": _metrics,
    "top_k": _count(1),
    "chat_template": _flag,
    "seed": _count(0),
    "skip_part": _choice("layer", "attention", "mlp"),
    "skip_everywhere": _flag,
    "tolerance": _share,
    "riemann_steps": _count(0),
}
_SUMMARY: dict[str, Value] = {
    "kl_threshold": _share,
    "overlap_threshold": _share,
    "include_first_token": _flag,
    "seed": _count(0),
}
_MODEL: dict[str, Value] = {
    "name": _text,
    "revision": _text,
    "device": _text,
    "dtype": _choice("auto", "float32", "bfloat16", "float16"),
    "quantize": _choice("8bit", "4bit"),
    "trust_remote_code": _flag,
}
_TASK: dict[str, Value] = {"name": _text, "level": _levels, "data": _text}
