"""The needs of metrics: what a run must have for a metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult

Need: TypeAlias = Callable[[RunResult], str]
"""Returns why a run cannot have a metric; empty where it can."""


def clean_run(result: RunResult) -> str:
    """A need: nothing is left out, and nothing runs twice."""
    return "" if result.settings.is_clean else "it is measured on clean runs, not in a what-if"


def own_states(result: RunResult) -> str:
    """A need: no state of another prompt takes the place of its own."""
    return "states of another prompt are patched in" if result.settings.patched else ""


def layers_here(result: RunResult) -> str:
    """A need: the model's layers are run here, not read from files."""
    return "its states are read from files: no layer is run" if result.model.states_from else ""


def states_from_files(result: RunResult) -> str:
    """A need: the states were read from files of another engine."""
    return "" if result.model.states_from else "it needs the states of another engine: run --states"


def lens(result: RunResult) -> str:
    """A need: final norm and LM head are known."""
    return result.model.lens_missing


def unbroken_stream(result: RunResult) -> str:
    """A need: each layer reads the output of the one before."""
    if result.model.broken_at:
        return "the model does something to its residual stream between its passes"
    return last_stream_alone(result)


def last_stream_alone(result: RunResult) -> str:
    """A need: no layer reads streams of earlier depths beside the last one."""
    return "its layers read earlier depths too" if result.model.reads_earlier else ""


def readout_of_one_depth(result: RunResult) -> str:
    """A need: the final norm reads one depth's stream."""
    mixes = result.model.mixes_depths
    return "its final norm mixes the streams of several depths" if mixes else ""


def split(result: RunResult) -> str:
    """A need: where only attention or only MLP is skipped, the two are separate."""
    return result.model.split_missing if result.settings.skip_part != "layer" else ""


def whole_split(result: RunResult) -> str:
    """A need: attention and MLP are separate."""
    return result.model.split_missing


def heads(result: RunResult) -> str:
    """A need: attention has heads, as many in each layer."""
    return "" if result.model.heads else "its configuration names no number of heads"


def experts(result: RunResult) -> str:
    """A need: some layer has experts."""
    return result.model.experts_missing


def mean_update(result: RunResult) -> str:
    """A need: a mean update stands in only for whole layers."""
    settings = result.settings
    if settings.ablate == "mean" and settings.skip_part != "layer":
        return f"only a whole layer has a mean update, not its {PART_TITLES[settings.skip_part]}"
    return ""


def no_mean_update(result: RunResult) -> str:
    """A need: parts of layers are left out without a mean update, which they do not have."""
    is_mean = result.settings.ablate == "mean"
    return "only a whole layer has a mean update, not its parts" if is_mean else ""


def second_token(result: RunResult) -> str:
    """A need: a token that another one predicts."""
    return "the prompt is a single token" if len(result.tokens) < 2 else ""


def answer(result: RunResult) -> str:
    """A need: the prompt has an answer, and a token before it."""
    if result.answer_start >= len(result.tokens):
        return "the prompt has no known answer"
    if result.answer_start < 1:
        return "the answer begins at the first token, so nothing predicts it"
    return ""


def choices_or_answer(result: RunResult) -> str:
    """A need: the prompt has choices, one of them right, or an answer that can be written."""
    prompt = result.prompt
    if prompt.choices:
        return "" if prompt.right_choice >= 0 else "none of its choices is the right one"
    if prompt.answer or result.settings.answer_start >= 0:
        return answer(result)
    return "the prompt has no options to choose from (--choices), and no known answer"
