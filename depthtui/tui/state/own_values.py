"""The values of the placeholders in a command of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from depthtui.data.own_commands import OwnCommand
from depthtui.data.run import RunResult
from depthtui.errors import DepthError
from depthtui.files import write_new
from depthtui.report.export import run_report
from depthtui.tui.state.explorer import Explorer

NO_RUN = "There is no run under the cursor."
NOT_THROUGH = "The run is not through yet: there is no summary of it."
MAY_BE_OPTION = "The name of this model begins with -, and may be read as an option."


class Pointed(NamedTuple):
    """A run and a place in it."""

    result: RunResult
    layer: int
    token: int


def values_of(
    command: OwnCommand, pointed: Pointed | None, explorer: Explorer, folder: Path
) -> dict[str, str]:
    """The value of each placeholder that a command has.

    Args:
        command: the command.
        pointed: the place under the cursor; None where no run is.
        explorer: the owner of the run.
        folder: an empty folder for the files among the values.

    Raises:
        DepthError: a placeholder has no value now, or a file cannot be written.
    """
    if not command.placeholders:
        return {}
    if pointed is None:
        raise DepthError(NO_RUN)
    result, layer, token = pointed
    makers: dict[str, Callable[[], str]] = {
        "model": lambda: _no_option(result.model.spec.name),
        "layer": lambda: str(layer),
        "token": lambda: str(token),
        "prompt_file": lambda: _file(folder / "prompt.txt", _prompt_bytes(result)),
        "run_json": lambda: _file(folder / "run.json", _summary(result, explorer)),
    }
    return {name: makers[name]() for name in command.placeholders}


def _no_option(name: str) -> str:
    """A name that no program reads as an option."""
    if name.startswith("-"):
        raise DepthError(MAY_BE_OPTION, f"Open it as ./{name}")
    return name


def _file(path: Path, content: bytes) -> str:
    return str(write_new(path, content))


def _prompt_bytes(result: RunResult) -> bytes:
    return result.prompt.text.encode("utf-8", "surrogatepass")


def _summary(result: RunResult, explorer: Explorer) -> bytes:
    """The run's summary as JSON, with the user's remarks."""
    run = explorer.session.run_of(result)
    is_live = run is not None and run.state.is_live
    if is_live and result.layers_done < result.model.n_layers:
        raise DepthError(NOT_THROUGH)
    noted = explorer.session.with_remarks([result])
    report = run_report(noted, explorer.settings.summary_settings())
    (content,) = report.data["json"]().values()
    return content
