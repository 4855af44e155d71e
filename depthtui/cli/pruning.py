"""`depthtui prune`: chooses pieces of a model, checks the choice, writes the rest, measures it."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from depthtui.cli.output import stopped_by_ctrl_c
from depthtui.cli.progress import ProgressDisplay
from depthtui.data.model import ModelInfo
from depthtui.data.pieces import PER_LAYER, Piece, coarsest, layers_named, pieces_in
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.depth.left_out import KL
from depthtui.engine import surgery
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.factory import Storage, make_engine
from depthtui.engine.healing import NOT_HEALED, Healing
from depthtui.engine.held_out_prompts import WholeOutput
from depthtui.engine.layer_choice import Chooser, Gate, LayerChoice, check_count
from depthtui.engine.left_out_costs import ANSWERS, SHARES, LeftOutCosts
from depthtui.engine.pruning import PrunedModel, check_source, check_target
from depthtui.errors import DepthError, RunStopped
from depthtui.models.catalog import check_layers, configured_layers
from depthtui.models.reach import check_can_open
from depthtui.prompts.corpus import Corpus


@dataclass(frozen=True)
class PruneJob:
    """The pieces to leave out, and the folder for the rest, if it is to be written.

    One of `layers`, `least` and `gate` chooses the pieces.

    Attributes:
        spec: the model.
        out: the folder to write; None where nothing is written.
        storage: the storage of models and results.
        trusted: the models whose own Python code may run.
        layers: pieces by their numbers, such as `3,5-7m`; empty where they are chosen.
        least: the number of pieces that go, the first ones of the model's order.
        gate: the limit up to which pieces go.
        prompts: the prompts to measure on; for a gate of answers, every second one chooses how many
            pieces go.
        names_prompts: whether they were named, and are no default.
        settings: how prompts are read.
        piece: whether layers go, or parts of layers.
        heals: whether a map makes up for the layers that go.
        instead: what stands in for the pieces that go, `zero` or `mean`.
        heal_texts: the file of texts that it is fitted on; empty for those that the model writes.
        corpus: a corpus whose windows are measured on, in place of prompts.
    """

    spec: ModelSpec
    out: Path | None
    storage: Storage
    trusted: Container[ModelSpec]
    layers: str
    least: int | None
    gate: Gate | None
    prompts: Sequence[Prompt]
    names_prompts: bool
    settings: RunSettings
    piece: Piece = "layer"
    heals: bool = False
    instead: str = "zero"
    heal_texts: str = ""
    corpus: Corpus | None = None

    @property
    def steps(self) -> list[str]:
        """The steps that take long, in their order."""
        healing = ["healing"] if self.heals_or_means else []
        writing = [] if self.out is None else ["writing", "measuring"]
        return ["loading", "running", "choosing", *healing, *writing]

    @property
    def heals_or_means(self) -> bool:
        """Whether anything is to make up for the pieces that go."""
        return self.heals or self.instead == "mean"

    @property
    def of_answers(self) -> bool:
        """Whether right answers choose the number of pieces."""
        return self.gate is not None and self.gate.column == ANSWERS


@dataclass(frozen=True)
class Pruning:
    """Chosen pieces, and the model without them beside the whole one on the held-out prompts.

    Attributes:
        info: the whole model.
        choice: the pieces that go, and what they cost.
        held_out: the held-out prompts, run on the whole model; none where it has no output.
        healing: how the rest is healed; None where that was not asked for.
        helps: whether healing lowers the cost, so that the healed model is written.
        healed: the costs of the healed model; None where it was not compared.
        pruned: the written model; None where none was to be written.
        written: the costs of the written model; None without one, or without prompts.
    """

    info: ModelInfo
    choice: LayerChoice
    held_out: Sequence[WholeOutput] = ()
    healing: Healing | None = None
    helps: bool = False
    healed: LeftOutCosts | None = None
    pruned: PrunedModel | None = None
    written: LeftOutCosts | None = None

    @property
    def piece(self) -> Piece:
        """The kind of pieces: layers where the parts that go are whole ones."""
        return coarsest(self.choice.piece, self.choice.left_out)[0]

    @property
    def left_out(self) -> list[int]:
        """The pieces that go, sorted by number."""
        return coarsest(self.choice.piece, self.choice.left_out)[1]

    @property
    def used_healing(self) -> Healing:
        """The healing of this model, which may be none."""
        return self.healing if self.healing is not None and self.helps else NOT_HEALED

    @property
    def of_answers(self) -> bool:
        """Whether a gate of right answers chose."""
        return self.choice.choosing is not None and self.choice.choosing.gate.column == ANSWERS

    @property
    def models(self) -> dict[str, LeftOutCosts]:
        """The costs of the smaller models, each by its name; the written one's own."""
        if not self.held_out:
            return {}
        models = {"cut": self.choice.held_out.at(self.choice.count)}
        if self.healed is not None:
            models[self.used_healing.name] = self.healed
        if self.written is not None:
            models[self.used_healing.name if self.helps else "cut"] = self.written
        return models

    @property
    def smaller(self) -> LeftOutCosts:
        """The costs of the model that is written, or would be."""
        return self.choice.checked if self.written is None else self.written

    @property
    def passes(self) -> bool:
        """Whether the written model passes the gate too; rounding may change its value."""
        by = self.choice.choosing
        return by is None or by.gate.passes(self.smaller, 1)


