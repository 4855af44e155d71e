"""A user's notes on a run, in reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from depthtui.data.lens_view import LOGIT, lens_of
from depthtui.data.remarks import Bookmark
from depthtui.data.run import RunResult
from depthtui.report.blocks import Block, Column, Paragraph, Table, TableCell, Token

_HEADS = ("bookmark", "token", "lens says", "note")


def remark_blocks(result: RunResult, lens: str) -> Iterator[Block]:
    """The note on a run and a row for each bookmark; nothing where there is neither.

    `lens` is the name in `LENSES` of the lens whose tokens bookmarks show.
    """
    remarks = result.remarks
    if remarks.note.strip():
        yield Paragraph(f"Note: {remarks.note.strip()}")
    if remarks.bookmarks:
        rows: list[list[TableCell]] = [
            [
                _place(mark, result),
                Token(_token(mark, result)),
                Token(_top_token(mark, result, lens)),
                mark.note,
            ]
            for mark in remarks.bookmarks
        ]
        yield Table([Column(head) for head in _HEADS], rows)


def remarks_dict(result: RunResult) -> dict[str, Any]:
    """The note and the bookmarks as JSON values."""
    remarks = result.remarks
    marks = [
        {
            "layer": mark.layer,
            "token": mark.token,
            "text": _token(mark, result),
            "lens": _top_token(mark, result),
            "note": mark.note,
        }
        for mark in remarks.bookmarks
    ]
    note = {"note": remarks.note} if remarks.note.strip() else {}
    return note | ({"bookmarks": marks} if marks else {})


def place_words(mark: Bookmark, result: RunResult) -> str:
    """A place in a line, such as `layer 17, token 4 " is": Paris`; untrusted."""
    top_token = _top_token(mark, result)
    return f'{_place(mark, result)} "{_token(mark, result)}"' + (
        f": {top_token}" if top_token else ""
    )


def _place(mark: Bookmark, result: RunResult) -> str:
    layer = "output" if mark.layer == result.model.n_layers else f"layer {mark.layer}"
    return f"{layer}, token {mark.token}"


def _token(mark: Bookmark, result: RunResult) -> str:
    texts = result.tokens.readable_texts
    return texts[mark.token] if mark.token < len(texts) else ""


def _top_token(mark: Bookmark, result: RunResult, lens: str = LOGIT) -> str:
    """The lens's most probable token at a bookmark, or empty where it is unknown."""
    values = lens_of(result, lens)
    if values is None:
        return ""
    depths, tokens, _ = values.top_ids.shape
    if mark.layer >= depths or mark.token >= tokens:
        return ""
    return values.vocabulary.get(int(values.top_ids[mark.layer, mark.token, 0]), "")
