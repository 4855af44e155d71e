"""The manual in the explorer: its list of pages, and a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Markdown, Static

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
        self.app.push_screen(ManualPage(titles()[value], self._texts[value], [self.words]))


class ManualPage(Reader):
    """A page of the manual, opened at a passage.

    Args:
        title: the page's title.
        text: the page in Markdown, beginning with its title.
        passages: words to open it at, the first of these that it has; its top for none.
    """

    hint = "j k space b scroll · g G first and last line · esc goes back"

    def __init__(self, title: str, text: str, passages: Sequence[str] = ()) -> None:
        super().__init__()
        self.heading = title
        self._markdown = text.partition("\n")[2]
        self._passages = list(filter(None, map(_comparable, passages)))

    def body(self) -> ComposeResult:
        with VerticalScroll():
            yield Markdown(self._markdown, open_links=False)

    def on_mount(self) -> None:
        # Tables are laid out after the text around them.
        self.watch(self._text, "virtual_size", self._find_passage)

    def _find_passage(self) -> None:
        self.call_after_refresh(self._go_to_passage)

    def _go_to_passage(self) -> None:
        texts = {block: _comparable(str(block.content)) for block in self._text.query(Static)}
        for passage in self._passages:
            for block, text in texts.items():
                if passage in text:
                    self._text.scroll_to_widget(block, top=True, animate=False, immediate=True)
                    return


def plain(markdown: str) -> str:
    """Markdown without the marks of code and emphasis."""
    return markdown.replace("`", "").replace("*", "")


def _comparable(words: str) -> str:
    """Words without marks, case and line ends."""
    return " ".join(plain(words).lower().split())
