"""The rules of effective depth, one file each.

Code that needs the rules uses `rules.ALL`, or one of the functions here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from depthtui.data.lazy import LazyTuple
from depthtui.data.verdict import KINDS
from depthtui.depth.plugin_rules import with_plugins
from depthtui.depth.rule import Rule
from depthtui.depth.rules import cosine, kl, margin, overlap, settled

BUILT_IN = (cosine.RULE, kl.RULE, overlap.RULE, settled.RULE, margin.RULE)
"""The rules of depthtui; the paper's first."""

ALL: Sequence[Rule] = LazyTuple(lambda: with_plugins(BUILT_IN))
"""All rules in the order of every table; those of plug-ins, which come last, load at a look."""


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
