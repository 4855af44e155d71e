"""The rules of effective depth, one file each.

Code that needs the rules uses `rules.ALL`, or one of the functions here.
"""

from __future__ import annotations

from collections.abc import Collection

from depthtui.data.verdict import KINDS
from depthtui.depth.rule import Rule
from depthtui.depth.rules import cosine, kl, margin, overlap, settled

ALL: tuple[Rule, ...] = (cosine.RULE, kl.RULE, overlap.RULE, settled.RULE, margin.RULE)
"""All rules in the order of every table; the paper's first."""


def named(name: str) -> Rule:
    """The rule of a name.

    Raises:
        KeyError: no rule has it.
    """
    return {rule.name: rule for rule in ALL}[name]


def by_kind() -> list[Rule]:
    """The rules in the order of a verdict: by lens readings, then by the stream's motion."""
    return sorted(ALL, key=lambda rule: KINDS.index(rule.kind))


def names_in(names: Collection[str]) -> list[str]:
    """The names of rules among some names, in the order of tables."""
    return [rule.name for rule in ALL if rule.name in names]
