"""The manual in the explorer: its list of pages, and a page."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Markdown

from depthtui.manual import all_pages, titles
from depthtui.tui.keymap import Keymap
from depthtui.tui.screens.dialogs.picker import Picker, PickerRow
from depthtui.tui.screens.dialogs.reader import Reader


def pages_of_explorer(keys: Keymap) -> dict[str, str]:
    """The manual's pages by name, with the tables of keys."""
    return all_pages({"keys": keys.tables})


class ManualPicker(Picker[None]):
    """Lists the manual's pages, and opens the chosen one above itself.

    Args:
        keys: the keys that the manual lists.
    """

    heading = "Help"
    hint = "/ searches the pages · enter opens one · esc closes"
    noun = "page"

    def __init__(self, keys: Keymap) -> None:
        super().__init__()
        self._texts = pages_of_explorer(keys)

    def rows(self) -> Iterator[PickerRow]:
        width = max(map(len, self._texts))
        for name, title in titles().items():
            line = Content.assemble((name.ljust(width), "$text-accent"), f"  {title}")
            yield PickerRow(name, line, self._texts[name])

    def choose(self, value: str) -> None:
        self.app.push_screen(ManualPage(titles()[value], self._texts[value]))


class ManualPage(Reader):
    """A page of the manual.

    Args:
        title: the page's title.
        text: the page in Markdown, beginning with its title.
    """

    hint = "j k space b scroll · g G first and last line · esc goes back"

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.heading = title
        self._markdown = text.partition("\n")[2]

    def body(self) -> ComposeResult:
        with VerticalScroll():
            yield Markdown(self._markdown, open_links=False)
