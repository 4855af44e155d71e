"""What the user chose, kept in a TOML file, and where things are kept."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthtui.errors import DepthError
from depthtui.sizes import parse_size

if TYPE_CHECKING:
    from depthtui.data.depth import SummarySettings
    from depthtui.data.run import RunSettings


@dataclass(frozen=True)
class Settings:
    """The settings file, one attribute a line of it."""

    theme: str = ""
    """Name of the explorer's theme; empty for its own dark one."""

    cache_dir: Path | None = None
    """Folder of models and results; None for `default_cache_dir()`."""

    use_cache: bool = True
    """Whether results are read from the disk and kept there."""

    cache_limit: int = 10 * 1000**3
    """What results and activations may take on disk, in bytes (`"10GB"` in the file)."""

    activation_limit: int = 1000**3
    """Activations of one run that take more bytes than this are not kept."""

    cache_activations: bool = True
    """Whether the residual stream and what is written to it are kept beside the results."""

    export_dir: Path = Path("depthtui-exports")
    """Folder of exports; relative to where depthtui was started."""

    top_k: int = 10
    """How many tokens the logit lens lists at each layer."""

    kl_threshold: float = 0.5
    """KL rule: the share of the largest KL that the curve must fall below."""

    overlap_threshold: float = 0.3
    """Overlap rule: the top-five overlap that the curve must exceed."""

    include_first_token: bool = True
    """Whether token 0, often an attention sink, is averaged in."""

    seed: int = 123
    """Seed of everything random."""

    chat_template: bool = False
    """Whether prompts are wrapped in the model's chat template."""

    measure: str = "layer_norm_ratio"
    """The measure that the heatmap opens with."""

    layer_order: str = "up"
    """`up` draws layer 0 at the bottom, `down` at the top."""

    ramp: str = "auto"
    """Colours of the heatmap: `auto`, `truecolor`, `256` or `glyph`."""

    last_model: str = "demo"
    """The model that the explorer opens with where none is named."""

    keys: dict[str, str] = field(default_factory=dict)
    """Keys that replace the explorer's own: binding id to keys, such as `export = "ctrl+e"`."""

    def run_settings(self) -> RunSettings:
        """What a run's arrays depend on."""
        from depthtui.data.run import RunSettings

        return RunSettings(top_k=self.top_k, chat_template=self.chat_template, seed=self.seed)

    def summary_settings(self) -> SummarySettings:
        """How runs are pooled into curves and effective depths."""
        from depthtui.data.depth import SummarySettings

        return SummarySettings(
            kl_threshold=self.kl_threshold,
            overlap_threshold=self.overlap_threshold,
            include_first_token=self.include_first_token,
            seed=self.seed,
        )


def load_settings(
    path: Path | None = None, on_notice: Callable[[str], None] | None = None
) -> Settings:
    """Read the settings file; where there is none, the defaults.

    Args:
        path: the file; None for `settings_path()`.
        on_notice: told about settings that depthtui doesn't know; they stay in the file.

    Raises:
        DepthError: the file is broken, naming the line or the setting.
    """
    path = path or settings_path()
    table = _read_table(path)
    known = {each.name for each in fields(Settings)}
    unknown = sorted(set(table) - known)
    if unknown and on_notice is not None:
        on_notice(f"{path} has settings that depthtui doesn't know: {', '.join(unknown)}.")
    try:
        values = {name: _PARSERS[name](table[name]) for name in sorted(known & set(table))}
    except _Wrong as error:
        raise DepthError(
            f"The settings file {path} is wrong: {error}.", "Correct or remove that line."
        ) from None
    return Settings(**values)


