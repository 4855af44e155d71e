"""From a prompt to tokens, and from token ids to their raw texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from depthtui.data.run import Prompt, PromptTokens, RunResult, joined_text
from depthtui.engine.chat_template import wrapped_question
from depthtui.errors import DepthError, first_line
from depthtui.models.loading import LoadedModel

_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTE_PIECE = re.compile("<0x([0-9A-Fa-f]{2})>")


class Vocabulary:
    """The raw text of every token id, decoded once.

    A token that is only a part of a character has its bytes as lone
    surrogates (PEP 383), so that no two tokens look the same by accident.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._byte_level = _is_byte_level(tokenizer)
        # The tokenizer builds a new list at every access.
        self._special_ids = frozenset(tokenizer.all_special_ids)
        self._texts: dict[int, str] = {}

    def text(self, token_id: int) -> str:
        """The raw text of one id; unsafe until it is made printable."""
        if token_id not in self._texts:
            self._texts[token_id] = self._decode(token_id)
        return self._texts[token_id]

    def texts(self, ids: Iterable[int]) -> dict[int, str]:
        """The raw texts of many ids."""
        return {id_: self.text(id_) for id_ in ids}

    def _decode(self, token_id: int) -> str:
        try:
            piece = self._tokenizer.convert_ids_to_tokens(token_id)
        except (IndexError, OverflowError):
            piece = None
        if piece is None:
            return f"<{token_id}>"  # The head may be wider than the tokenizer.
        if token_id in self._special_ids:
            return str(piece)
        if self._byte_level:
            if all(letter in _BYTE_OF for letter in piece):
                return bytes(_BYTE_OF[letter] for letter in piece).decode(errors="surrogateescape")
            return str(piece)
        if byte := _BYTE_PIECE.fullmatch(piece):
            return bytes.fromhex(byte[1]).decode(errors="surrogateescape")
        return str(piece).replace("▁", " ")


def tokenise(
    tokenizer: Any, prompt: Prompt, chat_template: bool, vocabulary: Vocabulary
) -> PromptTokens:
    """Tokenise a prompt, as the tokenizer does by itself or wrapped in its chat template.

    Raises:
        DepthError: the prompt is empty, the tokenizer cannot read it, or there is no usable
            chat template.
    """
    if (written := prompt.written) is not None:
        texts = [vocabulary.text(id_) for id_ in written.ids]
        # The ids of another model's tokenizer make another text.
        if written.text_of(texts) == prompt.answer:
            tokens = tokenise(tokenizer, prompt.unanswered, chat_template, vocabulary)
            ids = np.concatenate([tokens.ids, np.array(written.ids, np.int64)])
            return PromptTokens(ids, [*tokens.texts, *texts], len(tokens))
    if prompt.ids:
        texts = [vocabulary.text(id_) for id_ in prompt.ids]
        if joined_text(texts) == prompt.text:
            return PromptTokens(np.array(prompt.ids, np.int64), texts, len(texts))
    if not prompt.text:
        raise DepthError("The prompt is empty.", "Type a text of at least one word.")
    text, answer = _wrap(tokenizer, prompt) if chat_template else (prompt.text, prompt.answer)
    text, encoded = _encode(tokenizer, text, chat_template, tokenizer.is_fast)
    ids = encoded["input_ids"]
    if not ids:
        raise DepthError("The tokenizer makes no token of this prompt.", "Type another text.")
    answer_start = len(ids)
    if answer and tokenizer.is_fast:
        begins = len(text) - len(answer)
        ends = [end for _start, end in encoded["offset_mapping"]]
        answer_start = next((t for t, end in enumerate(ends) if end > begins), len(ids))
    return PromptTokens(
        np.array(ids, np.int64), [vocabulary.text(id_) for id_ in ids], answer_start
    )


def _encode(
    tokenizer: Any, text: str, chat_template: bool, with_offsets: bool = False
) -> tuple[str, Any]:
    """A text as the model reads it, and its encoding.

    Raises:
        DepthError: the tokenizer cannot read it.
    """
    # A lone surrogate has no UTF-8: the model reads the replacement character.
    text = _SURROGATE.sub("\ufffd", text)
    try:
        return text, tokenizer(
            text, add_special_tokens=not chat_template, return_offsets_mapping=with_offsets
        )
    except Exception as error:
        raise DepthError(
            f"The model's tokenizer cannot read the prompt: {first_line(error)}.",
            "Its files may be damaged: fetch them again.",
        ) from error


