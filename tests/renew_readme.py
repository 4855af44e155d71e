"""Write the README's table of metrics anew: `python -m tests.renew_readme`."""

from __future__ import annotations

from pathlib import Path

from depthtui.cli.lists import metrics_markdown

README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- metrics: python -m tests.renew_readme -->\n"
END = "\n<!-- end of metrics -->"


def renewed(readme: str) -> str:
    """The README with the table that the code prints."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"the README has no line {BEGIN!r}"
    assert end, f"the README has no line {END!r}"
    return before + begin + metrics_markdown() + end + after


if __name__ == "__main__":
    old = README.read_text("utf-8")
    new = renewed(old)
    README.write_text(new, "utf-8")
    print("Nothing has changed." if new == old else f"changed {README.name}")
