"""What opens a file here, and which of an export's."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthtui.tui.system_open import most_readable, open_in_system


@pytest.mark.parametrize(
    ("names", "first"),
    [(["a.md", "a.json", "a.html", "a.svg"], "a.html"), (["a.safetensors", "a.csv"], "a.csv")],
)
def test_people_read_the_page(names: list[str], first: str) -> None:
    assert most_readable([Path(name) for name in names]) == Path(first)
    assert most_readable([]) is None


def test_where_there_is_no_desktop_it_says_where_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    page = tmp_path / "page.html"
    page.write_text("")
    assert str(page) in open_in_system(page)
    assert "no desktop" in open_in_system(page)
