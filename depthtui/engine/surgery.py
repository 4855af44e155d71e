"""Leaves layers of an engine's model, or parts, out: what that costs, the model without them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedConfig

from depthtui.data.pieces import NumberedParts, Piece, coarsest, part_of, parts_of
from depthtui.data.protocol import Progress
from depthtui.data.run import Prompt, PromptTokens
from depthtui.data.run_settings import Repeated, RunSettings
from depthtui.data.sentence import plural
from depthtui.engine import healing, held_out_prompts, memory, projections, pruning
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.healing import NOT_HEALED, Healing
from depthtui.engine.held_out_prompts import Answering, TokenisedPrompt, WholeOutput
from depthtui.engine.layer_orders import Enough, nothing_less
from depthtui.engine.left_out_costs import LeftOutCosts
from depthtui.engine.lenses import LensChoice
from depthtui.engine.projections import Projections
from depthtui.engine.pruning import PrunedModel
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.shared_calls import one_process_only
from depthtui.errors import DepthError, RunStopped
from depthtui.lenses.calibration import Calibration
from depthtui.metrics.layer_order import LayerOrder
from depthtui.models.catalog import resolve
from depthtui.models.checked_config import read_checked_config
from depthtui.models.loading import LoadedModel, load, local_folder
from depthtui.models.out_of_memory import free_caches
from depthtui.models.pruning import LayerTensor, with_biases, write_beside, write_pruned
from depthtui.models.silent_parts import dropped_parts, with_drop_lists
from depthtui.models.staging import new_folder
from depthtui.tracing.batching import in_smaller_parts
from depthtui.tracing.products import fast_products, untimed_products

Result = TypeVar("Result")


@one_process_only
def prune(
    engine: Engine,
    left_out: Collection[int],
    folder: Path,
    control: Control | None = None,
    keep_loaded: bool = True,
    repeated: Collection[Repeated] = (),
    healed: Healing = NOT_HEALED,
    piece: Piece = "layer",
) -> PrunedModel:
    """Write the loaded model without some pieces to a folder that is not there yet.

    The result is loaded once, and must give the same output for a few tokens as the loaded
    model with its layers so changed; else nothing is written. The recipe lies beside it.

    Parts that are not both of each of some layers leave every layer there: their last projections
    are zero. Lists of them for other tools lie beside the model, since no recipe can name them.

    Args:
        engine: the engine with the model.
        left_out: pieces; layers by their indices, for a looped block those of all its passes.
        folder: the folder to write to.
        control: stops the work.
        keep_loaded: whether the model stays loaded while the result is checked.
        repeated: blocks of layers that the result has twice.
        healed: the healing of the same model without the same layers.
        piece: the kind of pieces.

    Raises:
        DepthError: no model is loaded, it has an adapter or cannot be written without these
            pieces, the folder cannot be written or is not empty, even at the end, or there is
            too little memory to check the result.
        RunStopped: `control` stopped it; nothing is left behind.
    """
    progress = _progress(engine, control)
    info, models_dir = engine.freed_model().info, engine.models_dir
    piece, left_out = coarsest(piece, left_out)
    parts = left_out if piece == "part" else []
    left_out = () if parts else info.blocks_of(left_out)
    layers, numbered = tuple(range(info.n_layers)), NumberedParts.of(parts)
    if not parts:
        layers = pruning.layers_kept(info.n_blocks, left_out, repeated)
    _check_can_prune(engine.freed_model(), folder, repeated, parts, healed)
    origin, config = _files_of(engine, progress)
    progress(Progress("Reading what it says with its layers changed", 0, 0, "layers"))
    stack = pruning.stack_name(engine.freed_model())
    expected = _probe_logits(engine.freed_model(), left_out, repeated, healed, parts)
    exits_early = pruning.exits_early(engine.freed_model(), layers, expected)
    replaced = _replaced(engine.freed_model(), origin, config, parts, healed)
    if parts:
        config = with_drop_lists(config, numbered)
        # The model may lack parts already.
        numbered = dropped_parts(config)
    config = with_biases(config, {part_of(part).part for part in healed.means.constants})
    with new_folder(folder) as staging:
        write_pruned(origin, staging, config, stack, layers, progress, replaced)
        write_beside(staging, info, models_dir, layers, numbered, healed.changes_weights)
        load_written = _loader(engine, staging, progress, keep_loaded)
        off, parameters = pruning.check(load_written, expected, bool(parts))
    return PrunedModel(folder, layers, parameters, off, numbered, exits_early)


def _replaced(
    model: ReadyModel,
    origin: Path,
    config: PreTrainedConfig,
    parts: Collection[int],
    healed: Healing,
) -> Mapping[LayerTensor, Tensor]:
    """The tensors that differ from those of the model's files."""
    constants = healed.means.constants
    if not parts and not constants:
        return healed.tensors
    written = Projections(model, origin, config)
    return written.with_constants(written.zeros(parts) if parts else healed.tensors, constants)


