"""The marks of a verdict: counts of layers and depths, by how sure they are."""

from __future__ import annotations

FIRM_MARK, HOLLOW_MARK = "◆", "◇"
"""A depth that is firm, and one that is not."""

FIRM_LAYERS, HOLLOW_LAYERS = ("■", "◧"), ("□", "◫")
"""Counted layers that are firm, and those that are not: a cell whose layers are all counted, and
one with some layers that are not."""

FIRM_BAND, HOLLOW_BAND, FRAGILE_BAND = "━", "═", "╍"
"""The range of a firm count, of one that holds here, and of a fragile one."""

MARKS_EXPLAINED = (
    (
        f"{FIRM_MARK} {HOLLOW_MARK}",
        "a depth: all layers below it; solid is firm, hollow holds here or is fragile",
    ),
    (
        f"{FIRM_LAYERS[0]} {HOLLOW_LAYERS[0]}",
        "single layers that are counted, at their places; solid and hollow as above",
    ),
    (
        f"{FIRM_LAYERS[1]} {HOLLOW_LAYERS[1]}",
        "a cell of several layers, of which only some are counted",
    ),
    (
        f"{FIRM_BAND} {HOLLOW_BAND} {FRAGILE_BAND}",
        "the range of a count that is firm, that holds here, that is fragile",
    ),
    ("!", "fragile: the text gives the reason"),
)
"""Each mark with its meaning."""
