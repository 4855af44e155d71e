"""The base of every screen of the explorer.

Each method of `Screen` describes a fault of Textual's screens. They also draw through a
`ThinCompositor`, and free their entries in Textual's cache.

Overrides `Screen.dismiss`, `_compose`, `_on_screen_resume`, `_on_resize`,
`get_widget_and_offset_at`, `_compositor_refresh` and `render`.
"""

from __future__ import annotations

from rich.console import RenderableType
from textual import events, screen
from textual._context import visible_screen_stack
from textual._styles_cache import StylesCache
from textual.await_complete import AwaitComplete
from textual.geometry import Offset
from textual.screen import ScreenResultType
from textual.widget import Widget

from depthtui.tui.textual_patches.minimal_updates import ThinCompositor
from depthtui.tui.textual_patches.versions import ARE_ON


class Screen(screen.Screen[ScreenResultType]):
    """A screen that sends only changes to the terminal, and is dismissed once."""

    def __init__(
        self, name: str | None = None, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        if ARE_ON:
            self._compositor = ThinCompositor()

    def _on_unmount(self) -> None:
        free_lines()

    if ARE_ON:

        def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
            """Dismiss the screen once, and no other screen.

            Textual pops the top screen, even if it is another one: two quick presses of enter close
            a dialog and the screen beneath it (issue 2575, closed and still there).
            """
            return super().dismiss(result) if self.is_active else AwaitComplete()

        async def _compose(self) -> None:
            """Give the screen the classes of its width before its widgets are styled.

            Textual does so once the screen is laid out, and then styles and lays out all of it
            again (not reported).
            """
            self._classes |= self._get_breakpoint_classes(
                self.app.size.width, self.HORIZONTAL_BREAKPOINTS or []
            )
            await super()._compose()

        def _on_screen_resume(self, event: events.ScreenResume) -> None:
            """Keep Textual's own handler, which runs next, from styling the screen again.

            Each widget is styled when it is mounted, and all of them when a theme is chosen (not
            reported).
            """
            event.refresh_styles = False

        async def _on_resize(self, event: events.Resize) -> None:
            """Keep Textual's own handler, which runs next, from a former size of the terminal.

            Textual lays the screen out by any size, and sends a `Resize` to every widget whose size
            changes, the screen included: an old size and a new one, both queued, follow each other
            without end, and no key is handled (not reported).
            """
            if event.size != self.app.size:
                event.prevent_default()

        def get_widget_and_offset_at(self, x: int, y: int) -> tuple[Widget | None, Offset | None]:
            """The widget under the mouse, unless it has been removed since it was drawn.

            Textual asks the widget's parent for its region, and there is none (issue 6643).
            """
            widget, offset = super().get_widget_and_offset_at(x, y)
            return (widget, offset) if widget is not None and widget.is_attached else (None, None)

        def _compositor_refresh(self) -> None:
            """Paint the screen, and the parts of it that are visible through the screens above.

            Textual notifies the top screen alone: a screen in the middle keeps old lines of the
            bottom screen (not reported).
            """
            beneath, changed = self.app._background_screens, self._compositor._dirty_regions
            if self in beneath and changed:
                for between in beneath[beneath.index(self) + 1 :]:
                    between._set_dirty(*changed)
            super()._compositor_refresh()

        def render(self) -> RenderableType:
            """The background, through which the screen directly beneath is seen.

            Textual takes the last of a list, of which a screen that kept its background takes none:
            the lowest of three dialogs takes the one above it, which draws the lowest, until
            Python's recursion ends (not reported).
            """
            stack = self.app.screen_stack
            place = stack.index(self) if self in stack else 0
            visible_screen_stack.set(stack[max(place - 1, 0) : place])
            return super().render()


def free_lines() -> None:
    """Free the lines of widgets that are gone.

    `StylesCache.get_inner_outer` is a method whose `lru_cache` also keeps its object: the lines of
    a thousand widgets stay in memory (issue 6665).
    """
    if ARE_ON:
        StylesCache.get_inner_outer.cache_clear()


class ModalScreen(screen.ModalScreen[ScreenResultType], Screen[ScreenResultType]):
    """A dialog above another screen."""