def save_settings(settings: Settings, path: Path | None = None) -> Path:
    """Write the settings that differ from the defaults.

    Settings in the file that depthtui doesn't know are kept; comments are not.

    Raises:
        DepthError: the file is broken already, or cannot be written.
    """
    import tomli_w

    path = path or settings_path()
    table = _read_table(path)
    defaults = Settings()
    for each in fields(Settings):
        value = getattr(settings, each.name)
        if value != getattr(defaults, each.name):
            table[each.name] = str(value) if isinstance(value, Path) else value
        else:
            table.pop(each.name, None)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(tomli_w.dumps(table), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise DepthError(
            f"The settings could not be written to {path} ({error.strerror}).",
            "Set DEPTHTUI_CONFIG to a file that can be written.",
        ) from None
    return path


def settings_path() -> Path:
    """The settings file: `DEPTHTUI_CONFIG`, or the one in the user's configuration folder."""
    if named := os.environ.get("DEPTHTUI_CONFIG"):
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path("depthtui", appauthor=False) / "settings.toml"


def default_cache_dir() -> Path:
    """Where models and results are kept unless the user says otherwise.

    `DEPTHTUI_CACHE_DIR`; else `cache/` of the checkout that depthtui runs
    from; else the user's cache folder.
    """
    if named := os.environ.get("DEPTHTUI_CACHE_DIR"):
        return Path(named).expanduser()
    checkout = _checkout()
    if checkout is not None:
        return checkout / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("depthtui", appauthor=False)


def models_dir(cache_dir: Path) -> Path:
    """Where converted models are kept."""
    return cache_dir / "models"


def log_path() -> Path:
    """Where the details of an unexpected failure are written."""
    from platformdirs import user_log_path

    return user_log_path("depthtui", appauthor=False) / "depthtui.log"


def _checkout() -> Path | None:
    root = Path(__file__).resolve().parent.parent
    if not (root / "cache").is_dir():
        return None
    try:
        project = (root / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return None
    return root if re.search(r'^name = "depthtui"$', project, re.MULTILINE) else None


def _read_table(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        reason = "is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        reason = f"is not valid TOML: {error}"
    raise DepthError(
        f"The settings file {path} {reason}.",
        "Correct it, or move it away to start from the defaults.",
    )


class _Wrong(Exception):
    """A setting has a value that it cannot have."""


def _parser(
    name: str, kind: type | tuple[type, ...], expected: str, allowed: Callable[[Any], bool]
) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        # A TOML boolean is a Python int too.
        is_kind = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not is_kind or not allowed(value):
            raise _Wrong(f"{name} must be {expected}, not {value!r}")
        return value

    return parse


def _text(name: str) -> Callable[[Any], str]:
    return _parser(name, str, "text in quotes", lambda value: True)


def _flag(name: str) -> Callable[[Any], bool]:
    return _parser(name, bool, "true or false", lambda value: True)


def _choice(name: str, *choices: str) -> Callable[[Any], str]:
    expected = " or ".join(f'"{each}"' for each in choices)
    return _parser(name, str, expected, lambda value: value in choices)


def _share(name: str) -> Callable[[Any], float]:
    parse = _parser(name, (int, float), "a number from 0 to 1", lambda value: 0 <= value <= 1)
    return lambda value: float(parse(value))


def _count(name: str, least: int) -> Callable[[Any], int]:
    return _parser(
        name, int, f"a whole number of at least {least}", lambda value: bool(value >= least)
    )


def _size(name: str) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, str):
            with suppress(ValueError):
                return parse_size(value)
        raise _Wrong(f'{name} must be a size such as "10GB", not {value!r}')

    return parse


def _folder(name: str) -> Callable[[Any], Path]:
    parse = _parser(name, str, "a folder in quotes", bool)
    return lambda value: Path(parse(value)).expanduser()


def _keys(value: Any) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
        return value
    raise _Wrong('keys must be a table such as [keys] with lines such as export = "ctrl+e"')


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "theme": _text("theme"),
    "cache_dir": _folder("cache_dir"),
    "use_cache": _flag("use_cache"),
    "cache_limit": _size("cache_limit"),
    "activation_limit": _size("activation_limit"),
    "cache_activations": _flag("cache_activations"),
    "export_dir": _folder("export_dir"),
    "top_k": _count("top_k", 1),
    "kl_threshold": _share("kl_threshold"),
    "overlap_threshold": _share("overlap_threshold"),
    "include_first_token": _flag("include_first_token"),
    "seed": _count("seed", 0),
    "chat_template": _flag("chat_template"),
    "measure": _text("measure"),
    "layer_order": _choice("layer_order", "up", "down"),
    "ramp": _choice("ramp", "auto", "truecolor", "256", "glyph"),
    "last_model": _text("last_model"),
    "keys": _keys,
}
