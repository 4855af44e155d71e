"""The sentence of a step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from depthtui.data.lens import LogitLens
from depthtui.data.run import RunResult
from depthtui.metrics.contributions import Contributions
from depthtui.tui.state.step import step_words
from tests.builders.results import random_result


def result() -> RunResult:
    """One in which layer 2 brings token 3 from beyond the list to the first place, at token 2."""
    found = random_result()
    lens, written = found.get(LogitLens), found.get(Contributions)
    assert lens is not None
    assert written is not None
    target = int(found.tokens.ids[3])
    lens.top_ids[2, 2] = [60, 61, 62]
    lens.top_ids[3, 2] = [target, 61, 62]
    lens.next_log_probability[2:4, 2] = np.log([0.02, 0.31])
    written.attention_norm_ratio[2, 2], written.mlp_norm_ratio[2, 2] = 0.21, 0.35
    return found


def test_a_step_has_the_next_tokens_rank_its_probability_and_the_sizes_of_the_writes() -> None:
    found = result()
    next_token = found.tokens.texts[3]
    assert step_words(found, 2, 2) == (
        f"Layer 2 at '{found.tokens.texts[2]}': rank of '{next_token}' >3 -> 1, p .02 -> .31; "
        "attention 0.21 of |h|, MLP 0.35 of |h+a|"
    )
    parallel = replace(found, model=replace(found.model, parallel=True))
    assert step_words(parallel, 2, 2).endswith("MLP 0.35 of |h|")


def test_after_the_last_token_the_lens_has_the_word() -> None:
    found = result()
    lens = found.get(LogitLens)
    assert lens is not None
    lens.top_ids[2, -1], lens.top_ids[3, -1] = [60, 61, 62], [61, 60, 62]
    lens.vocabulary[61] = " Paris"
    assert "'·Paris' 2 -> 1; attention" in step_words(found, 2, 4)


def test_a_layer_that_has_not_run_has_no_sentence() -> None:
    found = result()
    lens, written = found.get(LogitLens), found.get(Contributions)
    assert lens is not None
    assert written is not None
    lens.top_ids[3:] = -1
    assert "->" not in step_words(found, 2, 2)
    written.attention_norm_ratio[2] = np.nan
    written.layer_norm_ratio[2, 2] = 0.5
    assert step_words(found, 2, 2).endswith("layer 0.50 of |h|")
    written.layer_norm_ratio[2] = np.nan
    assert step_words(found, 2, 2) == ""
