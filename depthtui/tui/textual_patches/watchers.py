"""Forget widgets that watch an attribute and are gone.

Textual forgets them when the attribute changes (`Reactive._check_watchers`). The theme that text
areas watch seldom changes: all of these widgets are kept (issue 6666).

Replaces `dom._watch` for all of Textual.
"""

from __future__ import annotations

from typing import Any

from textual import dom
from textual.dom import DOMNode

textuals = dom._watch  # type: ignore[attr-defined]


def watch(
    node: DOMNode, obj: DOMNode, attribute_name: str, callback: Any, *, init: bool = True
) -> None:
    """Watch an attribute, and forget its watchers that are gone."""
    watchers = getattr(obj, "__watchers", {}).get(attribute_name, [])
    watchers[:] = [watcher for watcher in watchers if not watcher[0]._closing]
    textuals(node, obj, attribute_name, callback, init=init)


def install() -> None:
    """Replace Textual's function."""
    dom._watch = watch  # type: ignore[attr-defined]
