"""A sweep's plan as a TOML file.

examples = 20
metrics = ["contributions", "logit_lens", "ablation"]

[[model]]
name = "Qwen/Qwen2.5-7B"
quantize = "8bit"
family = "Qwen2.5"

[[task]]
name = "addition"
level = "*"

[[task]]
name = "gsm8k"
data = "gsm8k.jsonl"
max_tokens = 400

With `write = true`, each task is also there with the answers that the model writes itself;
`max_new_tokens`, `temperature`, `top_k` and `top_p` choose how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from depthtui.data.run_settings import (
    Drawing,
    ModelSpec,
    RunSettings,
    SummarySettings,
    Writing,
)
from depthtui.errors import DepthError, short_repr
from depthtui.files import expand_home, parse_toml, read_whole, system_reason
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.options import Option, WrongValue, options_of
from depthtui.sweep.plan import SweepPlan, TaskChoice, choose_levels, with_written

_LARGEST_FILE = 16 << 20


def read_plan(path: Path, base: SweepPlan, drawing: Drawing, writing: Writing) -> SweepPlan:
    """The plan in a file.

    Args:
        path: the file; data files that it names are relative to its folder.
        base: defaults of settings that the file leaves out.
        drawing: defaults of how prompts are drawn.
        writing: defaults of how a model writes answers.

    Raises:
        DepthError: the file cannot be read, or a key of it is wrong; the error names the key.
    """
    table = _read(path)
    where = str(path)
    models, tasks = _tables(table, "model", where), _tables(table, "task", where)
    _check_keys(table, _DRAWING | _RUN | _SUMMARY | _WRITE | _WRITING, where)
    drawing = replace(drawing, **_values(table, _DRAWING, where))
    plan = SweepPlan(
        tuple(_model(row, f"{where}: model {n}") for n, row in enumerate(models, start=1)),
        tuple(
            task
            for n, row in enumerate(tasks, start=1)
            for task in _tasks(row, drawing, path.parent, f"{where}: task {n}")
        ),
        replace(base.run, **_values(table, _RUN, where)),
        replace(base.summary, **_values(table, _SUMMARY, where)),
        tuple((row["name"], row["family"]) for row in models if "family" in row),
    )
    return _with_written(plan, table, writing, where)


def _with_written(
    plan: SweepPlan, table: Mapping[str, Any], writing: Writing, where: str
) -> SweepPlan:
    """The plan, also with the answers that models write where the table asks for these."""
    chosen, switch = _values(table, _WRITING, where), _values(table, _WRITE, where)
    if chosen and not switch:
        raise DepthError(f"{where}: {next(iter(chosen))} needs write = true.")
    if "max_new_tokens" in chosen:
        chosen["max_tokens"] = chosen.pop("max_new_tokens")
    return with_written(plan, replace(writing, **chosen)) if switch.get("write") else plan


def _read(path: Path) -> dict[str, Any]:
    hint = "Give a TOML file such as the one in `depthtui help sweeps`."
    try:
        return parse_toml(read_whole(path, _LARGEST_FILE))
    except FileNotFoundError:
        raise DepthError(f"There is no file {path}.", "Check its name.") from None
    except OSError as error:
        raise DepthError(f"{path} cannot be read: {system_reason(error)}.") from None
    except ValueError as error:
        raise DepthError(f"{path} {error}.", hint) from None


def _tables(table: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    rows = table.pop(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DepthError(f"{where}: {name} is no list of tables.", f"Begin each with [[{name}]].")
    return rows


def _model(row: dict[str, Any], where: str) -> ModelSpec:
    _check_keys(row, _MODEL | _FAMILY, where)
    _values(row, _FAMILY, where)
    if not row.get("name"):
        raise DepthError(f"{where} has no name.", "A hub id, a folder, a GGUF file or demo.")
    return ModelSpec(**_values(row, _MODEL, where))


def _tasks(row: dict[str, Any], drawing: Drawing, folder: Path, where: str) -> list[TaskChoice]:
    _check_keys(row, _TASK | _DRAWING, where)
    if not row.get("name"):
        raise DepthError(f"{where} has no name.", "`depthtui tasks` lists them.")
    values = _values(row, _TASK, where)
    data = values.get("data")
    drawing = replace(drawing, **_values(row, _DRAWING, where))
    try:
        path = str(folder / expand_home(data)) if data else ""
        return choose_levels(values["name"], values.get("level", [""]), path, drawing)
    except DepthError as error:
        raise DepthError(f"{where}: {error.message}", error.hint) from None


def _check_keys(row: Mapping[str, Any], options: Mapping[str, Option], where: str) -> None:
    for name in row:
        if name not in options:
            raise DepthError(
                f"{where}: there is no key {name[:60]}.", f"Keys: {', '.join(options)}."
            )


def _values(row: Mapping[str, Any], options: Mapping[str, Option], where: str) -> dict[str, Any]:
    values = {}
    for name, option in options.items():
        if name in row:
            try:
                values[name] = option.parse_written(row[name])
            except WrongValue as error:
                raise DepthError(
                    f"{where}: {name} must be {error}, not {short_repr(row[name])}."
                ) from None
    return values


def _metrics(value: Any) -> tuple[str, ...]:
    if value == "all":
        return tuple(METRIC_BY_NAME)
    if not isinstance(value, list) or not value or not set(map(str, value)) <= set(METRIC_BY_NAME):
        raise WrongValue(f'"all" or a list of {", ".join(METRIC_BY_NAME)}')
    return tuple(value)


def _levels(value: Any) -> list[str]:
    """`3`, `"3"`, `"1-5"`, `"*"` or a list of these."""
    rows = value if isinstance(value, list) else [value]
    if not rows or not all(
        isinstance(level, str) or (type(level) is int and abs(level) < 10**9) for level in rows
    ):
        raise WrongValue('a level, a list of levels, or "*" for all of them')
    return [str(level) for level in rows]


_DRAWING = options_of(Drawing)
_RUN = options_of(RunSettings)
_RUN |= {"metrics": replace(_RUN["metrics"], read=_metrics)}
_SUMMARY = options_of(SummarySettings)
_MODEL = options_of(ModelSpec)
_WRITE = {"write": Option("Also measure the answers that models write.", kind=bool, default=False)}
_WRITING = {
    "max_new_tokens" if name == "max_tokens" else name: option
    for name, option in options_of(Writing).items()
    if name != "seed"
}
"""How models write them; `max_tokens` is how long prompts may be."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise WrongValue("text in quotes")
    return value


_TASK = {
    "name": Option("A task, a data set, or a name for the prompts of `data`."),
    "level": Option("How hard.", read=_levels),
    "data": Option("A file that holds the prompts.", read=_text),
}
_FAMILY = {
    "family": Option("Models of one family are of the same kind, and differ in size.", read=_text)
}
