"""The only access to Textual's internals: they are used and replaced here alone.

Each module describes what Textual does, the upstream issue, and the function that it replaces.
With a version of Textual that is not in `TRIED`, none is installed.
`tests/tui/textual_patches/test_still_needed.py` fails for a patch that Textual no longer needs.
"""

from __future__ import annotations

from typing import NamedTuple

import textual

from depthtui.tui.textual_patches import (
    dispatch,
    layout,
    timers,
)
from depthtui.tui.textual_patches.versions import ARE_ON, TRIED


class TextualPatch(NamedTuple):
    """A function of Textual that the explorer replaces.

    Attributes:
        name: the module of this package.
        replaces: the function.
        issue: numbers of upstream issues; empty if none was reported.
        everywhere: whether Textual's own objects get it too; otherwise a subclass in the explorer
            overrides the function.
    """

    name: str
    replaces: str
    issue: str
    everywhere: bool = False


PATCHES = (
    TextualPatch("dispatch", "MessagePump._dispatch_message", "4258", everywhere=True),
    TextualPatch("layout", "Widget.refresh", "", everywhere=True),
    TextualPatch("layout", "_wrap.cell_len", "", everywhere=True),
    TextualPatch("timers", "MessagePump.set_timer", "", everywhere=True),
    TextualPatch("driver", "LinuxDriver.run_input_thread", "6668, 6456, 6690"),
    TextualPatch("driver", "LinuxDriver._sigcont_application", ""),
    TextualPatch("pace", "Driver.process_message", ""),
    TextualPatch("web_driver", "web_driver.XTermParser", "", everywhere=True),
    TextualPatch("web_driver", "WebDriver.run_input_thread", ""),
    TextualPatch("web_driver", "WebDriver._write", ""),
    TextualPatch("input_parser", "XTermParser.feed", ""),
    TextualPatch("input_parser", "XTermParser.tick", ""),
    TextualPatch("input_parser", "XTermParser._sequence_to_key_events", ""),
    TextualPatch("input_parser", "XTermParser.parse_mouse_code", "6706"),
    TextualPatch("screens", "Screen.dismiss", "2575"),
    TextualPatch("screens", "Screen._compose", ""),
    TextualPatch("screens", "Screen._on_screen_resume", ""),
    TextualPatch("screens", "Screen._on_resize", ""),
    TextualPatch("screens", "Screen.get_widget_and_offset_at", "6643"),
    TextualPatch("screens", "Screen._compositor_refresh", ""),
    TextualPatch("screens", "Screen.render", ""),
    TextualPatch("screens", "StylesCache.get_inner_outer", "6665"),
    TextualPatch("app", "App._check_bindings", "6605"),
    TextualPatch("app", "App._end_batch", ""),
    TextualPatch("app", "App._handle_exception", ""),
    TextualPatch("app", "App.panic", ""),
    TextualPatch("app", "App._display", ""),
    TextualPatch("minimal_updates", "Compositor.update_widgets", ""),
    TextualPatch("minimal_updates", "Compositor.render_partial_update", ""),
)


def why_off() -> str:
    """Why the patches are off, in a sentence; empty where they are on."""
    if ARE_ON:
        return ""
    return (
        f"{len(PATCHES)} patches of Textual are off: they were tried with {' and '.join(TRIED)}, "
        f"and {textual.__version__} is installed."
    )


def install() -> None:
    """Install the patches for all of Textual; a second call changes nothing."""
    if ARE_ON:
        for module in (dispatch, layout, timers):
            module.install()
