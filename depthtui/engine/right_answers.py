"""Right answers of a loaded model, whole or without some of its layers or their parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from depthtui.data.pieces import Piece
from depthtui.data.run import Prompt, PromptTokens
from depthtui.engine.pruning import changed
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.tokens import end_tokens, tokenise, tokenise_choices
from depthtui.metrics.accuracy.answer_reader import AnswerReader
from depthtui.metrics.accuracy.continuations import Continuations
from depthtui.models.devices import execution_device
from depthtui.prompts.written_answers import form_of
from depthtui.tracing.batching import slices
from depthtui.tracing.decoding import write_greedily

Check = Callable[[], None]


@dataclass(frozen=True)
class TokenisedPrompt:
    """A prompt as a model reads it.

    Attributes:
        prompt: the prompt.
        tokens: its tokens.
        choices: for each choice the ids of the whole text, and where those compared begin.
    """

    prompt: Prompt
    tokens: PromptTokens
    choices: Sequence[tuple[np.ndarray, int]]

    @property
    def most_written(self) -> int:
        """The most tokens that the model writes as an answer; 0 where it writes none."""
        length = len(self.tokens) - self.tokens.answer_start
        if self.choices or not 0 < length < len(self.tokens):
            return 0
        return form_of(self.prompt).tokens_for(length)

    @property
    def longest(self) -> int:
        """Tokens of the longest text that the model reads."""
        return max([len(self.tokens), *(len(ids) for ids, _ in self.choices)])


def tokenise_prompt(model: ReadyModel, prompt: Prompt, chat_template: bool) -> TokenisedPrompt:
    """The tokens of a prompt and of its choices.

    Raises:
        DepthError: a text cannot be read, or the model lacks one of its tokens.
    """
    tokens = tokenise(model.loaded.tokenizer, prompt, chat_template, model.vocabulary)
    choices = tokenise_choices(model.loaded.tokenizer, prompt, chat_template)
    for ids in (tokens.ids, *(ids for ids, _ in choices)):
        model.check_ids(ids)
    return TokenisedPrompt(prompt, tokens, choices)


def right_answers(
    model: ReadyModel,
    question: TokenisedPrompt,
    left_out: Sequence[Collection[int]],
    checkpoint: Check,
    piece: Piece = "layer",
) -> list[bool] | None:
    """Whether the answer without each set of pieces is right; None where the prompt has no answer.

    Where there are choices the likeliest is the answer; else the model writes greedily up to a stop
    of the prompt's task.
    """
    if question.choices:
        return _chosen_rightly(model, question, left_out, checkpoint, piece)
    if question.most_written:
        return [
            _is_written_rightly(model, question, pieces, checkpoint, piece) for pieces in left_out
        ]
    return None


def _chosen_rightly(
    model: ReadyModel,
    question: TokenisedPrompt,
    left_out: Sequence[Collection[int]],
    checkpoint: Check,
    piece: Piece,
) -> list[bool]:
    texts, starts = zip(*question.choices, strict=True)
    with torch.no_grad():
        continuations = Continuations(
            texts,
            starts,
            lambda ids: model.replay(torch.from_numpy(ids), checkpoint),
            model.anatomy,
            piece=piece,
        )
        rows = model.rows_at_once(len(left_out), continuations.row_tokens)
        scores = torch.cat(
            [continuations.without(left_out[part]) for part in slices(len(left_out), rows)]
        )
    # NumPy's is the first of equals.
    chosen = scores.numpy().argmax(axis=1)
    return [bool(choice == question.prompt.right_choice) for choice in chosen]


def _is_written_rightly(
    model: ReadyModel,
    question: TokenisedPrompt,
    left_out: Collection[int],
    checkpoint: Check,
    piece: Piece,
) -> bool:
    module, start = model.loaded.model, question.tokens.answer_start
    form, longest = form_of(question.prompt), model.info.context_length
    reader = AnswerReader(form, end_tokens(model.loaded), model.vocabulary.texts)
    ids = torch.from_numpy(question.tokens.ids[:start])
    layers = left_out if piece == "layer" else ()
    silent = [model.anatomy.sublayer(part) for part in left_out] if piece == "part" else []
    with changed(module, layers, silent=silent):
        (answer,) = write_greedily(
            module,
            model.anatomy,
            ids.to(execution_device(module.get_input_embeddings())),
            min(question.most_written, longest - start) if longest else question.most_written,
            [()],
            checkpoint=checkpoint,
            cached=model.can_read_on(),
            is_over=reader.are_over,
        )
    return form.is_same(reader.answer(answer.tolist()), question.prompt.answer)
