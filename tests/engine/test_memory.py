"""What a prompt needs and what would fit, in words."""

import pytest

from depthtui.data.run_settings import RunSettings
from depthtui.engine import memory
from tests.builders.models import model_info


def test_what_would_fit_is_shorter_than_what_does_not():
    info, settings = model_info(), RunSettings()
    room = memory.run_bytes(info, settings, 1000)
    error = memory.does_not_fit(info, settings, 5000, room)
    assert "5,000 tokens does not fit" in error.message
    assert error.hint == "About 1,000 tokens would fit."


@pytest.mark.parametrize(("tokens", "half"), [(2301, "1,150"), (1, "1")])
def test_memory_that_ran_out_beside_plenty_of_free_memory(tokens, half):
    error = memory.does_not_fit(model_info(), RunSettings(), tokens, 1 << 40)
    assert "ran out" in error.message
    assert f"Try one of {half}, or" in error.hint


def test_what_a_run_keeps_is_counted_whatever_it_measures():
    info, n_tokens = model_info(), 1000
    kept = (3 * info.n_layers + 1) * n_tokens * info.d_model * 4
    assert memory.run_bytes(info, RunSettings(metrics=("contributions",)), n_tokens) > kept
