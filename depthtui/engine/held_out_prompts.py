"""Prompts on which a model without some pieces is compared with the whole one."""

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
from depthtui.engine.pruning import changed
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.tokens import end_tokens, tokenise, tokenise_choices
from depthtui.errors import DepthError
from depthtui.metrics.accuracy.answer_reader import AnswerReader
from depthtui.metrics.accuracy.continuations import Continuations
from depthtui.metrics.output_change import Changes, OutputChange
from depthtui.models.devices import execution_device
from depthtui.prompts.written_answers import form_of, is_solution
from depthtui.tracing.activations import record_residuals
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.batching import slices
from depthtui.tracing.decoding import write_greedily
from depthtui.tracing.parts_left_out import pieces_of
from depthtui.tracing.replay import mixes_tokens

Check = Callable[[], None]

_FEWEST_TOKENS = 3
"""The loss of token 1 is not scored: token 0 alone predicts it."""

ALL_TOKENS = slice(1, None)
"""The scored ones among the losses of the token after each."""


@dataclass(frozen=True)
class TokenisedPrompt:
    """A prompt as a model reads it.

    Attributes:
        prompt: the prompt.
        tokens: its tokens.
        choices: for each choice the ids of the whole text, and where those compared begin.
        most_written: the most tokens that the model writes as an answer; 0 where it writes none.
    """

    prompt: Prompt
    tokens: PromptTokens
    choices: Sequence[tuple[np.ndarray, int]] = ()
    most_written: int = 0

    @property
    def has_answer(self) -> bool:
        """Whether some of its tokens are the answer, and others not."""
        return 0 < self.tokens.answer_start < len(self.tokens)

    @property
    def longest(self) -> int:
        """Tokens of the longest text that the model reads."""
        return max([len(self.tokens), *(len(ids) for ids, _ in self.choices)])


@dataclass(frozen=True)
class WholeOutput:
    """The whole model's output on a prompt, as far as a comparison needs it.

    Attributes:
        question: the prompt, as tokens.
        residual: h_L, `[T, d]` on the CPU: a pruned model has the same head.
        scored: the scored ones of the losses of the token after each, `[T - 1]`; all of a window.
        loss: the mean of these, in nats.
        guess: the same by the guess without context; NaN where there is none.
        right: whether the model's answer is right; None where it is not asked for one.
    """

    question: TokenisedPrompt
    residual: Tensor
    scored: slice
    loss: float
    guess: float
    right: bool | None

    @property
    def tokens(self) -> PromptTokens:
        """The prompt's tokens."""
        return self.question.tokens

    @property
    def n_scored(self) -> int:
        """How many losses are scored."""
        return len(range(len(self.tokens) - 1)[self.scored])


def read_prompt(
    model: ReadyModel, prompt: Prompt, chat_template: bool, solves: bool = True
) -> TokenisedPrompt:
    """The tokens of a prompt that is to be measured, and of its choices.

    Args:
        model: the model.
        prompt: the prompt.
        chat_template: whether it is put into the model's chat template.
        solves: whether solutions are written, of hundreds of tokens each.

    Raises:
        DepthError: a text cannot be read or is too short, or the model lacks one of its tokens.
    """
    tokens = tokenise(model.loaded.tokenizer, prompt, chat_template, model.vocabulary)
    choices = tokenise_choices(model.loaded.tokenizer, prompt, chat_template)
    for ids in (tokens.ids, *(ids for ids, _ in choices)):
        model.check_ids(ids)
    if len(tokens) < _FEWEST_TOKENS:
        raise DepthError(
            "A prompt is too short: the third token is the first one that is scored.",
            "Take longer prompts.",
        )
    question = TokenisedPrompt(prompt, tokens, choices)
    if choices or not question.has_answer or (is_solution(prompt) and not solves):
        return question
    most = form_of(prompt).tokens_for(len(tokens) - tokens.answer_start)
    return TokenisedPrompt(prompt, tokens, most_written=most)


def whole_output(
    model: ReadyModel,
    question: TokenisedPrompt,
    checkpoint: Check,
    guess: np.ndarray | None = None,
    of_answer: bool = False,
) -> WholeOutput:
    """Run the whole model on a prompt.

    Args:
        model: the model.
        question: the prompt, as tokens.
        checkpoint: called before every layer.
        guess: the loss of each token of the vocabulary by the guess without context, `[V]`.
        of_answer: whether the answer's tokens alone are scored by their loss.
    """
    ids = torch.from_numpy(question.tokens.ids)
    last = last_residual(model, ids, checkpoint)
    first = 0 if question.prompt.ids else ALL_TOKENS.start
    scored = slice(max(1, question.tokens.answer_start - 1) if of_answer else first, None)
    with torch.no_grad():
        losses = OutputChange(unembedding_of(model), last, ids).losses[scored]
    right = Answering(model, question, checkpoint).right([()])
    return WholeOutput(
        question,
        last.to("cpu"),
        scored,
        float(losses.mean(dtype=torch.float64)),
        math.nan if guess is None else float(guess[question.tokens.ids[1:]][scored].mean()),
        None if right is None else right[0],
    )


def check_not_at_chance(model: ReadyModel, outputs: Sequence[WholeOutput]) -> None:
    """Check that the whole model is better than a guess among all tokens.

    Raises:
        DepthError: it is not: whatever a smaller model keeps of its output means nothing.
    """
    n_tokens = unembedding_of(model).vocab_size
    loss, chance = float(np.mean([output.loss for output in outputs])), math.log(n_tokens)
    if loss >= chance:
        raise DepthError(
            f"The whole model is at chance on the prompts to check on: {loss:.1f} nats a token, "
            f"and a guess among its {n_tokens:,} tokens has {chance:.1f}.",
            "Check on prompts that it knows something of: --prompt, --prompt-file or --task.",
        )


