"""The user's settings, saved in a TOML file, and the folders of depthtui."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from depthtui.data.own_commands import OwnCommand, read_commands
from depthtui.data.run_settings import (
    ChatTemplate,
    IncludeFirstToken,
    KlThreshold,
    Lens,
    LensTopK,
    OverlapThreshold,
    RunSettings,
    Seed,
    SummarySettings,
    Writing,
)
from depthtui.errors import DepthError, short_repr
from depthtui.files import expand_home, parse_toml, read_whole, system_reason, write_whole
from depthtui.options import Option, WrongValue, options_of
from depthtui.palettes import OWN_PALETTE, PALETTES
from depthtui.plugins import plugin_names
from depthtui.sizes import LARGEST_SIZE, exact_size, parse_size

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    AnySettings = TypeVar("AnySettings", bound=DataclassInstance)


_LARGEST_FILE = 4 << 20


def _read_size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_SIZE:
        return value
    if isinstance(value, str):
        with suppress(ValueError):
            return parse_size(value)
    raise WrongValue('a size such as "10GB"')


def _read_folder(value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise WrongValue("a folder in quotes")
    try:
        return expand_home(value)
    except DepthError:
        raise WrongValue("a folder that can be") from None


def _read_command(value: Any) -> str:
    with suppress(ValueError):
        if isinstance(value, str) and shlex.split(value):
            return value
    raise WrongValue('a command such as "pbcopy"')


def _read_keys(value: Any) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(keys, str) for keys in value.values()):
        return value
    raise WrongValue('a table such as [keys] with lines such as export = "ctrl+s"')


def _read_names(value: Any) -> tuple[str, ...]:
    return _read_texts(value, 'a list of names such as ["demo", "Qwen/Qwen3-0.6B"]')


def _read_formats(value: Any) -> tuple[str, ...]:
    requirement = f"a list of formats among {', '.join(EXPORT_FORMATS)}"
    names = _read_texts(value, requirement)
    others = set(names) - set(EXPORT_FORMATS)
    # To look for plug-ins takes time.
    if others and not others.issubset(plugin_names("format")):
        raise WrongValue(requirement)
    return names


def _read_texts(value: Any, requirement: str) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return tuple(value)
    raise WrongValue(requirement)


EXPORT_FORMATS = (
    "md",
    "csv",
    "json",
    "html",
    "safetensors",
    "parquet",
    "svg",
    "png",
    "pdf",
    "screen",
)
"""The formats that an export can begin with."""

SHOWN_ONCE = ("welcome", "colours_hint")
"""The settings that the explorer turns off once it has shown something."""


@dataclass(frozen=True)
class Settings:
    """The settings file, one attribute per line.

    Settings of runs and summaries are described in `RunSettings` and `SummarySettings`.
    """

    theme: Annotated[
        str,
        Option(
            "Name of the explorer's theme; empty for its own dark one. `auto` is dark or light as "
            "the terminal is, `ansi` has the terminal's own sixteen colours."
        ),
    ] = ""
    cache_dir: Annotated[
        Path | None,
        Option("Folder of models and results.", read=_read_folder, group="Cache"),
    ] = None
    """Folder of the cache; None for `default_cache_dir()`."""

    use_cache: Annotated[
        bool,
        Option("Neither read nor save results on disk.", switch="--no-cache", group="Cache"),
    ] = True
    cache_limit: Annotated[
        int,
        Option(
            "What results may take on disk, such as 10GiB or 500MB.",
            read=_read_size,
            write=exact_size,
            group="Cache",
        ),
    ] = 10 * 1000**3
    """Most bytes of the cache, activations included."""

    activation_limit: Annotated[
        int,
        Option(
            "Activations of one run that take more are not saved.",
            read=_read_size,
            write=exact_size,
            group="Cache",
        ),
    ] = 1000**3
    cache_activations: Annotated[
        bool,
        Option(
            "Save the residual stream and what is written to it beside the results.",
            group="Cache",
        ),
    ] = True
    export_dir: Annotated[Path, Option("Folder of exports.", read=_read_folder)] = Path(
        "depthtui-exports"
    )
    """Folder of exports, relative to the working folder at the start."""

    export_formats: Annotated[
        tuple[str, ...],
        Option("Formats that an export begins with, those of the last one.", read=_read_formats),
    ] = ()
    """Names in `EXPORT_FORMATS`, or of plug-ins; empty for the form's own choice."""

    lens_top_k: LensTopK = RunSettings.lens_top_k
    kl_threshold: KlThreshold = SummarySettings.kl_threshold
    overlap_threshold: OverlapThreshold = SummarySettings.overlap_threshold
    include_first_token: IncludeFirstToken = SummarySettings.include_first_token
    lens: Lens = SummarySettings.lens
    seed: Seed = RunSettings.seed
    chat_template: ChatTemplate = RunSettings.chat_template
    measure: Annotated[str, Option("The measure that the heatmap opens with.")] = "layer_norm_ratio"
    layer_order: Annotated[
        str,
        Option("`up` draws layer 0 at the bottom, `down` at the top.", choices=("up", "down")),
    ] = "up"
    ramp: Annotated[
        str,
        Option(
            "Whether values are colours or glyphs; `auto` asks the terminal.",
            choices=("auto", "truecolor", "256", "glyph"),
        ),
    ] = "auto"
    palette: Annotated[
        str,
        Option(
            "Colours of heatmaps, coloured texts and their reports; all but `depth` keep their "
            "contrast with red-green colour blindness.",
            choices=tuple(PALETTES),
        ),
    ] = OWN_PALETTE
    copy_command: Annotated[
        str,
        Option(
            "Command that reads what is copied, such as pbcopy; empty for the desktop's or tmux's, "
            "and where there is none, the terminal copies (OSC 52).",
            read=_read_command,
        ),
    ] = ""
    notify: Annotated[
        int,
        Option("Seconds of work at whose end the terminal's bell rings; 0 for never."),
    ] = 30
    plain: Annotated[bool, Option("Whether commands print lines alone, as with `--plain`.")] = False
    welcome: Annotated[
        bool, Option("Whether the explorer opens with what is where; off once that was read.")
    ] = True
    colours_hint: Annotated[
        bool,
        Option("Whether the explorer shows how to get more than 16 colours; off once it did."),
    ] = True
    last_model: Annotated[str, Option("The model that the explorer opens with.")] = "demo"
    recent_models: Annotated[
        tuple[str, ...], Option("Models opened before, the last one first.", read=_read_names)
    ] = ()
    keys: Annotated[dict[str, str], Option("Keys of the explorer.", read=_read_keys)] = field(
        default_factory=dict
    )
    """Keys that replace the explorer's own: binding id -> keys, such as `export = "ctrl+s"`."""

    commands: Annotated[
        dict[str, OwnCommand],
        Option("Commands of your own, by their keys.", read=read_commands),
    ] = field(default_factory=dict)
    """Commands of one's own by name; a start reads them, and no dialog changes them."""

    @property
    def cache_folder(self) -> Path:
        """Folder of models and results."""
        return self.cache_dir or default_cache_dir()

    def run_settings(self, metrics: tuple[str, ...] = RunSettings.metrics) -> RunSettings:
        """The settings that a run's arrays depend on, for these metrics."""
        return self._over(RunSettings(metrics=metrics))

    def summary_settings(self) -> SummarySettings:
        """How runs are pooled into curves and effective depths."""
        return self._over(SummarySettings())

    def writing(self) -> Writing:
        """How texts are written."""
        return self._over(Writing())

    def _over(self, settings: AnySettings) -> AnySettings:
        """The settings, overridden by those that are also in the settings file."""
        shared = options_of(type(settings)).keys() & options_of(Settings).keys()
        return replace(settings, **{name: getattr(self, name) for name in shared})