def _check_can_prune(
    model: ReadyModel,
    folder: Path,
    repeated: Collection[Repeated],
    parts: Collection[int],
    healed: Healing,
) -> None:
    if (healed.blocks and parts) or (healed.changes_weights and repeated):
        raise DepthError(
            "A model whose layers run twice cannot be healed, nor one that loses parts of them."
        )
    pruning.check_source(model.info.spec)
    pruning.check_target(folder)
    if parts:
        projections.check_parts(model, parts)


def _loader(
    engine: Engine, folder: Path, progress: Callable[[Progress], None], keep_loaded: bool
) -> Callable[[], LoadedModel]:
    """Loads a written model as the engine's was loaded, which gives its memory back before."""
    spec, models_dir = engine.freed_model().info.spec, engine.models_dir
    written = replace(spec, name=str(folder), revision="")
    make_room = free_caches if keep_loaded else engine.unload
    return lambda: load(written, models_dir, progress, make_room, spec in engine.trusted)


def _progress(engine: Engine, control: Control | None) -> Callable[[Progress], None]:
    """Emits progress; stops the work where `control` does."""
    checkpoint = (control or Control()).checkpoint

    def progress(event: Progress) -> None:
        checkpoint()
        engine.emit(event)

    return progress


def _files_of(
    engine: Engine, progress: Callable[[Progress], None]
) -> tuple[Path, PreTrainedConfig]:
    """The folder of the loaded model's files, and its configuration."""
    spec = engine.freed_model().info.spec
    source = resolve(spec, engine.models_dir)
    trusted = spec in engine.trusted and source.may_bring_code
    origin = local_folder(source, engine.models_dir, progress, trusted)
    return origin, read_checked_config(origin, trusted)


def _probe_logits(
    model: ReadyModel,
    left_out: Collection[int],
    repeated: Collection[Repeated],
    healed: Healing,
    parts: Collection[int],
) -> Tensor:
    """The `probe_logits` of a model with its layers changed and healed."""
    silent = [model.anatomy.sublayer(part) for part in parts]
    with healing.healed(model.anatomy, healed.blocks, healed.means):
        if healed.means.stand_in:
            silent = []
        return pruning.probe_logits(model.loaded.model, left_out, repeated, silent)


@one_process_only
def check_can_write(engine: Engine, parts: Collection[int] = ()) -> None:
    """Check that a model can be written whose parts write nothing; all of them by default.

    Raises:
        DepthError: one cannot, with the reason.
    """
    model = engine.freed_model()
    projections.check_parts(model, parts or parts_of(range(model.info.n_layers)))


@one_process_only
def check_can_heal(engine: Engine) -> None:
    """Check that some layer of the loaded model can make up for layers that leave.

    Raises:
        DepthError: none can, with the reason.
    """
    model = engine.freed_model()
    if problem := healing.why_not_healed(model):
        raise DepthError(
            f"{model.info.name} cannot be healed: {problem}.",
            "Without healing its layers can be left out alike.",
        )


@one_process_only
def heal(
    engine: Engine,
    left_out: Collection[int],
    texts: str = "",
    seed: int = RunSettings.seed,
    control: Control | None = None,
) -> Healing:
    """Fit the maps that make up for layers of the loaded model that leave.

    Args:
        engine: the engine with the model.
        left_out: the layers.
        texts: a file of calibration texts; empty for those that the model writes.
        seed: the seed of these.
        control: stops the work.

    Raises:
        DepthError: the model cannot be healed, the texts cannot be read, or there is too little
            memory.
        RunStopped: `control` stopped it.
    """
    check_can_heal(engine)
    model, check = engine.freed_model(), (control or Control()).checkpoint
    origin, config = _files_of(engine, _progress(engine, control))
    choice, lenses = LensChoice("affine", texts, seed=seed), engine.lenses

    def calibrate() -> Calibration:
        # Another rounding would be another text, and another model.
        with untimed_products(model.loaded.model):
            return lenses.calibration(choice, engine.emit_stage, check)

    with fast_products(model.loaded.model):
        return healing.heal(
            model,
            Projections(model, origin, config),
            left_out,
            calibrate,
            lambda done, total: engine.emit_stage("Healing", done, total),
            check,
        )


