"""The JSON schema of `summary.json`; `tests/golden` holds every report against it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from depthtui.cli import main
from depthtui.report.summary_schema import summary_schema
from tests.golden.renew import GOLDEN

POOLED = GOLDEN / "runs" / "summary.json"
SCHEMA = summary_schema()


def _problems(summary: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(summary)]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("schema",), 2),
        (("prompts",), []),
        (("model", "n_layers"), "30"),
        (("effective_depth", 0, "rule"), "cosin"),
        (("effective_depth", 0, "count"), 1.5),
        (("verdict", "evidence", 0, "kind"), "casual"),
        (("verdict", "evidence", 0, "firm"), "yes"),
        (("runs", 0, "loss"), "nan"),
        (("settings", "skipped"), [{"layer": 1}]),
    ],
)
def test_what_is_wrong_does_not_follow_it(place: tuple[Any, ...], value: object) -> None:
    summary = copy.deepcopy(json.loads(POOLED.read_text("utf-8")))
    within = summary
    for key in place[:-1]:
        within = within[key]
    within[place[-1]] = value
    assert _problems(summary)


def test_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
