"""A text and its answer as one prompt."""

from __future__ import annotations

from depthtui.data.run import Prompt


def with_answer(text: str, answer: str) -> Prompt:
    """A typed prompt whose answer is its end; where the text lacks it, it is added."""
    if not answer:
        return Prompt(text)
    begun = text.rstrip()
    question = begun.removesuffix(answer).rstrip(" ") if begun.endswith(answer) else begun
    whole = text if begun.endswith(answer) else f"{begun} {answer}"
    # Nothing would predict an answer that is all of the text.
    return Prompt(whole, whole[len(question) :] if question else "")
