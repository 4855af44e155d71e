"""`analyze`: runs from a model and prompts; `read_states`: runs from files of states."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthtui.api.keywords import Keywords, names_of, prompts_of
from depthtui.api.runs import InspectLayer, Runs
from depthtui.data.inspection import Inspection
from depthtui.data.protocol import Event, Notice
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import (
    DEFAULT_METRICS,
    ModelSpec,
    RunSettings,
    SummarySettings,
    Writing,
)
from depthtui.depth.problems import problems_of
from depthtui.engine.factory import Storage, make_engine
from depthtui.engine.state_files import find_state_files
from depthtui.errors import DepthError
from depthtui.metrics.needed_settings import (
    with_adapter_metric,
    with_lens_metric,
    with_other_prompts,
)
from depthtui.metrics.reduction import reduce_run
from depthtui.metrics.registry import unavailable_in_words
from depthtui.models.reach import check_can_open
from depthtui.parallel.group import joined_by, rank_of
from depthtui.report.progress import EngineProgress
from depthtui.settings import load_settings
from depthtui.token_text import printable_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from depthtui.engine.engine import Engine

_SECONDS_BETWEEN_WORDS = 0.1


def analyze(
    model: str | Path | PreTrainedModel,
    prompts: str | Prompt | Iterable[str | Prompt],
    tokenizer: PreTrainedTokenizerBase | None = None,
    metrics: str | Iterable[str] = DEFAULT_METRICS,
    *,
    write: Writing | None = None,
    name: str = "",
    progress: bool = True,
    **options: Any,
) -> Runs:
    """Measure how much of its depth a model uses on prompts.

        from depthtui import analyze

        runs = analyze("demo", ["Seven plus five is twelve.", "The sky is blue."])
        runs.depths()                          # each rule's layer, an index from 0
        runs[0].logit_lens.kl                  # [layers + 1, tokens], in nats
        runs.to_dataframe("contributions")     # a long table, for plots

    A named model is loaded as by `depthtui run`, with the same cache. A loaded model stays on its
    devices and is restored afterwards: the modes of its modules, gradients, configuration, hooks.
    Your own hooks stay on it, and their changes are measured too; its results are not cached.

    Args:
        model: `demo`, a hub id, a folder or a GGUF file; or a causal language model of
            transformers, on one device or several, quantised or offloaded.
        prompts: one or several texts, exactly as the model reads them. A `Prompt` marks the end
            of its text that is the answer, which residual erasure and integrated gradients need.
        tokenizer, name: of a loaded model.
        metrics: names of metrics; `depthtui metrics` lists them.
        write: how the model writes the answers first, such as `Writing(max_tokens=60)`; None for
            the prompts' own. A run's `prompt.answer` is then the text that it wrote.
        progress: whether to show a progress bar.
        options: options of `depthtui run` by their names, such as `lens_top_k=5`,
            `kl_threshold=0.4` or, for a named model, `dtype="bfloat16"` and `use_cache=False`;
            the settings file has the defaults. Also `skipped`, layers to leave out, and
            `baseline`, texts whose mean residual replaces erased ones.

    Returns:
        a run for each prompt, in order. A prompt that cannot be run is left out with a warning;
        `failures` has the reason.

    Raises:
        DepthError: there is no such model, prompt, metric or option, the model cannot be
            traced, or no prompt could be run.
    """
    prompt_list = prompts_of(prompts)
    keywords = Keywords(options, load_settings(on_notice=_warn))
    pooling = keywords.summary_settings()
    settings = with_adapter_metric(keywords.run_settings(names_of(metrics)), keywords.spec(""))
    settings = with_lens_metric(settings, pooling.lens)

    def run(engine: Engine, number: int, before: Sequence[RunResult]) -> RunResult:
        own = with_other_prompts(settings, prompt_list, number, write is not None, before)
        return engine.run(prompt_list[number], own, run_id=number, write=write)

    source = _Source(model, tokenizer, name, keywords)
    results, failures = _run_each(source, len(prompt_list), run, progress)
    return _runs(results, failures, settings, pooling, _ModelInspector(source, pooling.lens))


def check_options(
    names: tuple[str, ...], *, write: Writing | None = None, name: str = "", **options: Any
) -> None:
    """Check the arguments of `analyze` for a loaded model, before it is measured.

    Args:
        names: the names of the metrics.
        write, name, options: as for `analyze`.

    Raises:
        DepthError: there is no such metric or option, or an option is only for a model to load.
    """
    keywords = Keywords(options, load_settings())
    keywords.summary_settings()
    keywords.run_settings(names)
    keywords.check_nothing_to_load()


def read_states(
    model: str | Path | PreTrainedModel,
    states: str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    metrics: str | Iterable[str] = RunSettings.metrics,
    *,
    name: str = "",
    progress: bool = True,
    **options: Any,
) -> Runs:
    """Measure the states that vLLM's `extract_hidden_states` has written, instead of running.

        from depthtui import read_states

        runs = read_states("Qwen/Qwen2.5-7B", "/dev/shm/states")
        runs = read_states("Qwen/Qwen2.5-7B", "/dev/shm/states", metrics="engine_distance")

    Readings of lenses and the movement of the stream can be measured on states; metrics that need
    to run a layer again cannot, and are reported as unavailable. Only the final norm and the head
    of a named model are loaded; the whole model for `engine_distance`, which finds the layer at
    which vLLM diverges from transformers.

    Args:
        model: the model of these states, as for `analyze`.
        states: the folder that vLLM wrote to, with a file per request.
        tokenizer, metrics, name, progress, options: as for `analyze`.

    Returns:
        a run for each file, in the order of the numbers in their names. A file that cannot be read
        is left out with a warning; `failures` has the reason.

    Raises:
        DepthError: there is no such model, metric or option, or no file that can be read.
    """
    files = find_state_files(Path(states))
    keywords = Keywords(options, load_settings(on_notice=_warn))
    pooling = keywords.summary_settings()
    settings = with_lens_metric(keywords.run_settings(names_of(metrics)), pooling.lens)

    def load(engine: Engine, spec: ModelSpec) -> None:
        from depthtui.engine.readout import load_for_states

        nonlocal settings
        settings = load_for_states(engine, spec, files, settings, _warn)

    def read(engine: Engine, number: int, _before: object) -> RunResult:
        return engine.read_states(files[number], settings, run_id=number)

    source = _Source(model, tokenizer, name, keywords)
    results, failures = _run_each(source, len(files), read, progress, load)
    return _runs(results, failures, settings, pooling)


def _runs(
    results: Sequence[RunResult],
    failures: Mapping[int, str],
    settings: RunSettings,
    pooling: SummarySettings,
    inspector: InspectLayer | None = None,
) -> Runs:
    """The runs, after warnings about missing prompts and metrics."""
    for number, reason in failures.items():
        _warn(f"Prompt {number} was left out: {reason}", 4)
    for problem in unavailable_in_words(settings.metrics, results):
        _warn(problem, 4)
    return Runs(results, pooling, failures, inspector)


@dataclass(frozen=True)
class _Source:
    """What engines get their model from.

    Attributes:
        model, tokenizer, name: as in `analyze`.
        keywords: its options.
    """

    model: str | Path | PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    name: str
    keywords: Keywords

    def engine(
        self, bar: _PromptBar, load: Callable[[Engine, ModelSpec], object] | None = None
    ) -> AbstractContextManager[Engine]:
        """An engine with the model; one that has a name is loaded as a whole, or by `load`."""
        if isinstance(self.model, str | Path):
            return self._by_name(str(self.model), bar, load)
        return self._in_memory(self.model, bar)

    @contextmanager
    def _by_name(
        self, name: str, bar: _PromptBar, load: Callable[[Engine, ModelSpec], object] | None
    ) -> Iterator[Engine]:
        if self.tokenizer is not None:
            raise DepthError(
                "A model that is loaded by name brings its own tokenizer.",
                "Leave the tokenizer out.",
            )
        spec, storage = self.keywords.spec(name), Storage.of(self.keywords.file())
        trusted = self.keywords.trusted()
        # Check before the import of torch, which takes seconds, that the model can be opened.
        check_can_open(spec, storage.models_dir, spec in trusted)
        from depthtui.models.library_output import libraries_silenced

        engine = make_engine(storage, bar.emit, _warn, trusted=trusted)
        with libraries_silenced():
            if load is None:
                engine.load(spec)
            else:
                load(engine, spec)
            yield engine

    @contextmanager
    def _in_memory(self, model: PreTrainedModel, bar: _PromptBar) -> Iterator[Engine]:
        """An engine with a model in memory, which is restored afterwards."""
        from depthtui.models.in_memory import adopt, borrowed
        from depthtui.models.library_output import libraries_silenced

        self.keywords.check_nothing_to_load()
        loaded = adopt(model, self.tokenizer, self.name)
        bar.show_at_first(model)
        storage = Storage.of(self.keywords.file())
        nothing_saved = replace(storage, save_results=False, activation_limit=0)
        engine = make_engine(nothing_saved, bar.emit, _warn)
        with joined_by(model), libraries_silenced(), borrowed(model):
            engine.use(loaded)
            yield engine


def _run_each(
    source: _Source,
    count: int,
    run: Callable[[Engine, int, Sequence[RunResult]], RunResult],
    progress: bool,
    load: Callable[[Engine, ModelSpec], object] | None = None,
) -> tuple[list[RunResult], dict[int, str]]:
    """The runs, and the reasons why prompts could not be run, by their index.

    Args:
        source: where the model comes from.
        count: number of prompts.
        run: runs the prompt of an index on an engine, given the runs before it.
        progress: whether to show a bar, which advances with each prompt.
        load: loads a model that has a name; None to load all of it.

    Raises:
        DepthError: no prompt could be run.
    """
    results: list[RunResult] = []
    failures: dict[int, str] = {}
    with closing(_PromptBar(count, progress)) as bar, source.engine(bar, load) as engine:
        for number in range(count):
            try:
                result = run(engine, number, results)
                results.append(result)
                for problem in problems_of(reduce_run(result)):
                    _warn(problem)
            except DepthError as error:
                failures[number] = str(error)
                if len(failures) == count:
                    raise
            bar.prompt_ends()
    return results, failures


@dataclass(eq=False)
class _ModelInspector:
    """Inspects layers of runs, with the model loaded or used again.

    Attributes:
        source: where the model comes from.
        lens: kind of the lens that pages are read through.
    """

    source: _Source
    lens: str
    _engine: Engine | None = field(default=None, init=False)

    def __call__(self, run: RunResult, layer: int, token: int) -> Inspection:
        """Inspect a layer at a token.

        Raises:
            DepthError: the model is unavailable, or there is no such layer or token.
        """
        place = run.prompt, run.settings, layer, token, self.lens
        if self._engine is not None:
            return self._engine.inspect(*place)
        with (
            closing(_PromptBar(0, visible=False)) as bar,
            self.source.engine(bar) as engine,
        ):
            # The weights of a model in memory may change between calls: keep no engine of it.
            if isinstance(self.source.model, str | Path):
                self._engine = engine
            return engine.inspect(*place)


class _PromptBar:
    """A progress bar of prompts, with the current work in words; shown at the first update."""

    def __init__(self, n_prompts: int, visible: bool) -> None:
        self._n_prompts = n_prompts
        self._visible = visible
        self._engine = EngineProgress()
        self._shown_at = 0.0

    @functools.cached_property
    def _bar(self) -> Any:
        from tqdm.auto import tqdm

        return tqdm(total=self._n_prompts, unit="prompt", disable=not self._visible)

    def show_at_first(self, model: PreTrainedModel) -> None:
        """Show the bar at the first rank of a model only."""
        self._visible = self._visible and rank_of(model) == 0

    def emit(self, event: Event) -> None:
        """Show an event of the engine."""
        if isinstance(event, Notice):
            _warn(event.message)
        progress, now = self._engine.of(event), time.monotonic()
        if progress is not None and now - self._shown_at > _SECONDS_BETWEEN_WORDS:
            self._shown_at = now
            self._bar.set_postfix_str(printable_line(f"{progress.stage} {progress.amount}".strip()))

    def prompt_ends(self) -> None:
        """Advance by one prompt."""
        self._bar.update()

    def close(self) -> None:
        """Close the bar."""
        if "_bar" in vars(self):
            self._bar.close()


def _warn(message: str, stacklevel: int = 3) -> None:
    """Issue a warning at the caller's line; with a helper in between, raise `stacklevel` by one."""
    warnings.warn(message, stacklevel=stacklevel)
