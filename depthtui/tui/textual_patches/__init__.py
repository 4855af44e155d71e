"""The only access to Textual's internals: they are used and replaced here alone.

Each module describes what Textual does, the upstream issue, and the function that it replaces.
`tests/tui/textual_patches/test_still_needed.py` fails for a patch that Textual no longer needs.
"""

from __future__ import annotations

from typing import NamedTuple

from depthtui.tui.textual_patches import (
    dispatch,
    key_order,
    layout,
    timers,
    watchers,
)


class TextualPatch(NamedTuple):
    """A function of Textual that the explorer replaces.

    Attributes:
        name: the module of this package.
        replaces: the function.
        issue: numbers of upstream issues; empty if none was reported.
        version: the version of Textual that it is for.
        everywhere: whether Textual's own objects get it too; otherwise a subclass in the explorer
            overrides the function.
    """

    name: str
    replaces: str
    issue: str
    version: str
    everywhere: bool = False


PATCHES = (
    TextualPatch("dispatch", "MessagePump._dispatch_message", "4258", "8.2.8", everywhere=True),
    TextualPatch("key_order", "ScrollView._on_key", "6605", "8.2.8", everywhere=True),
    TextualPatch("layout", "Widget.refresh", "", "8.2.8", everywhere=True),
    TextualPatch("timers", "MessagePump.set_timer", "", "8.2.8", everywhere=True),
    TextualPatch("watchers", "dom._watch", "6666", "8.2.8", everywhere=True),
    TextualPatch("driver", "LinuxDriver.run_input_thread", "6668, 6456, 6690", "8.2.8"),
    TextualPatch("driver", "LinuxDriver._sigcont_application", "", "8.2.8"),
    TextualPatch("driver", "LinuxDriver.write", "", "8.2.8"),
    TextualPatch("web_driver", "web_driver.XTermParser", "", "8.2.8", everywhere=True),
    TextualPatch("web_driver", "WebDriver.run_input_thread", "", "8.2.8"),
    TextualPatch("web_driver", "WebDriver._write", "", "8.2.8"),
    TextualPatch("input_parser", "XTermParser.feed", "", "8.2.8"),
    TextualPatch("input_parser", "XTermParser.tick", "", "8.2.8"),
    TextualPatch("input_parser", "XTermParser._sequence_to_key_events", "", "8.2.8"),
    TextualPatch("input_parser", "XTermParser.parse_mouse_code", "6706", "8.2.8"),
    TextualPatch("screens", "Screen.dismiss", "2575", "8.2.8"),
    TextualPatch("screens", "Screen._on_resize", "", "8.2.8"),
    TextualPatch("screens", "Screen.get_widget_and_offset_at", "6643", "8.2.8"),
    TextualPatch("screens", "Screen._compositor_refresh", "", "8.2.8"),
    TextualPatch("screens", "StylesCache.get_inner_outer", "6665", "8.2.8"),
    TextualPatch("app", "App._check_bindings", "6605", "8.2.8"),
    TextualPatch("app", "App._end_batch", "", "8.2.8"),
    TextualPatch("app", "App._handle_exception", "", "8.2.8"),
    TextualPatch("app", "App.panic", "", "8.2.8"),
    TextualPatch("app", "App._build_driver", "", "8.2.8"),
    TextualPatch("app", "App._display", "", "8.2.8"),
    TextualPatch("minimal_updates", "Compositor.update_widgets", "", "8.2.8"),
    TextualPatch("minimal_updates", "Compositor.render_partial_update", "", "8.2.8"),
    TextualPatch("minimal_updates", "Compositor.render_full_update", "", "8.2.8"),
    TextualPatch("frame", "StylesCache.render_line", "", "8.2.8"),
    TextualPatch("frame", "StylesCache.render_widget", "", "8.2.8"),
)


def install() -> None:
    """Install the patches for all of Textual; a second call changes nothing."""
    for module in (dispatch, key_order, layout, timers, watchers):
        module.install()