def tokenise_choices(
    tokenizer: Any, prompt: Prompt, chat_template: bool
) -> list[tuple[np.ndarray, int]]:
    """For each choice of a prompt the ids of the whole text, and where those compared begin.

    As lm-evaluation-harness splits a text (`TemplateLM._encode_pair`): white space at the end of
    the context belongs to the choice, and the tokens compared are those behind as many as the
    context alone has. Where a token reaches over that border, it counts as context.

    Raises:
        DepthError: the tokenizer cannot read a text, or makes no token of a context or of a choice.
    """
    texts = []
    for context, continuation in prompt.continuations:
        if chat_template:
            front = wrapped_question(tokenizer, prompt.question)
            begun = context[len(prompt.question) :] + continuation
            whole = front + begun.lstrip(" ")
            border = len(whole) - len(continuation.lstrip(" "))
            # The white space at the end of the template stays with it.
            context = whole[:border].rstrip() if border > len(front) else whole[:border]
        else:
            whole, context = context + continuation, context.rstrip()
        # A context that begins with the first token gets no second one.
        first = getattr(tokenizer, "bos_token", None)
        is_begun = chat_template or bool(first and context.startswith(first))
        _, encoded = _encode(tokenizer, whole, is_begun)
        _, before = _encode(tokenizer, context, is_begun)
        ids, start = np.array(encoded["input_ids"], np.int64), len(before["input_ids"])
        if not context or not start:
            raise DepthError(
                "A choice needs a text before it, which predicts its first token.",
                "Ask a question.",
            )
        if start >= len(ids):
            raise DepthError(
                f"The tokenizer makes no token of its own of the choice {continuation[:40]!r}.",
                "Let it begin with a space, or with another word.",
            )
        texts.append((ids, start))
    return texts


def end_tokens(loaded: LoadedModel) -> frozenset[int]:
    """The ids of tokens that end a text."""
    end_ids = getattr(loaded.model.generation_config, "eos_token_id", None)
    ids = end_ids if isinstance(end_ids, list) else [end_ids]
    return frozenset(int(id_) for id_ in (*ids, loaded.tokenizer.eos_token_id) if id_ is not None)


def tokenise_source(
    tokenizer: Any, result: RunResult, vocabulary: Vocabulary
) -> PromptTokens | None:
    """The tokens of the text that a run is patched from; None where there is none.

    Its answer, where it has one, follows the last word of the prompt's question.

    Raises:
        DepthError: the text cannot be read.
    """
    text, question = result.source_text, result.prompt.question
    if not text:
        return None
    answer = ""
    if result.prompt.answer and (words := question.split()):
        last = question[question.rindex(words[-1]) :]
        behind = "" if last[-1].isspace() else r"(?!\S)"
        for match in re.finditer(rf"(?<!\S){re.escape(last)}{behind}", text):
            answer = text[match.end() :] if text[match.end() :].strip() else ""
    return tokenise(tokenizer, Prompt(text, answer), result.settings.chat_template, vocabulary)


def _wrap(tokenizer: Any, prompt: Prompt) -> tuple[str, str]:
    """The prompt as a turn of a conversation, and the answer as it follows at the end."""
    answer = prompt.answer.lstrip(" ")
    return wrapped_question(tokenizer, prompt.question) + answer, answer


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    parts = [decoder, *decoder.get("decoders", [])]
    return any(part.get("type") == "ByteLevel" for part in parts)


def _byte_of_letter() -> dict[str, int]:
    """The letters by which byte-level BPE writes the 256 bytes.

    A printable Latin-1 byte is written as itself; the others as the code points from 256 on.
    """
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unprintable = [index for index in range(256) if index not in set(itself)]
    letters = {chr(byte): byte for byte in itself}
    return letters | {chr(256 + place): byte for place, byte in enumerate(unprintable)}


_BYTE_OF = _byte_of_letter()
