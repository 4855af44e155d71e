"""What a user has noted on a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Bookmark:
    """A place in a run that somebody wants to come back to.

    Attributes:
        token: by its place in the prompt, from 0.
        layer: by its index; L is the model's output.
        note: what it is marked for; may be empty.
    """

    token: int
    layer: int
    note: str = ""


@dataclass(frozen=True)
class Remarks:
    """A note on a run and its bookmarks, both empty at first.

    Attributes:
        note: any text, several lines or none.
        bookmarks: in the order of tokens, then layers.
    """

    note: str = ""
    bookmarks: tuple[Bookmark, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.note.strip() or self.bookmarks)

    def at(self, layer: int, token: int) -> Bookmark | None:
        """The bookmark on a place, or None."""
        places = (mark for mark in self.bookmarks if (mark.layer, mark.token) == (layer, token))
        return next(places, None)

    def with_bookmark(self, bookmark: Bookmark) -> Remarks:
        """These, with a bookmark in the place of one that is there already."""
        others = self.without_bookmark(bookmark.layer, bookmark.token).bookmarks
        return Remarks(self.note, tuple(sorted((*others, bookmark))))

    def without_bookmark(self, layer: int, token: int) -> Remarks:
        """These without the bookmark on a place."""
        kept = [mark for mark in self.bookmarks if (mark.layer, mark.token) != (layer, token)]
        return Remarks(self.note, tuple(kept))

    def after(self, layer: int, token: int, steps: int = 1) -> Bookmark | None:
        """The bookmark behind a place, or so many steps on, beginning anew; None without any."""
        if not self.bookmarks:
            return None
        before = sum((mark.token, mark.layer) <= (token, layer) for mark in self.bookmarks)
        return self.bookmarks[(before - 1 + steps) % len(self.bookmarks)]
