"""A page of the verdict: what it lacks, which metrics a key computes, and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from depthtui.data.verdict import Verdict
from depthtui.metrics import kept
from depthtui.metrics.estimates import seconds_of
from depthtui.metrics.layer_order import MODEL_ORDER
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.metrics.spec import Metric
from depthtui.sizes import about
from depthtui.tui.draw.text import NOT_TIMED
from depthtui.tui.panes.page import Page
from depthtui.tui.panes.pane import nothing_pooled
from depthtui.tui.state.automatic_metrics import why_it_waits
from depthtui.tui.state.next_measures import is_quick, next_measures

_PURPOSE = "The number of layers that the model uses, with the evidence."


class VerdictPage(Page):
    """A page of the verdict, which computes the metrics that the verdict lacks."""

    def computes(self) -> tuple[str, ...]:
        if self.result is None:
            return ()
        return self.lens_to_compute() or next_measures(self.result)

    def computes_with(self) -> Mapping[str, Any]:
        return MODEL_ORDER if kept.NAME in self.computes() else {}

    @property
    def computes_quickly(self) -> bool:
        """Whether all metrics that the pane computes next are quick."""
        names = self.computes()
        return all(is_quick(METRIC_BY_NAME[name], self.drawn_result) for name in names)

    def why_no_verdict(self) -> tuple[str, str] | None:
        """Why there is no verdict, and what helps; None where there is one."""
        if self.result is None:
            return nothing_pooled(None, _PURPOSE, self.hint)
        if self.view.verdict is None:
            if self.reading is None:
                return nothing_pooled(self.result, _PURPOSE, self.hint)
            if self.lens_to_compute():
                return self.no_lens()
            return "This run has neither contributions nor a logit lens.", ""
        return None

    @property
    def shown_verdict(self) -> Verdict:
        """The verdict, for pages that are empty without one."""
        assert self.view.verdict is not None
        return self.view.verdict

    @property
    def missing_metrics(self) -> tuple[str, ...]:
        """Missing metrics: first the chosen lens where it has not read the run."""
        return self.lens_to_compute() + self.shown_verdict.missing_metrics

    @property
    def being_computed(self) -> list[str]:
        """Missing metrics that the engine is computing."""
        return [
            name
            for name in self.missing_metrics
            if self.view.is_live
            and name in self.drawn_result.settings.metrics
            and name not in self.drawn_result.unavailable
        ]

    @property
    def next_metrics(self) -> list[str]:
        """Missing metrics that the key computes."""
        busy = {*self.drawn_result.unavailable, *self.being_computed}
        possible = [name for name in self.missing_metrics if name not in busy]
        return [name for name in self.computes() if name in possible]

    def key_words(self, by_name: bool = False, every: str = "them") -> str:
        """The effect of the key, and how long it takes; empty where it computes nothing.

        Args:
            by_name: whether the metrics are named.
            every: the words for all that is missing.
        """
        names = self.next_metrics
        if not names:
            return ""
        titles = ", ".join(title_within(METRIC_BY_NAME[name]) for name in names)
        metric_words = titles if by_name or len(names) == 1 else "the quick ones"
        if set(names) == set(self.missing_metrics) and not by_name and len(names) > 1:
            metric_words = every
        time = self._time(names)
        if not time and len(names) == 1:
            time = f", {NOT_TIMED}"
        return f"{self._key} computes {metric_words}{time}"

    def _time(self, names: list[str]) -> str:
        """The time of some metrics, after a comma; empty where it is not known."""
        computed = self.computed
        seconds = [seconds_of(METRIC_BY_NAME[name], computed, self.view.pace) for name in names]
        known_seconds = [second for second in seconds if second is not None]
        return f", {about(sum(known_seconds))}" if len(known_seconds) == len(names) else ""

    @property
    def why_kept_waits(self) -> str:
        """Why knowledge kept does not start by itself; empty where it does."""
        is_next = kept.NAME in self.next_metrics
        return why_it_waits(self.drawn_result, self.view.pace) if is_next else ""

    @property
    def _key(self) -> str:
        """The keys that compute the next metrics: from another pane `i` focuses this one first."""
        return "i" if self.has_focus or self.computes_quickly else "i, then i"


def title_within(metric: Metric) -> str:
    """A metric's title within a sentence."""
    title = metric.title
    return title[0].lower() + title[1:] if title[1:2].islower() else title
