"""A user's notes on a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Bookmark:
    """A layer and token of a run to return to.

    Attributes:
        token: index in the prompt, from 0.
        layer: index; L is the model's output.
        note: the user's note; may be empty.
    """

    token: int
    layer: int
    note: str = ""


@dataclass(frozen=True)
class Remarks:
    """A note on a run and its bookmarks, both empty at first.

    Attributes:
        note: any text, of several lines or empty.
        bookmarks: the bookmarks, in the order of tokens, then layers.
    """

    note: str = ""
    bookmarks: tuple[Bookmark, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.note.strip() or self.bookmarks)

    def at(self, layer: int, token: int) -> Bookmark | None:
        """The bookmark at a layer and token, or None."""
        places = (mark for mark in self.bookmarks if (mark.layer, mark.token) == (layer, token))
        return next(places, None)

    def with_bookmark(self, bookmark: Bookmark) -> Remarks:
        """The remarks with a bookmark, which replaces one at the same layer and token."""
        others = self.without_bookmark(bookmark.layer, bookmark.token).bookmarks
        return Remarks(self.note, tuple(sorted((*others, bookmark))))

    def without_bookmark(self, layer: int, token: int) -> Remarks:
        """The remarks without the bookmark at a layer and token."""
        bookmarks = [mark for mark in self.bookmarks if (mark.layer, mark.token) != (layer, token)]
        return Remarks(self.note, tuple(bookmarks))

    def after(self, layer: int, token: int, steps: int = 1) -> Bookmark | None:
        """The bookmark `steps` after a layer and token, wrapping around; None without bookmarks."""
        if not self.bookmarks:
            return None
        before = sum((mark.token, mark.layer) <= (token, layer) for mark in self.bookmarks)
        return self.bookmarks[(before - 1 + steps) % len(self.bookmarks)]
