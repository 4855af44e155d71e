"""The marks of a verdict: counts of layers and depths, by how sure they are."""

from __future__ import annotations

FIRM_MARK, HOLLOW_MARK = "◆", "◇"
"""A depth that is firm, and one that is not."""

FIRM_LAYERS, HOLLOW_LAYERS = ("■", "◧"), ("□", "◫")
"""Counted layers that are firm, and those that are not: a cell whose layers are all counted, and
one with some layers that are not."""

FIRM_BAND, HOLLOW_BAND, FRAGILE_BAND = "━", "═", "╍"
"""The range of a firm count, of one that holds here, and of a fragile one."""
