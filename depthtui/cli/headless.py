"""`depthtui run`: the engine in this process, prompts in, a table and a summary out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from depthtui.data import protocol
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.engine.factory import Storage, make_engine
from depthtui.errors import DepthError
from depthtui.metrics import METRIC_BY_NAME, after_prompts, failures_in_words
from depthtui.models.reach import check_at_hand
from depthtui.report.progress import EngineProgress, LogLines
from depthtui.sizes import about
from depthtui.token_text import printable_line

if TYPE_CHECKING:
    from depthtui.engine.engine import Engine


_SECONDS_WORTH_SAYING = 5.0
"""What takes longer is told before it begins."""

_MOST_REASONS = 3
"""So many are told where they differ from prompt to prompt."""


@dataclass(frozen=True)
class Job:
    """What to compute and where to keep it.

    Attributes:
        spec: the model.
        prompts: in order.
        settings: of every run.
        storage: where models and results are.
        max_tokens: longer prompts are left out; None for no limit.
        more: comes after `prompts`; only looked at under `max_tokens`.
        n_more: how many of `more` to run: the first that are short enough.
        named: metrics that were asked for by name: it is a failure where no prompt has one.
    """

    spec: ModelSpec
    prompts: Sequence[Prompt]
    settings: RunSettings
    storage: Storage
    max_tokens: int | None = None
    more: Iterable[Prompt] = ()
    n_more: int = 0
    named: Sequence[str] = ()


def run_job(
    job: Job,
    notice: Callable[[str], None],
    fail: Callable[[str], None],
    on_bug: Callable[[Exception], str],
) -> list[RunResult]:
    """Run every prompt; one that fails, or a metric of it, is told and the others go on.

    Args:
        job: what to compute.
        notice: told what is worth knowing but no failure.
        fail: told why a prompt failed, or a metric of it.
        on_bug: keeps the details of an unexpected failure, and puts it in words.

    Returns:
        The runs that succeeded, in the order of the prompts.

    Raises:
        DepthError: the model cannot be loaded, or every prompt is too long.
    """
    # What cannot be opened is told before torch is imported, which takes seconds.
    check_at_hand(job.spec, job.storage.models_dir)
    with Display(notice) as display:
        engine = make_engine(job.storage, display.emit, display.notice, on_bug)
        engine.load(job.spec)
        if job.max_tokens is not None:
            job = replace(job, prompts=_short_enough(job, job.max_tokens, engine, notice))
        display.n_prompts = len(job.prompts)
        results: list[RunResult] = []
        for number, prompt in enumerate(job.prompts):
            display.prompt_begins(number)
            try:
                settings = after_prompts(job.settings, [len(run.tokens) for run in results])
                result = engine.run(prompt, settings, run_id=number)
                results.append(result)
                for problem in failures_in_words(result.failed, result.unavailable):
                    fail(_of_prompt(number, job, problem))
            except DepthError as error:
                fail(_of_prompt(number, job, str(error)))
            except Exception as error:
                fail(_of_prompt(number, job, on_bug(error)))
        for problem in _had_by_none(job.named, results):
            fail(problem)
        if any(_lacks_answer(result) for result in results):
            notice("--prompt-file can say what the answer is: JSONL with `text` and `answer`.")
        return results


def _short_enough(
    job: Job, max_tokens: int, engine: Engine, notice: Callable[[str], None]
) -> list[Prompt]:
    """The prompts of at most `max_tokens` tokens; says where they are fewer than were asked for."""

    def fits(prompt: Prompt) -> bool:
        return engine.count_tokens(prompt, job.settings.chat_template) <= max_tokens

    prompts = [*filter(fits, job.prompts), *islice(filter(fits, job.more), job.n_more)]
    if not prompts:
        raise DepthError(f"No prompt has at most {max_tokens} tokens.", "Raise --max-tokens.")
    wanted = len(job.prompts) + job.n_more
    if len(prompts) < wanted:
        notice(f"Of {wanted} prompts, {len(prompts)} have at most {max_tokens} tokens.")
    return prompts


def _had_by_none(names: Iterable[str], results: Sequence[RunResult]) -> Iterator[str]:
    """A sentence for each of these metrics that no run can have; not of those that failed."""
    for name in names:
        reasons = [
            result.unavailable[name]
            for result in results
            if name in result.unavailable and name not in result.failed
        ]
        if reasons and len(reasons) == len(results):
            which = f" on all {len(reasons)} prompts" * (len(reasons) > 1)
            told = list(dict.fromkeys(reason.rstrip(".") for reason in reasons))
            words = "; ".join([*told[:_MOST_REASONS], *["…"] * (len(told) > _MOST_REASONS)])
            yield f"{METRIC_BY_NAME[name].title} is unavailable{which}: {words}."


def _lacks_answer(result: RunResult) -> bool:
    """Whether a metric could not be had for want of an answer."""
    wanted = any(METRIC_BY_NAME[name].needs_answer for name in result.unavailable)
    return wanted and result.answer_start >= len(result.tokens)


def _of_prompt(number: int, job: Job, problem: str) -> str:
    return problem if len(job.prompts) == 1 else f"prompt {number + 1}: {problem}"


class _TimeLeft(ProgressColumn):
    """How long a stage still takes, at the rate of its steps so far."""

    def render(self, task: Task) -> Text:
        seconds = task.time_remaining
        if seconds is None or seconds < _SECONDS_WORTH_SAYING:
            return Text("")
        return Text(f"{about(seconds)} left")


class Display:
    """A progress bar on stderr where that is a terminal, else a line now and then."""

    def __init__(self, notice: Callable[[str], None]) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.notice = notice
        self._log = LogLines(notice, is_heard=not console.is_terminal)
        self.n_prompts = 0
        self._stage = ""
        self._task: TaskID | None = None
        self._engine = EngineProgress()

    def __enter__(self) -> Display:
        self._progress.start()
        # To import torch takes seconds.
        self._show("starting", 0, 0, "")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def emit(self, event: protocol.Event) -> None:
        """Show an event of the engine."""
        if isinstance(event, protocol.Notice):
            self.notice(event.message)
        if isinstance(event, protocol.MetricRows) and event.total == 0:
            self._tell_time(event.metric, event.seconds_left)
        step = self._engine.step(event)
        if step is not None:
            self._show(step.stage or self._stage, step.done, step.total, step.amount)

    def _tell_time(self, metric: str, seconds: float) -> None:
        """Say how long a metric that begins is going to take, where one would wonder."""
        if seconds >= _SECONDS_WORTH_SAYING:
            prompt = f"{self._stage}: " if self.n_prompts > 1 else ""
            self.notice(f"{prompt}{METRIC_BY_NAME[metric].title} takes {about(seconds)}.")

    def prompt_begins(self, number: int) -> None:
        """The next rows are of this prompt."""
        self._show(f"prompt {number + 1} of {self.n_prompts}", 0, 0, "")

    def _show(self, stage: str, done: int, total: int, amount: str) -> None:
        if stage != self._stage or self._task is None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._stage = stage
            self._task = self._progress.add_task(printable_line(stage), total=None, amount="")
        self._progress.update(self._task, completed=done, total=total or None, amount=amount)
        self._log.tell(stage, amount)
