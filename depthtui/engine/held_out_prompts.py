"""Prompts on which a pruned model is compared with the whole one."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from depthtui.data.pieces import Piece
from depthtui.data.run import Prompt, PromptTokens
from depthtui.data.run_settings import Skip
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.right_answers import TokenisedPrompt, right_answers, tokenise_prompt
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers
from depthtui.metrics.output_change import OutputChange
from depthtui.models.devices import execution_device
from depthtui.tracing.activations import record_residuals
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import slices
from depthtui.tracing.parts_left_out import pieces_of

Check = Callable[[], None]


@dataclass(frozen=True)
class WholeOutput:
    """The whole model's output on a prompt, as far as a comparison needs it.

    Attributes:
        question: the prompt, as tokens.
        residual: h_L, `[T, d]` on the CPU: a pruned model has the same head.
        right: whether the model's answer is right; None where the prompt has none.
    """

    question: TokenisedPrompt
    residual: Tensor
    right: bool | None

    @property
    def tokens(self) -> PromptTokens:
        """The prompt's tokens."""
        return self.question.tokens


@dataclass(frozen=True)
class OutputComparison:
    """A pruned model compared with the whole one on a prompt, by means over its scored tokens.

    Every token but token 0 is scored.

    Attributes:
        kl: KL(p || p~), p the whole model's output, in nats.
        same_choices: the share of first choices that stay.
        loss_before, loss: the loss of the whole model and of the pruned one, in nats.
        right_before, right: whether the answer of each is right; None where there is none.
    """

    kl: float
    same_choices: float
    loss_before: float
    loss: float
    right_before: bool | None
    right: bool | None


def read_prompt(model: ReadyModel, prompt: Prompt, chat_template: bool) -> TokenisedPrompt:
    """The tokens of a prompt that is to be measured.

    Raises:
        DepthError: it cannot be read or has no token after the first, or the model has no lens.
    """
    question = tokenise_prompt(model, prompt, chat_template)
    unembedding_of(model)
    if len(question.tokens) < 2:
        raise DepthError("A prompt has no token after the first one.", "Take longer prompts.")
    return question


def whole_output(model: ReadyModel, question: TokenisedPrompt, checkpoint: Check) -> WholeOutput:
    """Run the whole model on a prompt."""
    ids = torch.from_numpy(question.tokens.ids)
    residual = last_residual(model, ids, checkpoint).to("cpu")
    return WholeOutput(question, residual, _is_right(model, question, checkpoint))


def paired(comparisons: Sequence[OutputComparison]) -> PairedAnswers | None:
    """The right answers of both models; None where no prompt has an answer."""
    answered = [one for one in comparisons if one.right is not None]
    if not answered:
        return None
    before = np.array([one.right_before for one in answered])
    return PairedAnswers.of(before, np.array([one.right for one in answered]))


def check_not_at_chance(model: ReadyModel, outputs: Sequence[WholeOutput]) -> None:
    """Check that the whole model is better than a guess among all tokens.

    Raises:
        DepthError: it is not: whatever a smaller model keeps of its output means nothing.
    """
    unembedding, losses = unembedding_of(model), []
    device = model.placement.layers[-1]
    with torch.no_grad():
        for output in outputs:
            ids = torch.from_numpy(output.tokens.ids)
            losses.append(OutputChange(unembedding, output.residual.to(device), ids).losses)
    loss, chance = float(torch.cat(losses).mean()), math.log(unembedding.vocab_size)
    if loss >= chance:
        raise DepthError(
            f"The whole model is at chance on the prompts to check on: {loss:.1f} nats a token, "
            f"and a guess among its {unembedding.vocab_size:,} tokens has {chance:.1f}.",
            "Check on prompts that it knows something of: --prompt, --prompt-file or --task.",
        )


def compare(
    model: ReadyModel,
    whole_output: WholeOutput,
    checkpoint: Check,
    left_out: Collection[int] = (),
) -> OutputComparison:
    """Run a smaller model on a prompt on which the whole one was run.

    Args:
        model: the pruned model, or the whole one.
        whole_output: the whole model's output.
        checkpoint: called before every layer.
        left_out: the layers that are left out of the model.
    """
    ids = torch.from_numpy(whole_output.tokens.ids)
    last = last_residual(model, ids, checkpoint, left_out)
    before = whole_output.residual.to(last.device)
    with torch.no_grad():
        change = OutputChange(unembedding_of(model), before, ids)
        loss, changes = float(change.losses.mean()), change(last[None])
    return OutputComparison(
        kl=float(changes.kl[0, 1:].mean(dtype=torch.float64)),
        same_choices=float(changes.kept[0, 1:].mean()),
        loss_before=loss,
        loss=loss + float(changes.loss.mean()),
        right_before=whole_output.right,
        right=_is_right(model, whole_output.question, checkpoint, left_out),
    )


def costs(
    model: ReadyModel,
    ids: Tensor,
    order: Sequence[int],
    checkpoint: Check,
    piece: Piece = "layer",
) -> np.ndarray:
    """The mean KL(p || p~) of a prompt without the first 0, 1, 2, … pieces, `[n + 1]` in nats.

    Args:
        model: the model.
        ids: the prompt's tokens, `[T]`.
        order: the pieces, the first to leave out first.
        checkpoint: called before every layer.
        piece: their kind.
    """
    rows = [order[:count] for count in range(len(order) + 1)]
    at_once = model.rows_at_once(len(rows), len(ids))
    with torch.no_grad():
        pieces = pieces_of(piece, [model.replay(ids, checkpoint)], model.anatomy)
        change = OutputChange(unembedding_of(model), pieces.clean[-1][0], pieces.ids)
        parts = [
            change(pieces.without(rows[part])[:, 0]).kl[:, 1:]
            for part in slices(len(rows), at_once)
        ]
    means: np.ndarray = torch.cat(parts).mean(dim=1, dtype=torch.float64).numpy()
    return means


def _is_right(
    model: ReadyModel,
    question: TokenisedPrompt,
    checkpoint: Check,
    left_out: Collection[int] = (),
) -> bool | None:
    right = right_answers(model, question, [left_out], checkpoint)
    return None if right is None else right[0]


def last_residual(
    model: ReadyModel, ids: Tensor, checkpoint: Check, left_out: Collection[int] = ()
) -> Tensor:
    """h_L of a text, whole or without some layers, `[T, d]`."""
    module = model.loaded.model
    ids = ids.to(execution_device(module.get_input_embeddings()))
    skipped = [Skip(layer) for layer in left_out]
    residual = record_residuals(module, model.anatomy, ids, checkpoint, skipped).residual
    return model.anatomy.readable(len(residual) - 1, residual.__getitem__)


def unembedding_of(model: ReadyModel) -> Unembedding:
    """The final norm and the LM head of a model.

    Raises:
        DepthError: they are not known.
    """
    if model.anatomy.unembedding is None:
        raise DepthError(f"There is no output to compare: {model.anatomy.lens_missing}.")
    return model.anatomy.unembedding
