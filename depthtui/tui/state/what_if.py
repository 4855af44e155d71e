"""A model with layers left out, run twice or patched: the changes, and the runs that they need.

Nothing here draws. `WhatIf.proceed` is called whenever something changed, and starts the most
urgent task: the run with the layers as they are now, then the same on the session's prompts, then
metrics of the clean run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.data.model import PART_TITLES
from depthtui.data.pieces import Piece, part_of
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import PatchedCell, Repeated, RunSettings, Skip, path_of
from depthtui.data.sentence import plural
from depthtui.depth.agreement import agreement
from depthtui.metrics import accuracy, parts, similarity
from depthtui.metrics.kept.result import Kept, answer_tokens
from depthtui.metrics.layer_order import order_words
from depthtui.metrics.parts import KeptParts
from depthtui.metrics.ranking import Ranked, least_useful, usefulness
from depthtui.metrics.registry import METRIC_BY_NAME, OF_THE_PASS, RANKINGS, rankings_of
from depthtui.metrics.spec import Metric
from depthtui.report.skips import changes_of
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.session import SessionRun

SUBLAYERS = frozenset({"attention", "mlp"})
"""The parts of a layer."""

CHEAPEST_RANKING = similarity.METRIC.name
"""The metric that is computed where layers are to be ranked and no metric does so yet."""

RANKING_TITLES = {CHEAPEST_RANKING: "Block influence", parts.NAME: parts.METRIC.title}
"""What ranks layers, and what ranks parts, in words."""


def next_metric(clean: RunResult) -> Metric | None:
    """The metric of a clean run that the key computes next; None where it has all of them.

    The surest ranking of layers, then the order of their parts.
    """
    metrics = (RANKINGS[0], parts.METRIC)
    return next((metric for metric in metrics if not clean.has_all(metric.name)), None)


@dataclass(frozen=True)
class Stack:
    """The layers of a model, each with the sublayers that are left out.

    Attributes:
        off: the sublayers left out of each layer.
        repeated: the blocks of layers that run twice, in order; none overlap.
        patched: the patched states of the other prompt, in order.
    """

    off: tuple[frozenset[str], ...]
    repeated: tuple[Repeated, ...] = ()
    patched: tuple[PatchedCell, ...] = ()

    @classmethod
    def full(cls, layers: int) -> Stack:
        """Every layer on."""
        return cls((frozenset(),) * layers)

    @classmethod
    def of(cls, layers: int, settings: RunSettings) -> Stack:
        """The layers with the changes of a run's settings."""
        off = [frozenset[str]()] * layers
        for skip in settings.skipped:
            off[skip.layer] |= SUBLAYERS if skip.part == "layer" else {skip.part}
        return cls(tuple(off), tuple(sorted(settings.repeated)), tuple(sorted(settings.patched)))

    def changed(self, settings: RunSettings) -> RunSettings:
        """A run's settings with the changes of this stack."""
        return replace(settings, skipped=self.skipped, repeated=self.repeated, patched=self.patched)

    def patch(self, layers: Iterable[int], token: int, part: str) -> Stack:
        """Patch in the other prompt's states at a token; remove them if the first layer has any."""
        cells = {PatchedCell(layer, token, part) for layer in layers}
        others = set(self.patched)
        patched = others - cells if min(cells) in others else others | cells
        return replace(self, patched=tuple(sorted(patched)))

    def repeat(self, layers: range) -> Stack:
        """Run a block of layers twice; once again where its first layer runs twice already.

        Blocks that share a layer with it are removed.
        """
        others = tuple(
            block
            for block in self.repeated
            if block.last < layers.start or block.first >= layers.stop
        )
        if layers.start in self.repeated_layers:
            return replace(self, repeated=others)
        block = Repeated(layers.start, layers.stop - 1)
        return replace(self, repeated=tuple(sorted((*others, block))))

    def switch(self, layers: Iterable[int], part: str) -> Stack:
        """Switch `layer`, `attention` or `mlp` off; back on where it is off in the first layer."""
        layers = list(layers)
        parts = SUBLAYERS if part == "layer" else frozenset({part})
        back = parts <= self.off[layers[0]]
        return self._with(layers, lambda off: off - parts if back else off | parts)

    def without(self, pieces: Iterable[int], piece: Piece = "layer") -> Stack:
        """Leave these layers out as well, or these parts of layers."""
        if piece == "layer":
            return self._with(pieces, lambda off: SUBLAYERS)
        off = list(self.off)
        for skip in map(part_of, pieces):
            off[skip.layer] |= {skip.part}
        return replace(self, off=tuple(off))

    def is_off(self, number: int, piece: Piece) -> bool:
        """Whether a layer, or a part of one, is left out."""
        if piece == "layer":
            return self.off[number] == SUBLAYERS
        part = part_of(number)
        return part.part in self.off[part.layer]

    def exit_at(self, layer: int) -> Stack:
        """Leave out every layer from this one on: the model's output is its prediction there."""
        return self.without(range(layer, len(self.off)))

    def _with(
        self, layers: Iterable[int], change: Callable[[frozenset[str]], frozenset[str]]
    ) -> Stack:
        off = list(self.off)
        for layer in layers:
            off[layer] = change(off[layer])
        return replace(self, off=tuple(off))

    @property
    def is_clean(self) -> bool:
        """Whether every layer runs once, on its own states."""
        return not (self.skipped or self.repeated or self.patched)

    @property
    def repeated_layers(self) -> frozenset[int]:
        """The layers that run twice."""
        return frozenset(layer for block in self.repeated for layer in block.layers)

    @property
    def written_layers(self) -> tuple[int, ...]:
        """The layers of the model that would be written, in the order in which they run."""
        path = path_of(len(self.off), self.repeated)
        return tuple(layer for layer in path if layer not in self.skipped_layers)

    @property
    def changes(self) -> str:
        """The changes in words, such as `without layer 3, layers 12-14 twice`."""
        return changes_of(self.changed(RunSettings()))

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """The layers and sublayers that are off, as a run's `skipped` setting."""
        return tuple(
            Skip(layer, "layer" if off == SUBLAYERS else next(iter(off)))
            for layer, off in enumerate(self.off)
            if off
        )

    @property
    def layers_off(self) -> int:
        """Layers that are left out as a whole."""
        return len(self.skipped_layers)

    @property
    def skipped_layers(self) -> frozenset[int]:
        """The layers that are left out as a whole."""
        return frozenset(layer for layer, off in enumerate(self.off) if off == SUBLAYERS)

    @property
    def why_no_model(self) -> str:
        """Why the remaining layers are no model of their own, in words; empty where they may be."""
        if self.patched:
            return "states of another prompt are patched in"
        if self.is_clean:
            return "no layer is off, and none runs twice"
        if self.repeated and self._part_off:
            return f"{self._part_off}, and other layers run twice"
        return "no layer is on" if self.layers_off == len(self.off) else ""

    @property
    def why_only_a_model(self) -> str:
        """Why no recipe of layers, and no healing, makes this model; empty where one may."""
        return f"{self._part_off}, which is no whole layer" if self._part_off else ""

    @property
    def _part_off(self) -> str:
        """The first part that is off by itself, in words; empty where none is."""
        part = next((skip for skip in self.skipped if skip.part != "layer"), None)
        return "" if part is None else f"the {PART_TITLES[part.part]} of layer {part.layer} is off"

    @property
    def share_on(self) -> float:
        """Share of the sublayers that are on."""
        return 1 - sum(map(len, self.off)) / (2 * len(self.off))

    @property
    def left_words(self) -> str:
        """The number of layers that are on, attention and MLP half a layer each: `29.5 / 30`."""
        return f"{self.share_on * len(self.off):g} / {len(self.off)}"

    @property
    def words(self) -> str:
        """The layers and parts that are off or run twice, such as `10 of 30 layers off`."""
        parts = [f"{self.layers_off} of {len(self.off)} layers off"] if self.layers_off else []
        for part, name in (("attention", "attention"), ("mlp", "MLP")):
            count = sum(off == {part} for off in self.off)
            if count:
                parts.append(f"{plural(count, name)} off")
        count = len(self.repeated_layers)
        if count:
            parts.append(plural(count, "layer runs twice", "layers run twice"))
        if self.patched:
            parts.append(f"{plural(len(self.patched), 'state')} patched")
        return ", ".join(parts) or f"all {len(self.off)} layers on"