def prune_model(
    job: PruneJob, notice: Callable[[str], None], show: Callable[[LayerChoice], None]
) -> Pruning:
    """Choose pieces and check the choice; where a folder is named, write, load, measure the model.

    Args:
        job: the pieces and the folder.
        notice: called with messages on the way.
        show: called with the choice before it is checked.

    Raises:
        DepthError: the gate fails, or the model cannot be loaded, run or written; then no folder is
            left.
        RunStopped: ctrl-c stopped it.
    """
    _check_job(job)
    control = Control()
    with ProgressDisplay(notice) as display:
        engine = make_engine(job.storage, display.emit, notice, trusted=job.trusted)
        with stopped_by_ctrl_c(control):
            display.steps = job.steps
            pruning = choose(engine, job, control, notice, display.begin)
            with display.out_of_the_way():
                show(pruning.choice)
            if job.heals_or_means:
                display.begin("healing")
            pruning = check(engine, job, pruning, control)
            if job.out is None:
                return pruning
            display.begin("writing")
            pruning = write(engine, job.out, pruning, control)
            display.begin("measuring")
            return measure(engine, job.out, pruning, control)


def _check_job(job: PruneJob) -> None:
    """Find a wrong name, layer or folder before the model loads.

    Raises:
        DepthError: something cannot be as it is asked for.
    """
    check_can_open(job.spec, job.storage.models_dir, job.spec in job.trusted)
    check_layers(job.spec, job.storage.models_dir, layers_named(job.layers))
    if job.least is not None:
        n_layers = configured_layers(job.spec, job.storage.models_dir)
        check_count(job.least, PER_LAYER[job.piece] * n_layers, job.piece)
    check_source(job.spec)
    if job.out is not None:
        check_target(job.out)


def choose(
    engine: Engine,
    job: PruneJob,
    control: Control,
    notice: Callable[[str], None],
    begin: Callable[[str], None],
) -> Pruning:
    """Load the model and choose the pieces that go; `begin` is called with each step of the job.

    Raises:
        DepthError: the model cannot be loaded, run, or written without such pieces.
        RunStopped: `control` stopped it.
    """
    begin("loading")
    info = engine.load(job.spec, control)
    if job.corpus is not None:
        job = replace(job, prompts=job.corpus.windows(engine.tokens_of, notice))
    if info.calls and not job.layers:
        raise DepthError(
            f"{info.name} runs its blocks in passes, and its order is of layers in one.",
            "Name the layers with --drop, each in all of its passes.",
        )
    if job.heals:
        surgery.check_can_heal(engine)
    pieces = coarsest(*pieces_in(job.layers, info.n_layers)) if job.layers else (job.piece, [])
    if pieces[0] == "part":
        surgery.check_can_write(engine, pieces[1])
    begin("running")
    outputs = _whole_outputs(engine, job, control, notice)
    choosing, held_out = (outputs[1::2], outputs[::2]) if job.of_answers else ([], outputs)
    begin("choosing")
    chooser = Chooser(engine, held_out, job.settings, control, pieces[0])
    if job.layers:
        return Pruning(info, chooser.named(pieces[1]), held_out)
    if job.gate is None:
        return Pruning(info, chooser.least(job.least or 1), held_out)
    if not job.of_answers:
        choosing = surgery.order_outputs(engine, control)
    return Pruning(info, chooser.keeping(job.gate, choosing), held_out)