@one_process_only
def means(
    engine: Engine, left_out: Collection[int], piece: Piece, control: Control | None = None
) -> Healing:
    """The means that stand in for pieces that leave, over the texts of the model's own order.

    Raises:
        DepthError: no layer stands before them, or there are no texts.
        RunStopped: `control` stopped it.
    """
    model, check = engine.freed_model(), (control or Control()).checkpoint
    texts = engine.orders.written_texts(engine.emit_stage, check)

    def report(done: int, total: int) -> None:
        engine.emit_stage("Averaging what goes", done, total)

    with fast_products(model.loaded.model), torch.no_grad():
        return Healing(means=healing.mean_writes(model, left_out, piece, texts, report, check))


@one_process_only
def layer_order(
    engine: Engine,
    settings: RunSettings,
    control: Control | None = None,
    enough: Enough = nothing_less,
    piece: Piece = "layer",
) -> LayerOrder:
    """The order in which pieces can be left out, searched for where it is not stored.

    Args:
        engine: the engine with the model.
        settings: the settings of the search.
        control: stops the search.
        enough: whether an unfinished order is all that is needed.
        piece: their kind.

    Raises:
        DepthError: no model is loaded, or the order cannot be found.
        RunStopped: `control` stopped it; the next search continues there.
    """
    engine.freed_model()
    orders, check = engine.orders, (control or Control()).checkpoint
    return in_smaller_parts(
        lambda: orders.find_or_search(settings, engine.emit_stage, check, enough, piece)
    )


@one_process_only
def whole_outputs(
    engine: Engine,
    prompts: Sequence[Prompt],
    chat_template: bool,
    control: Control | None = None,
    solves: bool = True,
) -> list[WholeOutput]:
    """The loaded model's outputs on prompts, for a pruned model to be compared with.

    Args:
        engine: the engine with the model.
        prompts: the prompts; their answers alone are scored by the loss where each has one.
        chat_template: whether they are put into the model's chat template.
        control: stops the work.
        solves: whether solutions are written, of hundreds of tokens each.

    Raises:
        DepthError: no model is loaded, it has no lens, or a prompt cannot be run.
        RunStopped: `control` stopped it.
    """
    model = engine.freed_model()
    held_out_prompts.unembedding_of(model)
    questions = [
        held_out_prompts.read_prompt(model, prompt, chat_template, solves) for prompt in prompts
    ]
    return _whole_outputs(engine, questions, control)


@one_process_only
def order_outputs(engine: Engine, control: Control | None = None) -> list[WholeOutput]:
    """The loaded model's outputs on the texts of its own order, which it writes itself.

    Raises:
        DepthError: no model is loaded, it has no lens, or can write no text.
        RunStopped: `control` stopped it.
    """
    model, check = engine.freed_model(), (control or Control()).checkpoint
    held_out_prompts.unembedding_of(model)
    with fast_products(model.loaded.model), torch.no_grad():
        texts = engine.orders.written_texts(engine.emit_stage, check)
    questions = [
        TokenisedPrompt(Prompt(""), PromptTokens(ids.cpu().numpy(), [], len(ids))) for ids in texts
    ]
    return _whole_outputs(engine, questions, control)


def _whole_outputs(
    engine: Engine, questions: Sequence[TokenisedPrompt], control: Control | None
) -> list[WholeOutput]:
    model, check = engine.freed_model(), (control or Control()).checkpoint
    of_answer, guess = all(question.has_answer for question in questions), None
    if not questions:
        return []
    try:
        guess = engine.orders.guess(engine.emit_stage, check)[0]
    except RunStopped:
        raise
    except DepthError:
        # A model that can write no text has no guess either.
        pass
    return _of_each(
        engine,
        "Running the whole model",
        questions,
        lambda number: held_out_prompts.whole_output(
            model, questions[number], check, guess, of_answer
        ),
    )


@one_process_only
def compare(
    engine: Engine,
    outputs: Sequence[WholeOutput],
    control: Control | None = None,
    left_out: Collection[int] = (),
    healed: Healing = NOT_HEALED,
) -> LeftOutCosts:
    """Compare the loaded model with outputs of the whole model.

    Args:
        engine: the engine with the model, a pruned one or the whole one.
        outputs: the outputs of the whole model.
        control: stops the work.
        left_out: the layers that are left out of it.
        healed: the healing of the model without them.

    Returns:
        the whole model beside this one.

    Raises:
        DepthError: no model is loaded, or a prompt cannot be run.
        RunStopped: `control` stopped it.
    """
    model, check = engine.freed_model(), (control or Control()).checkpoint
    with healing.healed(model.anatomy, healed.blocks, healed.means):
        compared = _of_each(
            engine,
            f"Running the smaller model{f', {healed.name}' if healed.changes_weights else ''}",
            [output.question for output in outputs],
            lambda number: held_out_prompts.compare(model, outputs[number], check, left_out),
        )
    changes, right = zip(*compared, strict=True)
    return _costs(outputs, np.stack(changes), np.array(right, float))


