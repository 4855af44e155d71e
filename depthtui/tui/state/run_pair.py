"""A run and its prompt's run on another model, compared once both are finished."""

from __future__ import annotations

from dataclasses import replace

from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.tui.state.session import RunState, Session, SessionRun


class RunPair:
    """The two runs that a comparison waits for.

    Attributes:
        ready: both, once the second is finished, until a screen takes them; or None.
    """

    ready: tuple[SessionRun, SessionRun] | None = None
    _waiting: tuple[SessionRun, SessionRun] | None = None

    @property
    def is_expected(self) -> bool:
        """Whether a comparison is to open."""
        return self.ready is not None or self._waiting is not None

    def wait(self, first: SessionRun, second: SessionRun) -> None:
        """Compare these runs once the second is finished."""
        self._waiting = first, second

    def follow(self, session: Session) -> None:
        """Set `ready` when the second run is finished; forget both when it ended early."""
        if self._waiting is None or self._waiting[1].state.is_live:
            return
        (first, second), self._waiting = self._waiting, None
        if second.state is RunState.FINISHED and first in session.runs:
            self.ready = first, second

    def pop_ready(self) -> tuple[SessionRun, SessionRun] | None:
        """Return both runs if they are ready; the next call returns None."""
        pair, self.ready = self.ready, None
        return pair

    def stop_waiting(self) -> None:
        """Forget the runs whose second one will not finish."""
        self._waiting = None

    def forget(self) -> None:
        """Cancel the comparison."""
        self.ready = self._waiting = None


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
    """A run's prompt with the marked answer as its own, for other tokens."""
    start, result, prompt = run.settings.answer_start, run.result, run.prompt
    if start < 0 or result is None:
        return prompt
    answer = "".join(result.tokens.texts[start:])
    return replace(prompt, answer=answer) if prompt.text.endswith(answer) else prompt