@dataclass(frozen=True)
class WhatIfEffect:
    """The effect on one prompt of leaving layers out, or running them twice.

    Attributes:
        prompt: the prompt.
        clean: its run with every layer on.
        changed: the changed run, complete or not; None where there is none yet.
        problem: why there is no changed run, or empty.
    """

    prompt: Prompt
    clean: RunResult
    changed: RunResult | None
    problem: str = ""

    @property
    def loss_change(self) -> float:
        """The changed run's loss minus the clean run's, in nats; NaN where unknown."""
        if self.changed is None:
            return float("nan")
        return scored_loss(self.changed) - scored_loss(self.clean)

    @property
    def agreement(self) -> tuple[int, int] | None:
        """Tokens after which both predict the same token, and all that count; None where unknown.

        Token 0 does not count, as in what is left without layers.
        """
        first = min(1, len(self.clean.tokens) - 1)
        return None if self.changed is None else agreement(self.clean, self.changed, first)


@dataclass(frozen=True)
class _Variant:
    """A task: one prompt through these layers."""

    prompt: Prompt
    stack: Stack


@dataclass(frozen=True)
class _Metrics:
    """A task: more metrics of the clean run."""

    names: tuple[str, ...]


class WhatIf:
    """A run and its changed runs without some of its layers.

    Args:
        explorer: runs things.
        run: the clean run; it has a result.
        notify: shows the user a message.

    Attributes:
        stack: the layers and their changes.
        piece: whether layers are pruned, or parts of layers.
    """

    def __init__(self, explorer: Explorer, run: SessionRun, notify: Callable[[str], None]) -> None:
        self._explorer = explorer
        self._run = run
        self._notify = notify
        self.stack = Stack.full(run.model.n_layers)
        self.piece: Piece = "layer"
        self._former_stacks: list[Stack] = []
        self._undone_stacks: list[Stack] = []
        self._runs: dict[_Variant, SessionRun] = {}
        self._failed: dict[_Variant, str] = {}
        self._prune_rules: dict[Stack, str] = {}
        self._last: RunResult | None = None
        self._to_prune = 0
        self._task: _Variant | _Metrics | None = None
        # Metrics that the engine is computing already are continued after every change.
        self._requested = run.settings.metrics if run.state.is_live else ()
        if run.state.is_live:
            self._task = _Metrics(self._requested)

    # Results ----------------------------------------------------------------

    @property
    def clean(self) -> RunResult:
        """The run with every layer on."""
        assert self._run.result is not None
        return self._run.result

    @property
    def changed(self) -> RunResult:
        """The changed run; until it has tokens, the former one; the clean run where it failed."""
        if self.problem:
            return self.clean
        self._last = self._result_of(self._current) or self._last or self.clean
        return self._last

    @property
    def problem(self) -> str:
        """Why the change did not run, or empty."""
        return self._failed.get(self._current, "")

    @property
    def is_pending(self) -> bool:
        """Whether the changed run is waiting or running."""
        if self.stack.is_clean or self.problem:
            return False
        result = self._result_of(self._current)
        return result is None or not result.complete

    @property
    def effect(self) -> WhatIfEffect:
        """The effect of the changes on this prompt."""
        return self._effect_on(self._run)

    @property
    def effects(self) -> list[WhatIfEffect]:
        """The effects on every prompt that the model ran, after a prune; else empty."""
        if self.stack not in self._prune_rules:
            return []
        return [self._effect_on(run) for run in self._prompts()]

    @property
    def rule(self) -> str:
        """The ranking of the last prune, such as `block influence`; empty after another change."""
        return self._prune_rules.get(self.stack, "")

    @property
    def measured(self) -> Ranked | None:
        """The ranking of layers: ablation loss, or else block influence, once it is computed."""
        tokens = self._explorer.settings.summary_settings().tokens
        for ranking in rankings_of(self.clean):
            if ranking.of_layers and np.isfinite(usefulness(ranking, tokens)).all():
                return ranking
        return None

    @property
    def kept_parts(self) -> KeptParts | None:
        """What is kept with parts left out, with their order; None until there is one."""
        result = self.clean.get(KeptParts)
        return result if result is not None and result.orders else None

    @property
    def results(self) -> list[RunResult]:
        """The clean runs, then those changed runs that are complete."""
        effects = self.effects or [self.effect]
        changed = [effect.changed for effect in effects if not self.stack.is_clean]
        complete = [run for run in changed if run is not None and run.complete]
        return [*(effect.clean for effect in effects), *complete]

    def _effect_on(self, run: SessionRun) -> WhatIfEffect:
        assert run.result is not None
        variant = self._variant(run.prompt)
        changed = self._result_of(variant)
        return WhatIfEffect(run.prompt, run.result, changed, self._failed.get(variant, ""))

    def _result_of(self, variant: _Variant) -> RunResult | None:
        if variant.stack.is_clean:
            return next(
                prompt.result for prompt in self._prompts() if prompt.prompt == variant.prompt
            )
        run = self._runs.get(variant)
        return run.result if run is not None else None

    def _prompts(self) -> list[SessionRun]:
        """The clean run, then a finished run of each other prompt of its model in the session."""
        by_prompt = {self._run.prompt: self._run}
        for run in self._explorer.session.runs_with_result():
            same_model = run.model == self._run.model and run.settings.is_clean
            if same_model and run.result is not None and run.result.complete:
                by_prompt.setdefault(run.prompt, run)
        return list(by_prompt.values())

    # Changing ---------------------------------------------------------------

    def change(self, stack: Stack) -> None:
        """Change the layers that are left out or run twice."""
        if stack != self.stack:
            self._former_stacks.append(self.stack)
            self._undone_stacks.clear()
            self._go_to(stack)

    def undo(self, count: int = 1) -> None:
        """Undo the last changes."""
        self._walk(self._former_stacks, self._undone_stacks, count, "There is nothing to undo.")

    def redo(self, count: int = 1) -> None:
        """Redo changes that were undone."""
        self._walk(self._undone_stacks, self._former_stacks, count, "There is nothing to redo.")

    def switch_pieces(self) -> None:
        """Prune parts of layers in place of layers, or layers again."""
        self._to_prune = 0
        self.piece = "part" if self.piece == "layer" else "layer"

    def prune(self, count: int) -> None:
        """Leave out the `count` least useful pieces of those that are on."""
        ranking = self._ranked()
        if ranking is None:
            self._to_prune = count
            name = self._needed_metric
            if self.clean.unavailable.get(name) is None:
                title = RANKING_TITLES[name]
                self._notify(f"{title} is computed first, to rank the {self.piece}s.")
            self.request(name)
            return
        self._to_prune = 0
        ranked, rule = ranking
        pieces = [piece for piece in ranked if not self.stack.is_off(piece, self.piece)][:count]
        if not pieces:
            self._notify(f"Every {self.piece} is off.")
            return
        pruned = self.stack.without(pieces, self.piece)
        self._prune_rules[pruned] = rule
        self.change(pruned)

    @property
    def _needed_metric(self) -> str:
        """The metric that is computed where nothing ranks the pieces yet."""
        return CHEAPEST_RANKING if self.piece == "layer" else parts.NAME

    def _ranked(self) -> tuple[list[int], str] | None:
        """Pieces, those to leave out first, and the ranking's name; None before there is a ranking.

        The order in which they can be left out together, once computed; for layers else the cost of
        each by itself.
        """
        if self.piece == "part":
            by_parts = self.kept_parts
            if by_parts is None:
                return None
            return list(by_parts.orders[0]), order_words(by_parts.kind, by_parts.search)
        together, n_layers = self.clean.get(Kept), len(self.stack.off)
        if together is not None and together.orders:
            return list(together.orders[0]), order_words(together.kind, together.search)
        if (alone := self.measured) is None:
            return None
        tokens = self._explorer.settings.summary_settings().tokens
        return least_useful(alone, n_layers, tokens), alone.rule

    def request(self, metric: str) -> None:
        """Compute a metric of the clean run once nothing is more urgent."""
        why = self.clean.unavailable.get(metric)
        if why:
            self._to_prune = 0
            self._notify(f"{METRIC_BY_NAME[metric].title} is unavailable: {why}.")
        elif not self._has(metric) and metric not in self._requested:
            self._requested = (*self._requested, metric)
        self.proceed()

    def request_quietly(self, metric: str) -> None:
        """Compute a metric like `request`, without a message where it is unavailable."""
        if metric not in self.clean.unavailable:
            self.request(metric)

    def keep(self) -> None:
        """List the changed run in the session, marked for comparison."""
        if self.stack.is_clean:
            self._notify("Every layer is on: there is no change to keep.")
        elif self.problem:
            self._notify("This change did not run: there is nothing to keep.")
        elif self.is_pending:
            self._notify("The change is still running: keep it once it is done.")
        else:
            session = self._explorer.session
            session.marked = session.keep(self._runs[self._current])
            self._notify(
                f"Kept as run {session.marked.number}, {self.stack.changes}: "
                "b lists it, and C there compares it with the clean run."
            )

    def close(self) -> None:
        """Stop the runs of this what-if; metrics of the clean run continue."""
        if isinstance(self._task, _Variant):
            self._explorer.stop()
        self._task = None

    def _go_to(self, stack: Stack) -> None:
        self.stack = stack
        self._failed.clear()
        self.proceed()

    def _walk(self, back: list[Stack], forth: list[Stack], count: int, end: str) -> None:
        if not back:
            self._notify(end)
            return
        stack = self.stack
        for _ in range(min(count, len(back))):
            forth.append(stack)
            stack = back.pop()
        self._go_to(stack)

    # Running ----------------------------------------------------------------

    @property
    def _current(self) -> _Variant:
        return self._variant(self._run.prompt)

    def _variant(self, prompt: Prompt) -> _Variant:
        # Patched states fit only the prompt that they were made for.
        is_own = prompt == self._run.prompt
        return _Variant(prompt, self.stack if is_own else replace(self.stack, patched=()))

    def proceed(self) -> None:
        """Start the most urgent task, unless it is running already."""
        self._end_task()
        if self._to_prune and self._ranked() is not None and not self._is_about_to_end:
            self.prune(self._to_prune)
            return
        task = next(self._tasks(), None)
        if task is None or task == self._task or not self._explorer.has_model_of(self._run):
            return
        if isinstance(self._task, _Variant):
            del self._runs[self._task]
        self._task = task
        if isinstance(task, _Metrics):
            self._explorer.compute(*task.names)
            return
        has_options = bool(task.prompt.choices) and not task.stack.patched
        metrics = (*OF_THE_PASS, accuracy.METRIC.name) if has_options else OF_THE_PASS
        settings = replace(self._clean_of(task).settings, metrics=metrics)
        settings = task.stack.changed(settings)
        run = self._explorer.run_aside(task.prompt, settings)
        assert run is not None
        self._runs[task] = run

    def _tasks(self) -> Iterator[_Variant | _Metrics]:
        """The remaining tasks, the most urgent first."""
        metrics = [_Metrics(self._requested)] if self._requested else []
        if self._to_prune:
            yield from metrics
        if not self.stack.is_clean and not self._is_done(self._current):
            yield self._current
        if self.stack in self._prune_rules:
            for run in self._prompts():
                variant = self._variant(run.prompt)
                if not self._is_done(variant):
                    yield variant
        yield from metrics

    def _is_done(self, variant: _Variant) -> bool:
        result = self._result_of(variant)
        return variant in self._failed or (result is not None and result.complete)

    def _clean_of(self, variant: _Variant) -> SessionRun:
        return next(run for run in self._prompts() if run.prompt == variant.prompt)

    @property
    def _is_about_to_end(self) -> bool:
        """Whether the running metrics are all there: they are not worth stopping any more."""
        return isinstance(self._task, _Metrics) and all(map(self._has, self._task.names))

    def _has(self, metric: str) -> bool:
        """Whether the clean run has all of a metric."""
        return self.clean.has_all(metric)

    def _end_task(self) -> None:
        """Note how the task ended, if it has."""
        match self._task:
            case _Metrics():
                if self._run.state.is_live:
                    return
                self._requested = ()
                if self._to_prune and self._ranked() is None:
                    self._to_prune = 0
                    why = self.clean.unavailable.get(self._needed_metric) or self._run.problem
                    self._notify(
                        f"The {self.piece}s could not be ranked{f': {why}' if why else ''}."
                    )
            case _Variant() as variant:
                run = self._runs[variant]
                if run.state.is_live:
                    return
                if run.result is None or not run.result.complete:
                    del self._runs[variant]
                    self._failed[variant] = run.problem or "it was stopped"
        self._task = None


def scored_loss(run: RunResult) -> float:
    """The loss of the tokens that count in what is left without layers, in nats; NaN where unknown.

    These are the answer's, else all that another one than token 0 predicts.
    """
    lens = run.get(LogitLens)
    if lens is None or len(run.tokens) < 3:
        return run.loss
    losses = -lens.next_log_probability[-1, :-1]
    return float(losses[answer_tokens(run) or slice(1, None)].mean())


def can_be_changed(run: SessionRun | None) -> bool:
    """Whether a run has everything that a what-if is compared with."""
    if run is None or run.result is None or run.result.layers_done < run.model.n_layers:
        return False
    lens = run.result.get(LogitLens)
    return lens is None or bool((lens.top_ids[-1] >= 0).all())
