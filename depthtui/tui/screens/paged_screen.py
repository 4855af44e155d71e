"""A live screen with pages: panes that share a place, through which a key turns."""

from __future__ import annotations

from typing import ClassVar

from depthtui.tui.panes.page import Page
from depthtui.tui.panes.pane import Pane
from depthtui.tui.screens.live_screen import LiveScreen


class PagedScreen(LiveScreen):
    """Shows one of its pages at a time; where panes are tabs, each page is one.

    The shown page has the class `up`.
    """

    PAGES: ClassVar[tuple[str, ...]] = ()
    """Ids of the pages in the order of turning."""

    ANSWER: ClassVar[str] = ""
    """Id of the pane that answers first; its dial turns where the focus is on none."""

    def on_mount(self) -> None:
        pages = self.pages
        for page in pages:
            page.pages = pages
            page.set_class(page is pages[0], "up")
        super().on_mount()

    @property
    def pages(self) -> list[Page]:
        return [self.query_one(f"#{page}", Page) for page in self.PAGES]

    @property
    def panes(self) -> list[Pane]:
        """The panes of the screen; of the pages only the shown one, unless each is a tab."""
        panes = super().panes
        if not self.has_class("-narrow"):
            return [pane for pane in panes if pane.id not in self.PAGES or pane.has_class("up")]
        # Where one pane is shown at a time, the answer comes first.
        return sorted(panes, key=lambda pane: pane.id != self.ANSWER)

    @property
    def seen_page(self) -> Page | None:
        """The page that is visible; None where other panes cover it."""
        # This does not ask the layout: keys come faster than layouts.
        up = next(page for page in self.pages if page.has_class("up"))
        if self.is_zoomed:
            return up if self.maximized is up else None
        covered = self.has_class("-narrow") and not up.has_class("active")
        return None if covered else up

    def _activate(self, pane: Pane) -> None:
        if pane.id in self.PAGES:
            for page in self.pages:
                page.set_class(page is pane, "up")
        super()._activate(pane)

    def turn_page(self) -> None:
        """Show the next page, or the current one where another pane covers it."""
        pages = self.pages
        steps, place = self.pop_count(), self.seen_page
        up = next(number for number, page in enumerate(pages) if page.has_class("up"))
        self._activate(pages[up if place is None else (up + steps) % len(pages)])

    def show_page(self, name: str) -> None:
        """Show the page of this id, unless the user looks at another pane in its place."""
        if self.seen_page is not None:
            for page in self.pages:
                page.set_class(page.id == name, "up")

    def turn_dial(self, step: int) -> None:
        """Turn the dial of the pane with the focus, or of the answer; a count turns it further."""
        dialled, steps = self.dialled, step * self.pop_count()
        if dialled is None:
            self.notify("This pane has no dial: d turns to the next page.", markup=False)
        else:
            dialled.turn_dial(steps)

    @property
    def dialled(self) -> Page | None:
        """The page whose dial the keys turn; None where none is in sight."""
        active, answer = self.active_pane, self.query_one(f"#{self.ANSWER}", Page)
        if isinstance(active, Page) and active.dial:
            return active
        is_alone = self.is_zoomed or self.has_class("-narrow")
        return None if is_alone else answer
