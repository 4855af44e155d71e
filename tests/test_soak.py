"""A short soak of the explorer on a scripted engine, and what a soak notices."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.soak import Soak, events

FAKE = ("tests.tui.fake_explorer",)


def test_events_are_the_same_for_the_same_seed() -> None:
    assert list(islice(events(3), 500)) == list(islice(events(3), 500))
    assert list(islice(events(3), 50)) != list(islice(events(4), 50))


def test_a_hundred_random_events_do_no_harm(tmp_path: Path) -> None:
    tally = Soak(tmp_path, FAKE).run(islice(events(1), 100))
    assert tally.wrong == []
    assert tally.events == 100
    assert tally.checks > 0


def test_a_soak_notices_an_error(tmp_path: Path) -> None:
    tally = Soak(tmp_path, (*FAKE, "crash")).run(["j", "!", "k"])
    assert [wrong for wrong in tally.wrong if "planned" in wrong]


@pytest.mark.by_hand
@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_random_events_on_the_tiny_model(tmp_path: Path, seed: int) -> None:
    from tests.tiny_models import tiny_folder

    model = ("--model", str(tiny_folder(tmp_path)), "--cache-dir", str(tmp_path / "cache"))
    tally = Soak(tmp_path, ("depthtui", *model)).run(islice(events(seed), 1000))
    assert tally.wrong == []
