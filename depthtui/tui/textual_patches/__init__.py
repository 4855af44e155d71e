"""The only access to Textual's internals: they are used and replaced here alone.

Each module describes what Textual does, the upstream issue, and the function that it replaces.
`tests/tui/textual_patches/test_still_needed.py` fails for a patch that Textual no longer needs.
"""

from __future__ import annotations

from typing import NamedTuple

from depthtui.tui.textual_patches import dispatch, key_order, layout, option_list, watchers


class Patch(NamedTuple):
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
    Patch("dispatch", "MessagePump._dispatch_message", "4258", "8.2.8", everywhere=True),
    Patch("key_order", "ScrollView._on_key", "6605", "8.2.8", everywhere=True),
    Patch("layout", "Widget.refresh", "", "8.2.8", everywhere=True),
    Patch("option_list", "OptionList._move_page", "", "8.2.8", everywhere=True),
    Patch("option_list", "OptionList._on_click", "", "8.2.8", everywhere=True),
    Patch("watchers", "dom._watch", "6666", "8.2.8", everywhere=True),
    Patch("driver", "LinuxDriver.run_input_thread", "6668, 6456, 6690", "8.2.8"),
    Patch("driver", "LinuxDriver._sigcont_application", "", "8.2.8"),
    Patch("driver", "LinuxDriver.write", "", "8.2.8"),
    Patch("web_driver", "web_driver.XTermParser", "", "8.2.8", everywhere=True),
    Patch("web_driver", "WebDriver.run_input_thread", "", "8.2.8"),
    Patch("web_driver", "WebDriver._write", "", "8.2.8"),
    Patch("input_parser", "XTermParser._sequence_to_key_events", "", "8.2.8"),
    Patch("input_parser", "XTermParser.parse_mouse_code", "6706", "8.2.8"),
    Patch("screens", "Screen.dismiss", "2575", "8.2.8"),
    Patch("screens", "Screen._on_resize", "", "8.2.8"),
    Patch("screens", "Screen.get_widget_and_offset_at", "6643", "8.2.8"),
    Patch("screens", "Screen._compositor_refresh", "", "8.2.8"),
    Patch("screens", "StylesCache.get_inner_outer", "6665", "8.2.8"),
    Patch("app", "App.action_command_palette", "", "8.2.8"),
    Patch("app", "App._check_bindings", "6605", "8.2.8"),
    Patch("app", "App._end_batch", "", "8.2.8"),
    Patch("app", "App._handle_exception", "", "8.2.8"),
    Patch("app", "App.panic", "", "8.2.8"),
    Patch("app", "App._build_driver", "", "8.2.8"),
    Patch("app", "App._display", "", "8.2.8"),
    Patch("minimal_updates", "Compositor.update_widgets", "", "8.2.8"),
    Patch("minimal_updates", "Compositor.render_partial_update", "", "8.2.8"),
    Patch("minimal_updates", "Compositor.render_full_update", "", "8.2.8"),
    Patch("frame", "StylesCache.render_line", "", "8.2.8"),
    Patch("frame", "StylesCache.render_widget", "", "8.2.8"),
)


def install() -> None:
    """Install the patches for all of Textual; a second call changes nothing."""
    for module in (dispatch, key_order, layout, option_list, watchers):
        module.install()
