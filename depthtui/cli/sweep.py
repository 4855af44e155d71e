"""`depthtui sweep`: models x tasks, and their comparison."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from depthtui.cli.command_help import SectionedCommand, command_line, in_section, words_of
from depthtui.cli.compare_answers import LOG
from depthtui.cli.completion import complete_models, complete_tasks
from depthtui.cli.one_of import OneOf
from depthtui.cli.output import (
    ended_as_by_ctrl_c,
    is_plain,
    log_to,
    print_document,
    print_notice,
    print_written,
)
from depthtui.cli.prompt_command import is_task, path_exists
from depthtui.cli.shared_options import (
    Overrides,
    WholeNumberRange,
    cache_options,
    declared,
    files_to_write,
    given_values,
    model_options,
    one_argument,
    run_options,
    writing_options,
)
from depthtui.data.run_settings import (
    DEFAULT_METRICS,
    Drawing,
    ModelSpec,
    RunSettings,
    Writing,
)
from depthtui.data.sentence import plural
from depthtui.data.trust import TrustedModels
from depthtui.errors import DepthError, short_repr
from depthtui.files import expand_home
from depthtui.log import log_bug
from depthtui.options import options_of
from depthtui.parallel.group import ranks_started
from depthtui.settings import Settings, datasets_dir

if TYPE_CHECKING:
    from depthtui.data.lm_eval_results import LoggedAnswers
    from depthtui.sweep.display import SweepDisplay
    from depthtui.sweep.folder import SweepFolder
    from depthtui.sweep.plan import SweepPlan
    from depthtui.sweep.state import Outcome, Shard
    from depthtui.trackers import TrackerChoice


_FOR_THE_WHOLE = {
    "--slurm": 1,
    "--sbatch": 1,
    "--submit": 0,
    "--out": 1,
    "--format": 1,
    "--lm-eval": 1,
}
"""Options that the Slurm scripts replace or omit, with the number of values of each."""

_MERGE_ALONE = "--merge takes folders, each by a --merge of its own, and no models and tasks."


def _sbatch(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, ...]:
    if value is None:
        return ()
    from depthtui.sweep.on_slurm import sbatch_options

    try:
        return sbatch_options(value)
    except DepthError as error:
        raise click.BadParameter(str(error)) from None


def _shard(context: click.Context, parameter: click.Parameter, value: str | None) -> Shard | None:
    if value is None:
        return None
    from depthtui.sweep.state import MOST_SHARDS, Shard

    part = re.fullmatch(r"(\d{1,9})/(\d{1,9})", value)
    index, count = map(int, part.groups()) if part else (0, 0)
    if not 1 <= index <= count <= MOST_SHARDS:
        raise click.BadParameter(
            f"{short_repr(value)} is not such as 1/4, 2/4 … 4/4, of at most {MOST_SHARDS:,} parts."
        )
    return Shard(index, count)


def _gpus(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """The number of GPUs; 0 for all."""
    if value in (None, "all"):
        return None if value is None else 0
    if not re.fullmatch(r"[1-9]\d{0,3}", value):
        raise click.BadParameter(f"{short_repr(value)} is neither a number of GPUs nor all.")
    return int(value)


def _plan_file(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Path | None:
    """The file of the plan; for models or tasks in its place, the error has the command meant."""
    from depthtui.models.catalog import looks_like_a_path

    others = [name for name in values if not _may_be_a_plan(name)]
    if not others and len(values) > 1:
        raise click.UsageError("A sweep has one plan.", context)
    if not others:
        return next(map(expand_home, values), None)
    words = words_of(context)
    if any(word.partition("=")[0] == "--merge" for word in words):
        raise click.UsageError(_MERGE_ALONE, context)
    for name in others:
        if looks_like_a_path(name) and not path_exists(name):
            raise click.UsageError(
                f"There is no file or folder {name}. A plan is a TOML file, and --model names a "
                "model.",
                context,
            )
    line = _meant_line(words, others)
    command = f": `{command_line(['sweep', *line])}`" if line else ""
    raise click.UsageError(
        f"{others[0]} is no plan. Models and tasks are options here{command}.", context
    )


def _may_be_a_plan(name: str) -> bool:
    is_file = path_exists(name) and not os.path.isdir(os.path.expanduser(name))
    return name.endswith(".toml") or (is_file and not name.endswith(".gguf"))


def _meant_line(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """The words behind the command, with models and tasks as options; none if uncertain."""
    options = {word.partition("=")[0] for word in words}
    named = [name for word in words for name in {word, word.partition("=")[2]}]
    if "--" in words or any(named.count(name) > 1 for name in names):
        return []
    line = list(words)
    for name in names:
        place = line.index(name)
        line[place : place + 1] = ["--task" if is_task(name) else "--model", name]
    options.update(line)
    if "--model" not in options:
        line += ["--model", "MODEL"]
    if not options & {"--task", "--protocol"}:
        line += ["--task", "NAME"]
    return line


@dataclass(frozen=True)
class PlanOptions:
    """The part of a plan that is given on the command line.

    Attributes:
        models: names of models.
        tasks: tasks, as `parse_task` reads them.
        levels: `all`, or None for the tasks' default levels.
        data: files of data sets, as `NAME=FILE`.
        protocol: `paper`, or None.
        write: whether the models also write their own answers.
    """

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    levels: str | None
    data: tuple[str, ...]
    protocol: str | None
    write: bool


@dataclass(frozen=True)
class SlurmOptions:
    """How a Slurm cluster runs a sweep.

    Attributes:
        slurm: tasks of the array; None to run here.
        sbatch: options of sbatch.
        submit: whether to submit the scripts.
    """

    slurm: int | None
    sbatch: tuple[str, ...]
    submit: bool


def _drawing(longest: int | None, **values: Any) -> Drawing:
    """How prompts are drawn, by the options that are given; longer prompts are left out."""
    return replace(Drawing(max_tokens=longest or 0), **given_values(values))


_plan_options = one_argument(
    "Plan",
    "plan_options",
    PlanOptions,
    click.option(
        "--model",
        "models",
        multiple=True,
        shell_complete=complete_models,
        help="A model; give it again for more.",
    ),
    click.option(
        "--task",
        "tasks",
        multiple=True,
        metavar="NAME[:LEVEL]",
        shell_complete=complete_tasks,
        help="A task, also at levels such as 3, 1,3,5, 1-5 or * for all; give it again for more.",
    ),
    click.option("--levels", type=OneOf(["all"]), help="Every level of the tasks that name none."),
    click.option(
        "--data",
        multiple=True,
        metavar="NAME=FILE",
        help="A file of a data set's rows, or of prompts that are a task of that name.",
    ),
    click.option(
        "--protocol",
        type=OneOf(["paper"]),
        help="The paper's data sets, counts and thresholds.",
    ),
    click.option(
        "--write",
        is_flag=True,
        help="Measure each model also on the answers that it writes itself.",
    ),
)
_drawing_options = one_argument(
    "Plan",
    "drawing",
    _drawing,
    *declared(Drawing, but=["max_tokens"]),
    # The texts that models write have a `max_tokens`, too.
    click.option(
        "--max-tokens",
        "longest",
        type=WholeNumberRange(1),
        help=options_of(Drawing)["max_tokens"].help,
    ),
)
_slurm_options = one_argument(
    "Machines",
    "jobs",
    SlurmOptions,
    click.option(
        "--slurm",
        type=WholeNumberRange(1),
        metavar="N",
        help="Write scripts for Slurm: an array of N tasks, and a job that merges.",
    ),
    click.option(
        "--sbatch",
        callback=_sbatch,
        metavar="OPTIONS",
        help="Options of sbatch, such as '--partition=gpu --gres=gpu:1 --time=2:00:00'.",
    ),
    click.option("--submit", is_flag=True, help="Submit the scripts too."),
)


@click.command(
    cls=SectionedCommand,
    common=(
        *("plan_file", "models", "tasks", "levels", "examples", "data", "matched", "protocol"),
        *("write", "max_tokens"),
        *("gpus", "slurm", "metrics", "lens", "layers", "seed", "device", "dtype"),
        *("trust_remote_code", "cache_dir", "out", "formats"),
    ),
    examples=[
        "depthtui sweep --model demo --task 'addition:*' --task commonsense",
        "depthtui sweep --model demo --task addition:1-3 --matched 256",
        "depthtui sweep plan.toml --protocol paper --data gsm8k=gsm8k.jsonl",
        "depthtui sweep --model demo --task grade_school --write --max-new-tokens 60",
        "depthtui sweep plan.toml --shard 1/4 --out part-1/",
        "depthtui sweep --merge part-1/ --merge part-2/ --out sweep/",
        "depthtui sweep plan.toml --slurm 8 --sbatch '--gres=gpu:1 --time=2:00:00'",
    ],
)
@click.argument(
    "plan_file", metavar="[PLAN.toml]", nargs=-1, type=click.Path(), callback=_plan_file
)
@_plan_options
@_drawing_options
@in_section(
    "Machines",
    click.option(
        "--gpus",
        callback=_gpus,
        metavar="all|N",
        help="Run a cell on each GPU of this machine at a time.",
    ),
    click.option("--shard", callback=_shard, metavar="I/N", help="Run part I of N."),
    click.option(
        "--merge",
        multiple=True,
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="Join folders of sweeps, or of parts of one, instead of running; needs --out.",
    ),
)
@_slurm_options
@writing_options
@run_options
@model_options
@cache_options
@in_section(
    "Files",
    *files_to_write(
        "Folder of records and report.  [default: one in the cache folder]",
        "sweeps",
        "all but parquet, png and pdf",
    ),
    click.option(
        "--lm-eval",
        "logs",
        multiple=True,
        type=LOG,
        metavar="FILE",
        help="Right answers of a model in a results_….json of lm_eval, for the report; give it "
        "again for more.",
    ),
)
def sweep(
    plan_file: Path | None,
    plan_options: PlanOptions,
    drawing: Drawing,
    gpus: int | None,
    shard: Shard | None,
    merge: tuple[Path, ...],
    jobs: SlurmOptions,
    overrides: Overrides,
    spec: ModelSpec,
    trusted: TrustedModels,
    out: Path | None,
    formats: tuple[str, ...] | None,
    trackers: tuple[TrackerChoice, ...],
    logs: tuple[Path, ...],
) -> int:
    """Measure every model on every task, and answer the paper's questions.

    Does effective depth grow with size, do models differ on the same prompts, do harder tasks
    use more of it? Models and tasks come from options or from a TOML file. The record of every
    prompt is kept: the same command continues where it was stopped.
    """
    from depthtui.data.lm_eval_results import read_answers
    from depthtui.report.formats import check_folder
    from depthtui.sweep.folder import SweepFolder
    from depthtui.sweep.saved import default_folder

    _check_usage(gpus, shard, merge, jobs, trackers)
    logged = [read_answers(path) for path in logs]
    if merge:
        if out is None:
            raise click.UsageError("--merge needs --out FOLDER.")
        if plan_file or plan_options.models or plan_options.tasks or plan_options.protocol:
            raise click.UsageError(_MERGE_ALONE)
        return _merge(merge, out, formats, trackers, logged)
    settings = overrides.settings()
    plan = _plan(plan_file, plan_options, drawing, settings, overrides, spec)
    if gpus is not None and any(model.device not in ("auto", "cuda") for model in plan.models):
        raise click.UsageError("--gpus chooses the devices: name none by --device or in the plan.")
    path = out or default_folder(plan, settings.cache_folder)
    if jobs.slurm is not None:
        return _write_for_slurm(plan, jobs, jobs.slurm, path, formats, logs)
    is_whole = shard is None or shard.count == 1
    check_folder(path, "sweeps", formats if is_whole else [])
    folder = SweepFolder(path, print_notice, shard.suffix if shard else "")
    try:
        with ended_as_by_ctrl_c():
            outcome = _ChosenSweep(plan, folder, settings, trusted, shard).run(gpus)
    except KeyboardInterrupt:
        print_notice(f"Stopped. The records are in {path}; the same command continues there.")
        raise
    is_logged = _report(outcome, path, formats, trackers, logged, write=is_whole)
    if shard is not None and not is_whole:
        print_notice(f"Part {shard.index} of {shard.count} is in {path}. Join them with --merge.")
    return 1 if outcome.failures or not is_logged else 0


def _check_usage(
    gpus: int | None,
    shard: Shard | None,
    merge: Sequence[Path],
    jobs: SlurmOptions,
    trackers: Sequence[TrackerChoice],
) -> None:
    """Refuse options that do not go together."""
    if jobs.slurm is None and (jobs.sbatch or jobs.submit):
        raise click.UsageError("--sbatch and --submit need --slurm N.")
    if jobs.slurm is not None and (shard or merge):
        raise click.UsageError("--slurm splits and merges: without --shard and --merge.")
    if trackers and (jobs.slurm is not None or (shard is not None and shard.count > 1)):
        raise click.UsageError("--log takes a whole sweep: log it with --merge.")
    if gpus is not None and merge:
        raise click.UsageError("--gpus runs a sweep: without --merge.")
    if ranks_started() > 1 and (gpus is not None or jobs.slurm is not None):
        raise click.UsageError("--gpus and --slurm start processes: without torchrun.")


def _plan(
    plan_file: Path | None,
    plan_options: PlanOptions,
    drawing: Drawing,
    settings: Settings,
    overrides: Overrides,
    spec: ModelSpec,
) -> SweepPlan:
    """The plan of the file, of the protocol and of the options together."""
    from depthtui.sweep.plan import (
        SweepPlan,
        check_plan,
        parse_data,
        parse_task,
        with_absolute_paths,
        with_written,
    )
    from depthtui.sweep.plan_file import read_plan

    metrics = RunSettings.metrics if plan_options.protocol else DEFAULT_METRICS
    run = overrides.run_settings(settings, metrics)
    writing = overrides.over(settings.writing())
    plan = SweepPlan((), (), run, overrides.over(settings.summary_settings()))
    try:
        data = parse_data(plan_options.data)
        if plan_file is not None:
            plan = read_plan(plan_file, plan, drawing, writing)
        tasks = [
            task
            for text in plan_options.tasks
            for task in parse_task(text, data, drawing, plan_options.levels == "all")
        ]
        specs = [replace(spec, name=name) for name in plan_options.models]
        plan = replace(plan, models=(*plan.models, *specs), tasks=(*plan.tasks, *tasks))
        if plan_options.protocol:
            if not tasks and drawing != Drawing():
                raise DepthError("--protocol paper fixes which prompts are run, and how many.")
            plan = _on_the_papers_data(plan, data, settings)
        if plan_options.write:
            plan = with_written(plan, writing)
        _check_writing(plan, overrides)
        return check_plan(with_absolute_paths(plan))
    except DepthError as error:
        raise click.UsageError(str(error)) from error


def _check_writing(plan: SweepPlan, overrides: Overrides) -> None:
    """Refuse choices for texts that nobody writes."""
    chosen = (options_of(Writing).keys() - {"seed"}) & overrides.values.keys()
    if chosen and not any(task.write for task in plan.tasks):
        raise click.UsageError("--max-new-tokens, --temperature, --top-k and --top-p need --write.")


def _on_the_papers_data(plan: SweepPlan, data: Mapping[str, str], settings: Settings) -> SweepPlan:
    """The plan under the paper's protocol, on its data sets that are available."""
    from depthtui.cli.paper_protocol import missing_datasets
    from depthtui.prompts.local_datasets import how_to_get
    from depthtui.prompts.paper import PAPER_PROTOCOL
    from depthtui.sweep.paper import with_paper_protocol

    names = [dataset.name for dataset in PAPER_PROTOCOL.datasets]
    names_without_file = [name for name in names if name not in data]
    left_out = missing_datasets(names_without_file, datasets_dir(settings.cache_folder))
    if left_out:
        print_notice(f"Left out, neither on this disk nor on the hub: {', '.join(left_out)}.")
        for name in left_out:
            print_notice(how_to_get(name, datasets_dir(settings.cache_folder)))
    plan = with_paper_protocol(plan, data, left_out)
    present = [name for name in names if name not in left_out]
    print_notice(PAPER_PROTOCOL.in_words(present, plan.summary.seed))
    return plan


