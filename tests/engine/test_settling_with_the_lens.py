"""Settling comes with the lens where a run asks for both: one product with the LM head."""

import contextlib

import numpy as np
import pytest

from depthtui.data.lens import LogitLens
from depthtui.data.protocol import Pace
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings, Skip
from depthtui.engine.control import Control
from depthtui.metrics.logit_lens import compute as lens_module
from depthtui.metrics.settling import Settling
from depthtui.metrics.settling.compute import Divergence

PROMPT = Prompt("The ferry did not run, and seven plus five is twelve.", answer=" twelve.")
LENS = RunSettings(metrics=("logit_lens",))
BOTH = RunSettings(metrics=("logit_lens", "settling"))


@contextlib.contextmanager
def counted_rows():
    """How many rows the lens's reader multiplies with the LM head meanwhile, of every product."""
    counted = []
    product = lens_module.linear_into

    def count(out, rows, *weights):
        counted.append(len(rows))
        product(out, rows, *weights)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lens_module, "linear_into", count)
        yield counted


def rows_of(engine, settings, **options):
    with counted_rows() as rows:
        result = engine.run(PROMPT, settings, **options)
    return result, sum(rows)


def test_both_take_the_products_of_the_lens_alone(engine):
    alone, of_the_lens = rows_of(engine, LENS, fresh=True)
    both, of_both = rows_of(engine, BOTH, fresh=True)
    assert of_both == of_the_lens > 0
    np.testing.assert_array_equal(both.get(LogitLens).kl, alone.get(LogitLens).kl)

    later, of_settling = rows_of(engine, RunSettings(metrics=("settling",)), fresh=True)
    assert of_settling == of_the_lens, "alone it reads every depth as well"
    np.testing.assert_array_equal(both.get(Settling).divergence, later.get(Settling).divergence)
    assert (both.get(Settling).divergence[:-1] > 0).all()


def test_what_is_cached_is_not_read_again(engine):
    engine.run(PROMPT, LENS)
    added, rows = rows_of(engine, BOTH)
    assert rows > 0
    assert added.get(Settling) is not None
    assert rows_of(engine, BOTH)[1] == 0
    whole = engine.run(PROMPT, LENS)
    assert whole.get(Settling) is None, "it is kept by itself, not with the lens"


def test_settling_that_is_known_is_not_asked_of_the_lens(engine, monkeypatch):
    engine.run(PROMPT, RunSettings(metrics=("settling",)))
    monkeypatch.setattr(Divergence, "add", lambda *part: pytest.fail("it is known"))
    result = engine.run(PROMPT, BOTH)
    assert result.unavailable == {}
    assert result.get(Settling) is not None


def test_a_what_if_has_none(engine):
    skipping = RunSettings(metrics=BOTH.metrics, skipped=(Skip(1),))
    result = engine.run(PROMPT, skipping)
    assert result.get(LogitLens) is not None
    assert result.get(Settling) is None
    assert "what-if" in result.unavailable["settling"]


def test_the_pace_is_of_settling_by_itself(engine, events):
    engine.run(PROMPT, BOTH)
    assert not [event for event in events if isinstance(event, Pace) and event.metrics]
    engine.run(PROMPT, RunSettings(metrics=("settling",)), fresh=True)
    (pace,) = [event for event in events if isinstance(event, Pace) and event.metrics]
    assert set(pace.metrics) == {"settling"}


def test_a_lens_that_is_stopped_keeps_its_rows_and_leaves_no_settling(engine, monkeypatch):
    control = Control()
    add = Divergence.add

    def stopped(self, *part):
        control.stop()
        add(self, *part)

    monkeypatch.setattr(Divergence, "add", stopped)
    result = engine.run(PROMPT, BOTH, control)
    assert not result.complete
    assert result.unavailable == {}
    assert result.get(Settling) is None
    assert np.isfinite(result.get(LogitLens).kl[-1]).all()


@pytest.mark.parametrize("at_fault", ["settling", "logit_lens"])
def test_where_one_fails_the_other_is_whole(engine, monkeypatch, at_fault):
    expected = engine.run(PROMPT, BOTH)

    def fails(*_):
        raise ValueError("it was not foreseen")

    reader = Divergence, "add"
    if at_fault == "logit_lens":
        # Read for settling alone, nothing is put into rows.
        reader = lens_module, "_put"
    monkeypatch.setattr(*reader, fails)
    engine.on_bug = lambda error: None
    result = engine.run(PROMPT, BOTH, fresh=True)
    assert result.complete
    assert result.failed == (at_fault,)
    if at_fault == "settling":
        np.testing.assert_array_equal(result.get(LogitLens).kl, expected.get(LogitLens).kl)
    else:
        divergence = expected.get(Settling).divergence
        np.testing.assert_array_equal(result.get(Settling).divergence, divergence)


def test_what_fails_beside_the_lens_alone_is_computed_afterwards(engine, monkeypatch):
    expected = engine.run(PROMPT, BOTH)
    add, calls = Divergence.add, []

    def fails_once(self, *part):
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("it was not foreseen")
        add(self, *part)

    monkeypatch.setattr(Divergence, "add", fails_once)
    result = engine.run(PROMPT, BOTH, fresh=True)
    assert result.unavailable == {}
    assert len(calls) > 1
    divergence = expected.get(Settling).divergence
    np.testing.assert_array_equal(result.get(Settling).divergence, divergence)
