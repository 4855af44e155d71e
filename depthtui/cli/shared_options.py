"""Options that commands share, and their meaning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from depthtui.cli.command_help import in_section
from depthtui.cli.completion import complete_metrics, complete_models, complete_tasks
from depthtui.cli.one_of import OneOf, no_such
from depthtui.cli.output import OutOptions, print_notice
from depthtui.data.run_settings import (
    DEFAULT_METRICS,
    EXAMPLES,
    MOST_EXAMPLES,
    OF_A_PART,
    ModelSpec,
    RunSettings,
    SummarySettings,
    Writing,
)
from depthtui.data.trust import TrustedModels
from depthtui.errors import DepthError, short_repr
from depthtui.options import Option, WrongValue, options_of
from depthtui.report.format import Subject
from depthtui.settings import Settings, datasets_dir, load_settings
from depthtui.sizes import parse_size

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from depthtui.data.run import Prompt
    from depthtui.prompts.asking import Asking
    from depthtui.prompts.corpus import Corpus
    from depthtui.trackers import TrackerChoice

    AnySettings = TypeVar("AnySettings", bound=DataclassInstance)

_Callback = Callable[[click.Context, click.Parameter, Any], Any]
_Decorator = Callable[[Any], Any]

_FILE = click.Path(path_type=Path)

_WINDOW = 512
"""Tokens of a window of a corpus by default."""

_MOST_METRICS = 3
"""Most metrics that an error names in place of a word that is none."""


class NumberRange(click.FloatRange):
    """Numbers in a range; refuses nan, which passes every comparison."""

    # Help shows the name.
    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number in a text; the error for a percentage has the share."""
        text = str(value).strip()
        percentage = _number(text.removesuffix("%"))
        if self.max == 1 and (text.endswith("%") or text.isdecimal()) and 10 <= percentage <= 100:
            words = f"{short_repr(text)} is a percentage: write {percentage / 100:g}."
            self.fail(words, param, ctx)
        if math.isnan(_number(text)):
            self.fail(f"{short_repr(text)} is not a number, such as 0.5.", param, ctx)
        try:
            return float(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{short_repr(text)} is not a number {_limits(self)}.", param, ctx)


class WholeNumberRange(click.IntRange):
    """Whole numbers in a range."""

    # Help shows the name.
    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number in a text."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            words = f"{short_repr(str(value))} is not a whole number {_limits(self)}"
            self.fail(f"{words.rstrip()}.", param, ctx)


def _limits(numbers: click.IntRange | click.FloatRange) -> str:
    """The ends of a range in words, such as `of at least 1 and at most 20`."""
    above = "above" if numbers.min_open else "of at least"
    ends = {above: numbers.min, "at most": numbers.max}
    return " and ".join(f"{name} {_written(end)}" for name, end in ends.items() if end is not None)


def _written(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


def _number(text: str) -> float:
    """The number in a text; nan where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


class Folder(click.Path):
    """A folder; refuses a file, and the empty text of an unset variable."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The folder in a text."""
        if not value:
            self.fail("the name is empty.", param, ctx)
        return super().convert(value, param, ctx)


def read_size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Read a size such as `10GiB`, in bytes."""
    if value is None:
        return None
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _data_files(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Files by the name of their data set."""
    from depthtui.prompts.dataset_formats import DATASETS

    files = {}
    for value in values:
        name, sign, file = value.partition("=")
        if name not in DATASETS:
            raise click.BadParameter(no_such(name, tuple(DATASETS)))
        if not sign or not file:
            raise click.BadParameter(f"write {name}=FILE.")
        files[name] = Path(file)
    return files


def names_from(
    all_names: Callable[[], Sequence[str]], error_of: Callable[[str, Sequence[str]], str] = no_such
) -> _Callback:
    """A callback that reads names separated by commas, or `all`.

    It returns None where no name is given. `error_of` makes the error for an unknown name, of the
    name and all names.
    """

    def read(
        context: click.Context, parameter: click.Parameter, value: str | None
    ) -> tuple[str, ...] | None:
        if value is None:
            return None
        if value.strip() == "all":
            return tuple(all_names())
        names = tuple(dict.fromkeys(part.strip() for part in value.split(",")))
        for name in names:
            if name not in all_names():
                raise click.BadParameter(error_of(name, all_names()))
        return names

    return read


def _metric_names() -> Sequence[str]:
    from depthtui.metrics.registry import METRIC_BY_NAME

    return tuple(METRIC_BY_NAME)


def _no_such_metric(name: str, names: Sequence[str]) -> str:
    """The error for an unknown metric: the metrics that have a value of the name, or all."""
    from depthtui.metrics.registry import metrics_with

    metrics = metrics_with(name)[:_MOST_METRICS]
    if not metrics:
        return no_such(name, names)
    return f"{short_repr(name)} is no metric; its values come with {' or '.join(metrics)}."


def _baseline(
    context: click.Context, parameter: click.Parameter, path: Path | None
) -> tuple[str, ...] | None:
    """The texts in a file of prompts."""
    from depthtui.prompts.prompt_files import read_prompts

    if path is None:
        return None
    try:
        return tuple(prompt.text for prompt in read_prompts(path))
    except DepthError as error:
        raise click.UsageError(str(error), context) from error


@dataclass(frozen=True)
class PromptOptions:
    """The sources of prompts.

    Attributes:
        prompts: typed prompts.
        files: files of prompts.
        task: a task or a data set, or None.
        level: the task's level; None for its default.
        examples: number of the task's prompts; None where not given.
        default_examples: the default number, where the task has that many.
        answers: answers of the typed prompts, one for each; empty for none.
        choices: whether the prompts have options to choose from.
        shots: solved others before each prompt.
        texts: the file of a corpus, in place of prompts; None for none.
        window: tokens of a window of the corpus; None where not given.
    """

    prompts: tuple[str, ...]
    files: tuple[Path, ...]
    task: str | None
    level: str | None
    examples: int | None
    default_examples: int = 1
    answers: tuple[str, ...] = ()
    choices: bool = False
    shots: int = 0
    texts: Path | None = None
    window: int | None = None


@dataclass(frozen=True)
class DatasetOptions:
    """The rows of a data set to use.

    Attributes:
        data: files by data set; a data set without a file comes from the hub.
        sample: draw rows with the seed, instead of using the first ones.
        max_tokens: longer prompts are left out; None for any length.
    """

    data: Mapping[str, Path] = field(default_factory=dict)
    sample: bool = False
    max_tokens: int | None = None


@dataclass(frozen=True)
class Overrides:
    """Settings that are given on the command line.

    Attributes:
        values: the values by name of the field, of any settings.
    """

    values: Mapping[str, Any] = field(default_factory=dict)

    def over(self, settings: AnySettings) -> AnySettings:
        """The settings, overridden by the command line."""
        names = {setting.name for setting in fields(settings)} & self.values.keys()
        return replace(settings, **{name: self.values[name] for name in names})

    def settings(self) -> Settings:
        """The settings file, overridden by the command line."""
        return self.over(load_settings(on_notice=print_notice))

    def run_settings(self, settings: Settings, default: tuple[str, ...]) -> RunSettings:
        """What to measure; prints the metrics of the default set that --metrics leaves out."""
        metrics = self.values.get("metrics", default)
        if absent := [name for name in default if name not in metrics]:
            print_notice(f"--metrics replaces the default set; not measured: {', '.join(absent)}.")
        return self.over(settings.run_settings(default))


def _collect(
    section: str,
    options: Sequence[_Decorator],
    hand_over: Callable[[dict[str, Any], dict[str, Any]], None],
) -> _Decorator:
    """One decorator for several options.

    Args:
        section: their heading in the help.
        options: the options.
        hand_over: turns the values of the options into arguments of the command.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        earlier_names = {parameter.name for parameter in getattr(command, "__click_params__", ())}

        @wraps(command)
        def collected(*args: Any, **values: Any) -> Any:
            hand_over({name: values.pop(name) for name in names}, values)
            return command(*args, **values)

        in_section(section, *options)(collected)
        parameters: list[click.Parameter] = vars(collected)["__click_params__"]
        names = [
            parameter.name
            for parameter in parameters
            if parameter.name and parameter.name not in earlier_names
        ]
        return collected

    return add


def one_argument(
    section: str, name: str, make: Callable[..., Any], *options: _Decorator
) -> _Decorator:
    """Options that reach a command as one argument, which `make` makes from the given ones.

    `section` is their heading in the help.
    """

    def hand_over(option_values: dict[str, Any], arguments: dict[str, Any]) -> None:
        arguments[name] = make(**option_values)

    return _collect(section, options, hand_over)


def override_options(section: str, *options: _Decorator) -> _Decorator:
    """Options for settings; the given ones reach a command as its `Overrides`.

    `section` is their heading in the help.
    """

    def hand_over(option_values: dict[str, Any], arguments: dict[str, Any]) -> None:
        earlier: Overrides = arguments.get("overrides", Overrides())
        arguments["overrides"] = Overrides({**earlier.values, **given_values(option_values)})

    return _collect(section, options, hand_over)


def given_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options that are on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def declared(
    *kinds: type, but: Iterable[str] = (), only: Iterable[str] | None = None
) -> list[_Decorator]:
    """The options that settings declare, each once; an option that is not given is None.

    Args:
        kinds: dataclasses of settings.
        but: names of fields that have no option here.
        only: names of fields that have one; None for all.
    """
    options = {name: option for kind in kinds for name, option in options_of(kind).items()}
    names = options.keys() - set(but) if only is None else set(only)
    return [_declared(name, option) for name, option in options.items() if name in names]


def _declared(name: str, option: Option, **click_arguments: Any) -> _Decorator:
    flag = option.switch or option.flag or "--" + name.replace("_", "-")
    if option.kind is bool:
        value = not option.default
        return click.option(
            flag, name, is_flag=True, flag_value=value, default=None, help=option.help
        )
    click_arguments = _type(option) | click_arguments
    return click.option(
        flag, name, help=option.help + _default_words(name, option), **click_arguments
    )


def _type(option: Option) -> dict[str, Any]:
    """The arguments by which click reads the option."""
    if option.choices:
        return {"type": OneOf(option.choices, dict(option.aliases))}
    if option.kind is int and option.read is None:
        return {"type": WholeNumberRange(int(option.least), int(option.greatest))}
    if option.kind is float:
        return {"type": NumberRange(option.least, option.greatest, min_open=option.above_least)}

    def read(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else option.parse_written(value)
        except WrongValue as error:
            raise click.BadParameter(f"{value!r} is not {error}.") from None

    return {"callback": read}


def _default_words(name: str, option: Option) -> str:
    """The default for the help; empty where the settings file has one, or there is none."""
    default = option.default
    if name in options_of(Settings) or not (default or option.kind is float):
        return ""
    words = ",".join(default) if isinstance(default, tuple) else default
    return f"  [default: {words:g}]" if option.kind is float else f"  [default: {words}]"


def _setting(kind: type, name: str, **click_arguments: Any) -> _Decorator:
    return _declared(name, options_of(kind)[name], **click_arguments)


_cache_dir = _setting(Settings, "cache_dir", type=Folder(), callback=None)
cache_dir_option = override_options("Cache", _cache_dir)
cache_options = override_options(
    "Cache",
    _cache_dir,
    _setting(Settings, "cache_limit", callback=read_size, metavar="SIZE"),
    _setting(Settings, "use_cache"),
)


def _add_to_spec(option_values: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Hand the options over as the argument `spec`, with the name where one model is named."""
    spec: ModelSpec = arguments.get("spec", ModelSpec())
    arguments["spec"] = replace(spec, **given_values(option_values))


_spec_options = _collect("Model", declared(ModelSpec, but=["name"]), _add_to_spec)
_trust_option = one_argument(
    "Model",
    "trusted",
    lambda trust_remote_code: TrustedModels(every=trust_remote_code),
    click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Let Python code that comes with the model run, with your rights: read it first.",
    ),
)


def model_options(command: Any) -> Any:
    """Options of a model, and whether its own code may run."""
    return _spec_options(_trust_option(command))


def refuse_trust_in_last_model(values: Mapping[str, Any]) -> None:
    """Refuse to trust the last opened model: a file names it, not the command line."""
    if values["trust_remote_code"] and values["model"] is None:
        raise click.UsageError("--trust-remote-code is for the model that --model names.")


def _one_model(model: str | None, by_option: str | None) -> ModelSpec:
    """The model of a command, which must be named exactly once."""
    if model is not None and by_option is not None:
        raise click.UsageError("The model is named twice: by MODEL and by --model.")
    name = by_option if model is None else model
    if name is None:
        raise click.UsageError("Missing argument 'MODEL'.")
    return ModelSpec(name=name)


model_argument_or_option = one_argument(
    "Model",
    "spec",
    _one_model,
    click.argument("model", required=False, shell_complete=complete_models),
    click.option("--model", "by_option", shell_complete=complete_models, help="The same as MODEL."),
)


def _prompt_options(default_examples: int) -> _Decorator:
    """Options for prompts; `default_examples` is the default number of a task's prompts."""
    return one_argument(
        "Prompts",
        "prompt_options",
        partial(PromptOptions, default_examples=default_examples),
        click.option("--prompt", "prompts", multiple=True, help="A prompt; may be given again."),
        click.option(
            "--answer",
            "answers",
            multiple=True,
            help="The answer of a --prompt: its end, appended where it lacks it.",
        ),
        click.option(
            "--prompt-file",
            "files",
            multiple=True,
            type=click.Path(path_type=Path),
            help="Plain text (one prompt) or JSONL with `text` and optionally `answer`, `task`, "
            "`level`, `choices`; - for standard input.",
        ),
        click.option(
            "--task",
            help="Prompts of a task; `depthtui tasks` lists them.",
            shell_complete=complete_tasks,
        ),
        click.option(
            "--level",
            help="Level of the task's prompts; `depthtui tasks` lists levels and defaults.",
        ),
        click.option(
            "--examples",
            type=WholeNumberRange(1, MOST_EXAMPLES),
            help=f"Number of prompts of the task.  [default: {default_examples}]",
        ),
        click.option("--choices", is_flag=True, help="Ask with options to choose from."),
        click.option(
            "--shots",
            type=WholeNumberRange(0),
            default=0,
            metavar="K",
            help="Solved others before each question.  [default: 0]",
        ),
    )


corpus_options = _collect(
    "Prompts",
    [
        click.option("--texts", type=_FILE, help="A corpus, read in --examples windows."),
        click.option(
            "--window", type=WholeNumberRange(4), help="Tokens of a window.  [default: 512]"
        ),
    ],
    # Of the options of prompts, which stand above.
    lambda values, others: others.update(
        prompt_options=replace(others["prompt_options"], **values)
    ),
)
run_prompt_options = _prompt_options(EXAMPLES)
generate_prompt_options = _prompt_options(1)
_of_rows = (
    click.option(
        "--data",
        multiple=True,
        callback=_data_files,
        metavar="NAME=FILE",
        help="File of the data set that --task names; else the one on this disk, or the hub's.",
    ),
    click.option(
        "--sample", is_flag=True, help="Draw a data set's prompts by the seed, not its first ones."
    ),
)
row_options = one_argument("Data sets", "dataset", DatasetOptions, *_of_rows)
dataset_options = one_argument(
    "Data sets",
    "dataset",
    DatasetOptions,
    *_of_rows,
    click.option(
        "--max-tokens",
        type=WholeNumberRange(1),
        help="Leave longer prompts out; a data set's next ones replace them.",
    ),
)


def _metrics_option(default: tuple[str, ...]) -> _Decorator:
    return _declared(
        "metrics",
        replace(options_of(RunSettings)["metrics"], default=default),
        callback=names_from(_metric_names, _no_such_metric),
        metavar="all|NAME,…",
        shell_complete=complete_metrics,
    )


_OF_READING = (
    *("lens_top_k", "chat_template", "seed", "lens", "confidence", "settling_threshold"),
    *("kl_threshold", "overlap_threshold"),
)
_IN_PART = (*OF_A_PART, "tolerance", "riemann_steps")
_LENSES = ("lens", "lens_texts", "lens_ridge")
_measuring_options = override_options(
    "Measuring",
    _metrics_option(DEFAULT_METRICS),
    *declared(RunSettings, SummarySettings, but=["metrics", *_IN_PART, *_LENSES]),
)
_lens_options = override_options("Lens", *declared(RunSettings, SummarySettings, only=_LENSES))
_part_options = override_options(
    "Slower metrics",
    *declared(RunSettings, only=_IN_PART),
    click.option(
        "--baseline-file",
        "baseline",
        callback=_baseline,
        type=click.Path(path_type=Path),
        help="Prompts whose mean residual erasure puts in.  [default: ten grade-school problems]",
    ),
)


def run_options(command: Any) -> Any:
    """Options for the measurement."""
    return _measuring_options(_lens_options(_part_options(command)))


reading_options = override_options(
    "Measuring",
    _metrics_option(RunSettings.metrics),
    *declared(RunSettings, SummarySettings, only=_OF_READING),
)
"""Options for the depths of the tokens that a model writes."""

writing_options = override_options("Writing", *declared(Writing, but=["seed"]))


def _trackers(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[TrackerChoice, ...]:
    if not values:
        return ()
    from depthtui.trackers import TrackerChoice

    try:
        return tuple(TrackerChoice.of(value) for value in values)
    except DepthError as error:
        raise click.BadParameter(str(error)) from None


class _FormatOption(click.Option):
    """`--format`, whose help has the formats of plug-ins too, and loads them when it is read."""

    def __init__(self, *args: Any, subject: Subject, **options: Any) -> None:
        super().__init__(*args, **options)
        self._subject = subject

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option and its help."""
        from depthtui.report.formats import format_help

        record = super().get_help_record(ctx)
        return record and (record[0], f"{format_help(self._subject)}.  {record[1]}")


def _format_names(subject: Subject) -> Sequence[str]:
    from depthtui.report.formats import format_titles

    return tuple(format_titles(subject))


def files_to_write(folder: str, subject: Subject, formats: str) -> tuple[_Decorator, ...]:
    """`--out`, `--format` and `--log`.

    Args:
        folder: the folder's purpose, as help.
        subject: the subject of the files.
        formats: the default formats, as help.
    """
    return (
        click.option("--out", type=Folder(), help=folder),
        click.option(
            "--format",
            "formats",
            cls=_FormatOption,
            subject=subject,
            callback=names_from(partial(_format_names, subject)),
            metavar="NAME,…",
            help=f"[default: {formats}]",
        ),
        click.option(
            "--log",
            "trackers",
            multiple=True,
            callback=_trackers,
            metavar="NAME[=PLACE]",
            help="Log to trackio, wandb, tensorboard or mlflow: PLACE is a project, experiment or "
            "folder. Again for more.",
        ),
    )


palette_option = override_options("Files", _setting(Settings, "palette"))
out_options = one_argument(
    "Files",
    "output",
    OutOptions,
    *files_to_write("Folder to write the summary to.", "runs", "json"),
)


@dataclass(frozen=True)
class CommandPrompts:
    """The prompts of a command.

    Attributes:
        prompts: the prompts, in order.
        more: prompts of a data set, of which only short enough ones are run.
        n_more: how many of `more` to run.
        corpus: a corpus, whose windows are run in place of prompts.
    """

    prompts: list[Prompt]
    more: Iterable[Prompt] = ()
    n_more: int = 0
    corpus: Corpus | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics in place of the default set; empty for these."""
        return () if self.corpus is None else (*RunSettings.metrics, "perplexity")


def gather_prompts(
    prompt_options: PromptOptions,
    settings: Settings,
    dataset: DatasetOptions | None = None,
    in_halves: bool = False,
) -> CommandPrompts:
    """Typed prompts, then prompts of files, then of a task or a data set; or a corpus alone.

    `in_halves` is that of `Asking`.
    """
    from depthtui.prompts.answers import with_answer
    from depthtui.prompts.asking import Asking
    from depthtui.prompts.corpus import read_corpus
    from depthtui.prompts.dataset_formats import DATASETS
    from depthtui.prompts.prompt_files import ask_prompts, read_prompts, read_standard_input
    from depthtui.prompts.tasks import make_prompts

    dataset = dataset or DatasetOptions()
    task, texts = prompt_options.task, prompt_options.texts
    if texts and (prompt_options.prompts or prompt_options.files or task):
        raise click.UsageError("--texts FILE is in place of --prompt, --prompt-file and --task.")
    if not texts and prompt_options.window:
        raise click.UsageError("--window TOKENS needs --texts FILE.")
    if task is None and (prompt_options.level or (prompt_options.examples and not texts)):
        raise click.UsageError("--level and --examples need --task NAME.")
    if set(dataset.data) - {task}:
        raise click.UsageError("--data NAME=FILE needs --task NAME.")
    if task is not None:
        _refuse_level_in(task)
    if dataset.sample and task not in DATASETS:
        raise click.UsageError("--sample needs a data set as --task.")
    if prompt_options.answers and len(prompt_options.answers) != len(prompt_options.prompts):
        raise click.UsageError("--answer is given once for each --prompt TEXT, or not at all.")
    asking = Asking(prompt_options.choices, prompt_options.shots, settings.seed, in_halves)
    if (asking.choices or asking.shots) and prompt_options.prompts:
        raise click.UsageError(
            "--choices and --shots are for --task NAME and --prompt-file FILE, not for --prompt."
        )
    answers = prompt_options.answers or ("",) * len(prompt_options.prompts)
    prompts = [with_answer(*typed) for typed in zip(prompt_options.prompts, answers, strict=True)]
    count = prompt_options.examples or prompt_options.default_examples
    try:
        if texts:
            corpus = read_corpus(texts, prompt_options.window or _WINDOW, count)
            return CommandPrompts([], corpus=corpus)
        for path in prompt_options.files:
            own = read_standard_input() if str(path) == "-" else read_prompts(path)
            prompts += ask_prompts(own, str(path), asking)
        if task in DATASETS:
            return _with_dataset(prompts, task, prompt_options, dataset, settings, asking)
        if task is not None:
            prompts += make_prompts(task, prompt_options.level, count, settings.seed, asking)
    except DepthError as error:
        raise click.UsageError(str(error)) from error
    if not prompts:
        raise click.UsageError("Give a prompt: --prompt TEXT, --prompt-file FILE or --task NAME.")
    return CommandPrompts(prompts)


def _refuse_level_in(task: str) -> None:
    """Refuse a task `NAME:LEVEL`, the form of sweeps; the error names the option for the level."""
    from depthtui.prompts.dataset_formats import DATASETS
    from depthtui.prompts.tasks import TASKS

    name, _, level = task.partition(":")
    if name != task and (name in TASKS or name in DATASETS):
        one_level = level if level.isdecimal() and len(level) < 10 else "LEVEL"
        raise click.UsageError(
            f"{short_repr(task)} is a task with its levels, as in `depthtui sweep`, which runs "
            f"several. Write --task {name} --level {one_level}."
        )


def _with_dataset(
    prompts: list[Prompt],
    name: str,
    prompt_options: PromptOptions,
    dataset: DatasetOptions,
    settings: Settings,
    asking: Asking,
) -> CommandPrompts:
    """The prompts, and the requested number of prompts of a data set."""
    from depthtui.prompts.datasets import read_dataset, rows

    source = dataset.data.get(name)
    sample_seed = settings.seed if dataset.sample else None
    folder = datasets_dir(settings.cache_folder)
    count, level = prompt_options.examples or prompt_options.default_examples, prompt_options.level
    if dataset.max_tokens is None:
        fewest = prompt_options.examples or 1
        dataset_prompts = read_dataset(
            name, source, count, sample_seed, level, folder, fewest, asking
        )
        return CommandPrompts(prompts + dataset_prompts)
    # Only the model's tokenizer can tell which of them are short enough.
    more = rows(name, source, sample_seed, level, folder, asking)
    return CommandPrompts(prompts, more, count)
