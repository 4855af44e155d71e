"""The rules of effective depth, one file each.

A reader asks `rules.ALL`, or one of the functions here, when it needs the rules.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import get_args

from depthtui.data.depth import Curves
from depthtui.data.run_settings import SummarySettings
from depthtui.data.verdict import EvidenceKind
from depthtui.depth.rules import cosine, kl, overlap
from depthtui.depth.rules.rule import Rule

ALL: tuple[Rule, ...] = (cosine.RULE, kl.RULE, overlap.RULE)
"""In the order of every table; the paper's first."""


def named(name: str) -> Rule:
    """The rule of a name.

    Raises:
        KeyError: no rule has it.
    """
    return {rule.name: rule for rule in ALL}[name]


def by_kind() -> list[Rule]:
    """The rules in the order of a verdict: what a lens reads, then how the stream moves."""
    kinds = get_args(EvidenceKind)
    return sorted(ALL, key=lambda rule: kinds.index(rule.kind))


def names_in(known: Collection[str]) -> list[str]:
    """The names of rules among some names, in the order of tables."""
    return [rule.name for rule in ALL if rule.name in known]


def bridged(curves: Curves, settings: SummarySettings) -> Curves:
    """What a lens read, with values where it has no map; see `Rule.over_gaps`."""
    known = ((rule, curves.get(rule.curve)) for rule in ALL if rule.through_lens)
    read = {
        rule.curve: rule.over_gaps(values, settings) for rule, values in known if values is not None
    }
    return Curves.of(curves.by_name() | read)