def load_settings(
    path: Path | None = None, on_notice: Callable[[str], None] | None = None
) -> Settings:
    """Read the settings file; the defaults where there is none.

    Args:
        path: the file; None for `settings_path()`.
        on_notice: gets a sentence about settings that depthtui doesn't know; they stay in the
            file.

    Raises:
        DepthError: the file is broken; the error names the line or the setting.
    """
    path = path or settings_path()
    table = _parse(path, _read_file(path))
    unknown = sorted(table.keys() - options_of(Settings).keys())
    if unknown and on_notice is not None:
        on_notice(f"{path} has settings that depthtui doesn't know: {', '.join(unknown)}.")
    return _settings_in(path, table)


def settings_in_file(path: Path | None = None) -> frozenset[str]:
    """The names of the settings in the file.

    Raises:
        DepthError: the file is broken.
    """
    path = path or settings_path()
    return frozenset(_parse(path, _read_file(path)).keys() & options_of(Settings).keys())


def _settings_in(path: Path, table: Mapping[str, Any]) -> Settings:
    """The settings in a file's table."""
    options, values = options_of(Settings), {}
    for name in sorted(table.keys() & options.keys()):
        try:
            values[name] = options[name].parse(table[name])
        except WrongValue as error:
            raise DepthError(
                f"The settings file {path} is wrong: {name}{error.part} must be {error}, "
                f"not {error.actual or short_repr(table[name])}.",
                "Correct or remove that line.",
            ) from None
    return Settings(**values)


