"""What the next run takes over from the run on the screen."""

from __future__ import annotations

from dataclasses import replace

from depthtui.data.model import ModelInfo
from depthtui.data.run import Prompt
from depthtui.data.run_settings import CHOICES, OF_OTHER_PROMPTS, RunSettings
from depthtui.tui.state.session import SessionRun


def settings_after(
    current: SessionRun | None, settings: RunSettings, prompt: Prompt, model: ModelInfo | None
) -> RunSettings:
    """The settings of a run: the user's, with the layers skipped and the answer marked before.

    The mark is taken over where the same prompt runs on the same model.

    Args:
        current: the run on the screen, or None.
        settings: the user's settings.
        prompt: the prompt to run.
        model: the loaded model, or None.
    """
    if current is None:
        return settings
    names = {"skip_part", "skip_everywhere", *CHOICES}.difference(OF_OTHER_PROMPTS)
    settings = replace(settings, **{name: getattr(current.settings, name) for name in names})
    current_key = current.prompt, current.settings.chat_template, current.model
    if current_key != (prompt, settings.chat_template, model):
        return settings
    return replace(settings, answer_start=current.settings.answer_start)


def settings_beside(
    first: SessionRun, prompt: Prompt, chat_template: bool, metrics: tuple[str, ...]
) -> RunSettings:
    """The settings with which a prompt runs as another run did, with every layer.

    Args:
        first: the other run.
        prompt: the prompt.
        chat_template: whether it is wrapped in the chat template.
        metrics: the metrics to measure.
    """
    is_same = prompt.text == first.prompt.text
    return replace(
        first.settings.clean,
        metrics=metrics,
        chat_template=chat_template,
        answer_start=-1,
        skip_positions=first.settings.skip_positions if is_same else (),
    )


def with_marked_answer(run: SessionRun) -> Prompt:
    """A run's prompt with the marked answer as its own, for other tokens.

    A part of an answer that a model wrote is a given answer: its ids are those of the whole.
    """
    start, result, prompt = run.settings.answer_start, run.result, run.prompt
    if start < 0 or result is None:
        return prompt
    answer = "".join(result.tokens.texts[start:])
    if answer == prompt.answer or not prompt.text.endswith(answer):
        return prompt
    return replace(prompt, answer=answer, written=None, choices=(), common_ending="")