@dataclass(frozen=True)
class _ChosenSweep:
    """A sweep, or a part of it, that this process runs or distributes."""

    plan: SweepPlan
    folder: SweepFolder
    settings: Settings
    trusted: TrustedModels
    shard: Shard | None

    def run(self, gpus: int | None) -> Outcome:
        """Run it on GPUs of this machine, or in this process."""
        from depthtui.sweep.display import SweepDisplay

        with SweepDisplay(print_notice, is_plain()) as display:
            return self._here(display) if gpus is None else self._on_gpus(gpus, display)

    def _here(self, display: SweepDisplay) -> Outcome:
        from depthtui.engine.factory import Storage, make_engine
        from depthtui.sweep.in_process import run_sweep

        storage = Storage.of(self.settings).without_activations()
        return run_sweep(
            self.plan,
            self.folder,
            lambda emit: make_engine(storage, emit, print_notice, log_bug, self.trusted),
            storage.models_dir,
            display,
            print_notice,
            log_bug,
            self.shard,
        )

    def _on_gpus(self, n_gpus: int, display: SweepDisplay) -> Outcome:
        from depthtui.engine.factory import Storage
        from depthtui.models.devices import visible_gpus
        from depthtui.sweep.on_gpus import GpuEngine, run_on_gpus

        gpus = visible_gpus()
        if len(gpus) < max(n_gpus, 1):
            words = plural(len(gpus), "CUDA GPU") if gpus else "no CUDA GPU"
            hint = "--gpus all uses all of them." if gpus else "Leave --gpus out."
            raise DepthError(f"--gpus needs more than this machine has: {words}.", hint)
        storage = Storage.of(self.settings).without_activations()
        engine = GpuEngine(storage, self.trusted.every)
        chosen = gpus[: n_gpus or None]
        return run_on_gpus(
            self.plan, self.folder, chosen, engine, display, print_notice, self.shard
        )


