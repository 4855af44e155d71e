"""Written answers: how they end, and whether they are right."""

from __future__ import annotations

from depthtui.data.run import Prompt, RunResult
from depthtui.prompts.answer_forms import BOXED, NUMBER, TEXT, WORKED, AnswerForm
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.tasks import TASKS


def form_of(prompt: Prompt) -> AnswerForm:
    """The form of the answer to a prompt; one that has choices is answered directly.

    Without a task of that name it is `answer_forms.TEXT`: texts are equal but for case, white space
    around them and a final full stop.
    """
    source = TASKS.get(prompt.task) or DATASETS.get(prompt.task)
    form = source.form if source else TEXT
    # The number alone, where the task has worked solutions without choices.
    return NUMBER if form is WORKED and prompt.choices else form


def is_written(run: RunResult) -> bool:
    """Whether the answer to a run's prompt can be written: it is known, and no published option.

    The right option of a published set is one of several texts that would do.
    """
    dataset = DATASETS.get(run.prompt.task)
    return bool(run.answer) and not (run.prompt.choices and dataset and dataset.to_choices)


def is_solution(prompt: Prompt) -> bool:
    """Whether the answer is a worked solution, which takes hundreds of tokens to write."""
    return form_of(prompt) in (WORKED, BOXED)
