"""A text and its answer as one prompt."""

from __future__ import annotations

from depthtui.data.run import Prompt


def with_answer(text: str, answer: str) -> Prompt:
    """A typed prompt that ends in its answer; the answer is added where the text lacks it.

    White space around the answer is dropped: one space parts it from the question.
    """
    answer = answer.strip()
    if not answer:
        return Prompt(text)
    begun = text.rstrip()
    question = begun.removesuffix(answer).rstrip(" ") if begun.endswith(answer) else begun
    whole = text if begun.endswith(answer) else f"{begun} {answer}"
    # An answer that is the whole text would have no token to predict it.
    return Prompt(whole, whole[len(question) :] if question else "")