def _write_for_slurm(
    plan: SweepPlan,
    jobs: SlurmOptions,
    tasks: int,
    out: Path,
    formats: tuple[str, ...] | None,
    logs: Sequence[Path],
) -> int:
    """Write the scripts for Slurm; submit them, or print how to."""
    from depthtui.report.formats import check_folder
    from depthtui.sweep.merge import check_can_join
    from depthtui.sweep.on_slurm import SlurmSweep, check_sbatch, submit, write_scripts
    from depthtui.sweep.state import MOST_SHARDS

    check_folder(out, "sweeps", formats)
    check_can_join(out, plan)
    if tasks > MOST_SHARDS:
        raise click.UsageError(f"--slurm {tasks} is more than {MOST_SHARDS:,} parts.")
    if jobs.submit:
        check_sbatch()
    words = _words_of_a_part(words_of(click.get_current_context()))
    paths = tuple(log.absolute() for log in logs)
    sweep = SlurmSweep(words, Path.cwd(), out.absolute(), formats or (), tasks, jobs.sbatch, paths)
    print_written(write_scripts(sweep))
    if not jobs.submit:
        click.echo("\n".join(["Submit them:", *sweep.commands]))
        return 0
    array, merge = submit(sweep)
    click.echo(f"Submitted as job {array}, and {merge}, which waits for it to end and merges.")
    return 0


