"""These reports stay as they are; `python -m tests.golden.renew` says otherwise."""

from __future__ import annotations

import json
import re
from difflib import unified_diff
from itertools import islice

import pytest
from jsonschema import Draft202012Validator

from depthtui.report.summary_schema import summary_schema
from tests.golden.cases import is_kept, make_reports
from tests.golden.renew import golden_files

_MOST_LINES = 40
_WIDEST = 200

FILES = golden_files()


@pytest.fixture(scope="module")
def reports() -> dict[str, bytes]:
    """Every report as depthtui writes it now."""
    return make_reports()


def test_every_report_is_kept_and_no_other(reports: dict[str, bytes]) -> None:
    assert sorted(filter(is_kept, reports)) == sorted(FILES)


def test_every_summary_follows_its_schema(reports: dict[str, bytes]) -> None:
    schema = summary_schema()
    Draft202012Validator.check_schema(schema)
    names = [name for name in reports if re.search(r"/summary[^/]*\.json$", name)]
    assert len(names) > 12
    for name in names:
        summary = json.loads(reports[name])
        problems = [each.message for each in Draft202012Validator(schema).iter_errors(summary)]
        assert problems == [], name
        assert set(summary) <= set(schema["properties"]), "a key has no description"


@pytest.mark.parametrize("name", FILES)
def test_the_report_is_as_it_was(name: str, reports: dict[str, bytes]) -> None:
    assert name in reports, f"No case makes {name}."
    stored, report = map(_rounded, (FILES[name].read_bytes(), reports[name]))
    if report != stored:
        pytest.fail(f"{name} differs:\n{_difference(stored, report)}", pytrace=False)


def _rounded(content: bytes) -> bytes:
    """A report without the last digits of its numbers: processors add up in other orders."""
    return re.sub(rb"(\d\.\d{12})\d+", rb"\1", content)


def _difference(stored: bytes, report: bytes) -> str:
    """The first lines that differ; of a long line, the part around its first difference."""
    before, after = (
        content.decode("utf-8", "backslashreplace").split("\n") for content in (stored, report)
    )
    lines = unified_diff(before, after, "golden", "made now", lineterm="", n=1)
    lines_shown = [ascii(line)[1:-1] for line in islice(lines, _MOST_LINES)]
    if max(map(len, lines_shown), default=0) <= _WIDEST:
        return "\n".join(lines_shown)
    place = next(
        (n for n, (a, b) in enumerate(zip(stored, report, strict=False)) if a != b),
        min(len(stored), len(report)),
    )
    around = slice(max(0, place - _WIDEST // 2), place + _WIDEST // 2)
    return f"at byte {place}\n-{stored[around]!r}\n+{report[around]!r}"