def compare(
    model: ReadyModel, output: WholeOutput, checkpoint: Check, left_out: Collection[int] = ()
) -> tuple[np.ndarray, tuple[bool | None, bool | None]]:
    """Run a smaller model on a prompt on which the whole one was run.

    Args:
        model: the pruned model, or the whole one.
        output: the whole model's output.
        checkpoint: called before every layer.
        left_out: the layers that are left out of the model.

    Returns:
        the changes of the whole model and of this one `[3, 2]`, as in `without`, and whether the
            answer of each is right.
    """
    ids = torch.from_numpy(output.tokens.ids)
    last = last_residual(model, ids, checkpoint, left_out)
    with torch.no_grad():
        change = OutputChange(unembedding_of(model), output.residual.to(last.device), ids)
        changes = _means(change(last[None]), output.scored)
    right = Answering(model, output.question, checkpoint).right([left_out])
    unchanged = np.array([[0.0], [1.0], [0.0]])
    rights = output.right, None if right is None else right[0]
    return np.concatenate([unchanged, changes], axis=1), rights


def without(
    model: ReadyModel,
    ids: Tensor,
    rows: Sequence[Collection[int]],
    checkpoint: Check,
    piece: Piece = "layer",
    scored: slice = ALL_TOKENS,
) -> np.ndarray:
    """How the output on a text changes without each set of pieces, `[3, rows]`.

    These are KL(p || p~) in nats and the share of first choices that stay, means over all tokens
    but the first, and the change of the loss in nats, a mean over the scored tokens.

    Args:
        model: the model.
        ids: the text's tokens, `[T]`.
        rows: the sets of pieces.
        checkpoint: called before every layer.
        piece: their kind.
        scored: the scored ones of the losses of the token after each.
    """
    at_once = model.rows_at_once(len(rows), len(ids))
    with torch.no_grad():
        pieces = pieces_of(piece, [model.replay(ids, checkpoint)], model.anatomy)
        change = OutputChange(unembedding_of(model), pieces.clean[-1][0], pieces.ids)
        parts = [
            _means(change(pieces.without(rows[part])[:, 0]), scored)
            for part in slices(len(rows), at_once)
        ]
    return np.concatenate(parts, axis=1)


def _means(changes: Changes, scored: slice) -> np.ndarray:
    tokens = (changes.kl[:, 1:], changes.kept[:, 1:], changes.loss[:, scored])
    return np.stack([values.mean(dim=1, dtype=torch.float64).numpy() for values in tokens])


@dataclass(frozen=True)
class Answering:
    """Answers of a model to a prompt, with pieces left out.

    Where there are choices the likeliest is the answer; else the model writes greedily up to a stop
    of the prompt's task.

    Attributes:
        model: the model.
        question: the prompt, as tokens.
        checkpoint: called before every layer.
        piece: the kind of pieces.
    """

    model: ReadyModel
    question: TokenisedPrompt
    checkpoint: Check
    piece: Piece = "layer"

    def right(self, rows: Sequence[Collection[int]]) -> list[bool] | None:
        """Whether the answer without each set of pieces is right; None where none is asked for."""
        if self.question.choices:
            return self._chosen(rows)
        if not self.question.most_written:
            return None
        if self.piece == "part":
            return [is_right for parts in rows for is_right in self._without_parts(parts)]
        longest = self.question.longest + self.question.most_written
        at_once = self.model.rows_at_once(len(rows), longest)
        if mixes_tokens(self.model.anatomy.layers):
            at_once = 1
        parts_of_rows = [rows[part] for part in slices(len(rows), at_once)]
        return [is_right for part in parts_of_rows for is_right in self._written(part)]

    def _chosen(self, rows: Sequence[Collection[int]]) -> list[bool]:
        texts, starts = zip(*self.question.choices, strict=True)
        with torch.no_grad():
            continuations = Continuations(
                texts,
                starts,
                lambda ids: self.model.replay(torch.from_numpy(ids), self.checkpoint),
                self.model.anatomy,
                piece=self.piece,
            )
            at_once = self.model.rows_at_once(len(rows), continuations.row_tokens)
            scores = torch.cat(
                [continuations.without(rows[part]) for part in slices(len(rows), at_once)]
            )
        # NumPy's is the first of equals.
        chosen = scores.numpy().argmax(axis=1)
        return [bool(choice == self.question.prompt.right_choice) for choice in chosen]

    def _without_parts(self, parts: Collection[int]) -> list[bool]:
        silent = [self.model.anatomy.sublayer(part) for part in parts]
        with changed(self.model.loaded.model, (), silent=silent):
            return self._written([()])

    def _written(self, rows: Sequence[Collection[int]]) -> list[bool]:
        model, question = self.model, self.question
        module, start = model.loaded.model, question.tokens.answer_start
        form, longest = form_of(question.prompt), model.info.context_length
        reader = AnswerReader(form, end_tokens(model.loaded), model.vocabulary.texts)
        ids = torch.from_numpy(question.tokens.ids[:start])
        answers = write_greedily(
            module,
            model.anatomy,
            ids.to(execution_device(module.get_input_embeddings())),
            min(question.most_written, longest - start) if longest else question.most_written,
            rows,
            checkpoint=self.checkpoint,
            cached=model.can_read_on(),
            is_over=reader.are_over,
        )
        return [
            form.is_same(reader.answer(row), question.prompt.answer) for row in answers.tolist()
        ]


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