def save_settings(settings: Settings, path: Path | None = None) -> Path:
    """Write settings to the file, changing only the lines whose values differ.

    Lines of settings that return to their default are removed; comments, and settings that
    depthtui doesn't know, are kept. Where the file is a link, such as into a folder of dotfiles,
    its target is written.

    Raises:
        DepthError: the file is broken already, or cannot be written.
    """
    path = path or settings_path()
    text = _read_file(path)
    table, defaults = _parse(path, text), Settings()
    before = _settings_in(path, table)
    changed = [name for name in options_of(Settings) if _differs(name, settings, before)]
    values = {
        name: _toml_value(getattr(settings, name))
        for name in changed
        if _differs(name, settings, defaults)
    }
    try:
        content = _edited_text(text, changed, values)
        unchanged = {name: value for name, value in table.items() if name not in changed}
        if parse_toml(content) != unchanged | values:
            raise ValueError
    except (ValueError, RecursionError):
        raise DepthError(
            f"The settings file {path} has a value that cannot be written again.",
            "Remove settings that depthtui doesn't know from it.",
        ) from None
    write_whole(
        Path(os.path.realpath(path)), content, "Set DEPTHTUI_CONFIG to a file that can be written."
    )
    return path


def change_settings(changes: Mapping[str, Any], path: Path | None = None) -> Path:
    """Change some settings in the file, and keep the others.

    Raises:
        DepthError: as `save_settings`.
    """
    return save_settings(replace(load_settings(path), **changes), path)


def _differs(name: str, a: Settings, b: Settings) -> bool:
    return bool(getattr(a, name) != getattr(b, name))


def _toml_value(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {name: _toml_value(part) for name, part in value.items()}
    if isinstance(value, OwnCommand):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value


def _edited_text(text: bytes, changed: Iterable[str], values: Mapping[str, Any]) -> bytes:
    """A TOML text with new values, or none, for some names; the rest is unchanged.

    Raises:
        ValueError: tomlkit cannot read the text.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        for name in changed:
            _put(document, name, values.get(name))
        return tomlkit.dumps(document).encode()
    except (TOMLKitError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from None


def _put(table: MutableMapping[str, Any], name: str, value: Any) -> None:
    """Set a value in a table of a document, or remove it for None; a table keeps its lines."""
    before = table.get(name)
    if value is None:
        table.pop(name, None)
    elif isinstance(value, dict) and isinstance(before, MutableMapping):
        for key in [*before.keys(), *value]:
            if before.get(key) != value.get(key):
                _put(before, key, value.get(key))
    else:
        table[name] = value


def settings_path() -> Path:
    """The settings file: `DEPTHTUI_CONFIG`, or the one in the user's configuration folder.

    Raises:
        DepthError: `DEPTHTUI_CONFIG` names the home folder of an unknown user.
    """
    if named := os.environ.get("DEPTHTUI_CONFIG"):
        return expand_home(named)
    from platformdirs import user_config_path

    return user_config_path("depthtui", appauthor=False) / "settings.toml"


def default_cache_dir() -> Path:
    """The default folder of models and results.

    `DEPTHTUI_CACHE_DIR`; else `cache/` of the checkout that depthtui runs
    from; else the user's cache folder.

    Raises:
        DepthError: `DEPTHTUI_CACHE_DIR` names the home folder of an unknown user.
    """
    if named := os.environ.get("DEPTHTUI_CACHE_DIR"):
        return expand_home(named)
    checkout = _checkout()
    if checkout is not None:
        return checkout / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("depthtui", appauthor=False)


def models_dir(cache_dir: Path) -> Path:
    """The folder of converted models."""
    return cache_dir / "models"


def lenses_dir(cache_dir: Path) -> Path:
    """The folder of fitted lenses, with the orders and the controls of their models."""
    return cache_dir / "lenses"


def datasets_dir(cache_dir: Path) -> Path:
    """The folder of files of published data sets."""
    return cache_dir / "datasets"


def hub_cache() -> Path:
    """The folder in which Hugging Face libraries keep what they download."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _of_hugging_face(named, "hub")


def prepared_datasets() -> Path:
    """The folder in which the library `datasets` keeps the files that it made from downloads."""
    return _of_hugging_face(os.environ.get("HF_DATASETS_CACHE"), "datasets")


def _of_hugging_face(named: str | None, name: str) -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    hub_home = os.environ.get("HF_HOME") or os.path.join(home, "huggingface")
    return Path(os.path.expandvars(os.path.expanduser(named or os.path.join(hub_home, name))))


def log_path() -> Path:
    """The file for the details of unexpected failures."""
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


def _read_file(path: Path) -> bytes:
    """The content of the settings file; empty where there is none."""
    try:
        return read_whole(path, _LARGEST_FILE)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _broken(path, f"cannot be read ({system_reason(error)})") from None


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    """The table in the settings file's text."""
    try:
        return parse_toml(text)
    except ValueError as error:
        raise _broken(path, str(error)) from None


def _broken(path: Path, reason: str) -> DepthError:
    return DepthError(
        f"The settings file {path} {reason}.",
        "Correct it, or move it away to start from the defaults.",
    )