@one_process_only
def costs(
    engine: Engine,
    outputs: Sequence[WholeOutput],
    order: Sequence[int],
    control: Control | None = None,
    piece: Piece = "layer",
    counts: Sequence[int] = (),
) -> LeftOutCosts:
    """What leaving out the first 0, 1, 2, … pieces of an order costs.

    Args:
        engine: the engine with the whole model.
        outputs: its outputs on the prompts.
        order: the pieces, the first to leave out first.
        control: stops the work.
        piece: their kind.
        counts: the numbers of pieces without which prompts are answered too.

    Raises:
        DepthError: no model is loaded, or a prompt cannot be run.
        RunStopped: `control` stopped it.
    """
    model, check = engine.freed_model(), (control or Control()).checkpoint
    rows = [order[:count] for count in range(len(order) + 1)]
    changes = _of_each(
        engine,
        f"Leaving {piece}s out",
        [output.question for output in outputs],
        lambda number: held_out_prompts.without(
            model,
            torch.from_numpy(outputs[number].tokens.ids),
            rows,
            check,
            piece,
            outputs[number].scored,
        ),
    )
    right = np.full((len(outputs), len(rows)), np.nan)
    right[:, 0] = [np.nan if output.right is None else output.right for output in outputs]
    if counts:
        sets = [rows[count] for count in counts]
        right[:, counts] = answers(engine, outputs, sets, control, piece)
    return _costs(outputs, np.reshape(changes, (len(outputs), 3, len(rows))), right)


def _costs(outputs: Sequence[WholeOutput], changes: np.ndarray, right: np.ndarray) -> LeftOutCosts:
    """The costs by the changes `[prompts, 3, n + 1]` of `held_out_prompts.without`."""
    loss = np.array([output.loss for output in outputs])[:, None] + changes[:, 2]
    guess = np.array([output.guess for output in outputs])
    scored = np.array([output.n_scored for output in outputs])
    tokens = np.array([len(output.tokens) - 1 for output in outputs])
    is_corpus = all(output.question.prompt.ids for output in outputs)
    return LeftOutCosts(changes[:, 0], changes[:, 1], loss, right, guess, scored, tokens, is_corpus)


@one_process_only
def answers(
    engine: Engine,
    outputs: Sequence[WholeOutput],
    left_out: Sequence[Collection[int]],
    control: Control | None = None,
    piece: Piece = "layer",
) -> np.ndarray:
    """Whether the answer to each prompt is right without each set of pieces, `[prompts, sets]`.

    Args:
        engine: the engine with the whole model.
        outputs: its outputs on the prompts.
        left_out: the sets of pieces.
        control: stops the work.
        piece: their kind.

    Returns:
        1 for a right answer, 0 for a wrong one, NaN for a prompt that is not asked.

    Raises:
        DepthError: no model is loaded, or a prompt cannot be run.
        RunStopped: `control` stopped it.
    """
    model, check = engine.freed_model(), (control or Control()).checkpoint
    places = [place for place, output in enumerate(outputs) if output.right is not None]
    questions = [outputs[place].question for place in places]
    right = np.full((len(outputs), len(left_out)), np.nan)
    if places:
        most, up_to = max(map(len, left_out)), "up to " if len(left_out) > 1 else ""
        right[places] = _of_each(
            engine,
            f"Answering without {up_to}{plural(most, piece)}",
            questions,
            lambda number: Answering(model, questions[number], check, piece).right(left_out),
        )
    return right


def _of_each(
    engine: Engine, stage: str, prompts: Sequence[TokenisedPrompt], work: Callable[[int], Result]
) -> list[Result]:
    """Call `work` for the number of each prompt, with progress."""
    model, results = engine.freed_model(), []
    with fast_products(model.loaded.model):
        for number, question in enumerate(prompts):
            engine.emit(Progress(stage, number, len(prompts), "prompts"))
            sizes = model.sizes(question.longest, question.tokens.answer_start)
            memory.check_fits(model.info, sizes, model.placement)
            with engine.errors_noted(model, sizes):
                results.append(in_smaller_parts(functools.partial(work, number)))
    return results