def _whole_outputs(
    engine: Engine, job: PruneJob, control: Control, notice: Callable[[str], None]
) -> list[WholeOutput]:
    """The whole model's outputs on the prompts; none of default prompts that it cannot read.

    Named pieces can go without a table of what they cost.
    """
    template = job.settings.chat_template
    try:
        return surgery.whole_outputs(engine, job.prompts, template, control, job.of_answers)
    except RunStopped:
        raise
    except DepthError as error:
        if job.names_prompts or not job.layers:
            raise
        notice(f"Nothing is measured: {error.message}")
        return []


def check(engine: Engine, job: PruneJob, pruning: Pruning, control: Control) -> Pruning:
    """Heal the rest where that is asked for, and check the choice on the held-out prompts.

    Raises:
        DepthError: the gate fails, or the model cannot be healed.
        RunStopped: `control` stopped it.
    """
    pruning.choice.check_some_go()
    if job.heals_or_means:
        pruning = _with_healing(engine, job, pruning, control)
    pruning.choice.check()
    return pruning


def _with_healing(engine: Engine, job: PruneJob, pruning: Pruning, control: Control) -> Pruning:
    """Heal the model, and compare it with the one that is cut alone."""
    choice, left_out = pruning.choice, pruning.left_out
    if job.heals:
        healing = surgery.heal(engine, left_out, job.heal_texts, job.settings.seed, control)
    else:
        healing = surgery.means(engine, left_out, pruning.piece, control)
    if not healing.changes_weights or not pruning.held_out:
        return replace(pruning, healing=healing, helps=healing.helps)
    layers = left_out if pruning.piece == "layer" else []
    healed = surgery.compare(engine, pruning.held_out, control, layers, healing)
    cut = choice.held_out.at(choice.count)
    column = KL if choice.choosing is None else choice.choosing.gate.column

    def costs(of_model: LeftOutCosts) -> tuple[float, float]:
        """The cost that a gate limits, and the mean KL, which decides between equal ones."""
        value, kl = (float(of_model.columns[name].values[1]) for name in (column, KL))
        return (-value if column in SHARES else value), kl

    helps = not job.heals or costs(healed) < costs(cut)
    if helps:
        choice = replace(choice, healed=healed)
    return replace(pruning, choice=choice, healing=healing, helps=helps, healed=healed)


def write(engine: Engine, out: Path, pruning: Pruning, control: Control) -> Pruning:
    """Write the model to a folder.

    Raises:
        DepthError: it cannot be written; then no folder is left.
        RunStopped: `control` stopped it.
    """
    pruned = surgery.prune(
        engine,
        pruning.left_out,
        out,
        control,
        keep_loaded=False,
        healed=pruning.used_healing,
        piece=pruning.piece,
    )
    return replace(pruning, pruned=pruned)


def measure(engine: Engine, out: Path, pruning: Pruning, control: Control) -> Pruning:
    """Load the written model, and measure it on the held-out prompts, where there are some.

    Raises:
        DepthError: it cannot be loaded.
        RunStopped: `control` stopped it.
    """
    info, held_out = pruning.info, pruning.held_out
    if not held_out:
        return pruning
    # In the whole model's dtype: `auto` may choose another for a smaller model.
    engine.load(replace(info.spec, name=str(out), revision="", dtype=info.dtype), control)
    written = surgery.compare(engine, held_out, control)
    return replace(pruning, written=written)
