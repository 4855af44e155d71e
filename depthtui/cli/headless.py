"""`depthtui run`: the engine in this process, prompts in, a table and a summary out."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from depthtui.cli.progress import ProgressDisplay
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.depth.problems import problems_of
from depthtui.engine.factory import Storage, make_engine
from depthtui.errors import DepthError
from depthtui.metrics.needed_settings import with_other_prompts
from depthtui.metrics.patch import NO_SOURCE
from depthtui.metrics.reduction import reduce_run
from depthtui.metrics.registry import METRIC_BY_NAME, unavailable_in_words
from depthtui.models.catalog import check_layers
from depthtui.models.reach import check_can_open

if TYPE_CHECKING:
    from depthtui.engine.engine import Engine
    from depthtui.prompts.corpus import Corpus


@dataclass(frozen=True)
class RunJob:
    """The work of a command, and the place of its results.

    Attributes:
        spec: the model.
        prompts: the prompts, in order.
        settings: the settings of every run.
        storage: the storage of models and results.
        trusted: the models whose own Python code may run.
        max_tokens: longer prompts are left out; None for no limit.
        more: further prompts, used only where `max_tokens` is set.
        n_more: how many of `more` to run: the first short enough ones.
        named_metrics: metrics that the user named; one that no prompt has is a failure.
        states: files of states from another engine, in place of prompts.
        corpus: a corpus, in place of prompts.
    """

    spec: ModelSpec
    prompts: Sequence[Prompt]
    settings: RunSettings
    storage: Storage
    trusted: Container[ModelSpec] = ()
    max_tokens: int | None = None
    more: Iterable[Prompt] = ()
    n_more: int = 0
    named_metrics: Sequence[str] = ()
    states: Sequence[Path] = ()
    corpus: Corpus | None = None


def run_job(
    job: RunJob,
    notice: Callable[[str], None],
    fail: Callable[[str], None],
    on_bug: Callable[[Exception], str],
) -> list[RunResult]:
    """Run every prompt; report a failure of one, or of its metrics, and run the others.

    Args:
        job: the work.
        notice: called with messages that are no failures.
        fail: called with the reason why a prompt, or a metric of it, failed.
        on_bug: keeps the details of an unexpected failure, and puts it in words.

    Returns:
        The runs that succeeded, in the order of the prompts.

    Raises:
        DepthError: the model cannot be loaded, or every prompt is too long.
    """
    # Report a model that cannot be opened before importing torch, which takes seconds.
    check_can_open(job.spec, job.storage.models_dir, job.spec in job.trusted)
    check_layers(job.spec, job.storage.models_dir, job.settings.layers)
    with ProgressDisplay(notice) as display:
        engine = make_engine(job.storage, display.emit, notice, on_bug, job.trusted)
        if job.states:
            from depthtui.engine.readout import load_for_states

            settings = load_for_states(engine, job.spec, job.states, job.settings, fail)
            job = replace(job, settings=settings)
        else:
            engine.load(job.spec)
        if job.corpus is not None:
            job = replace(job, prompts=job.corpus.windows(engine.tokens_of, notice))
        if job.max_tokens is not None:
            job = replace(job, prompts=_short_enough(job, job.max_tokens, engine, notice))
        display.n_prompts = len(job.states or job.prompts)
        results: list[RunResult] = []
        for number in range(display.n_prompts):
            display.prompt_begins(number)
            try:
                result = _run(job, number, engine, results)
                results.append(result)
                for problem in problems_of(reduce_run(result)):
                    fail(_of_prompt(number, job, problem))
            except DepthError as error:
                fail(_of_prompt(number, job, str(error)))
            except Exception as error:
                fail(_of_prompt(number, job, on_bug(error)))
        for problem in unavailable_in_words(job.named_metrics, results):
            fail(problem)
        if any(_lacks_answer(result) for result in results):
            notice(
                "--answer TEXT gives a --prompt its answer; `answer` gives it to a line of "
                "--prompt-file."
            )
        if any(NO_SOURCE in result.unavailable.values() for result in results):
            notice("--patch-from TEXT names the text to patch from.")
        return results


def _run(job: RunJob, number: int, engine: Engine, earlier_runs: Sequence[RunResult]) -> RunResult:
    """Run a prompt of a job, or measure its states, after the prompts before it."""
    if job.states:
        return engine.read_states(job.states[number], job.settings, run_id=number)
    settings = with_other_prompts(job.settings, job.prompts, number, before=earlier_runs)
    return engine.run(job.prompts[number], settings, run_id=number)


def _short_enough(
    job: RunJob, max_tokens: int, engine: Engine, notice: Callable[[str], None]
) -> list[Prompt]:
    """The prompts of at most `max_tokens` tokens; prints a notice where they are too few."""

    def fits(prompt: Prompt) -> bool:
        return engine.count_tokens(prompt, job.settings.chat_template) <= max_tokens

    prompts = [*filter(fits, job.prompts), *islice(filter(fits, job.more), job.n_more)]
    if not prompts:
        raise DepthError(f"No prompt has at most {max_tokens} tokens.", "Raise --max-tokens.")
    n_requested = len(job.prompts) + job.n_more
    if len(prompts) < n_requested:
        notice(f"Of {n_requested} prompts, {len(prompts)} have at most {max_tokens} tokens.")
    return prompts


def _lacks_answer(result: RunResult) -> bool:
    """Whether a metric is unavailable because the prompt has no answer."""
    needs_answer = any(METRIC_BY_NAME[name].needs_answer for name in result.unavailable)
    return needs_answer and result.answer_start >= len(result.tokens)


def _of_prompt(number: int, job: RunJob, problem: str) -> str:
    alone = len(job.states or job.prompts) == 1
    return problem if alone else f"prompt {number + 1}: {problem}"