def _words_of_a_part(words: Sequence[str]) -> tuple[str, ...]:
    """The arguments that each part of the sweep is run with."""
    part_words, rest = [], iter(words)
    for word in rest:
        name, sign, _ = word.partition("=")
        if name not in _FOR_THE_WHOLE:
            part_words.append(word)
        elif not sign and _FOR_THE_WHOLE[name]:
            next(rest)
    return tuple(part_words)


def _merge(
    parts: Sequence[Path],
    out: Path,
    formats: tuple[str, ...] | None,
    trackers: Sequence[TrackerChoice],
    logged: Sequence[Sequence[LoggedAnswers]],
) -> int:
    from depthtui.report.formats import check_folder
    from depthtui.sweep.folder import SweepFolder
    from depthtui.sweep.merge import merge_sweeps

    check_folder(out, "sweeps", formats)
    outcome = merge_sweeps(parts, SweepFolder(out, print_notice), print_notice)
    is_logged = _report(outcome, out, formats, trackers, logged, write=True)
    return 1 if outcome.failures or not is_logged else 0


def _report(
    outcome: Outcome,
    folder: Path,
    formats: tuple[str, ...] | None,
    trackers: Sequence[TrackerChoice],
    logged: Sequence[Sequence[LoggedAnswers]],
    write: bool,
) -> bool:
    """Write, print and log the report; whether every tracker took it."""
    from depthtui.sweep.questions import questions
    from depthtui.sweep.report.export import sweep_report
    from depthtui.sweep.summary import summarise_sweep

    summary = replace(summarise_sweep(outcome), logged=logged)
    report = sweep_report(summary, questions(summary))
    # Files come first: the reader of the printed table may stop reading.
    files = report.write(folder, formats) if write else []
    print_document(report.document())
    print_written(files)
    return log_to(trackers, report)
