"""The data from which a pane draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from depthtui.data.inspection import Inspection
from depthtui.data.lens_view import LOGIT
from depthtui.data.protocol import Pace
from depthtui.data.remarks import Remarks
from depthtui.data.run import RunResult
from depthtui.data.verdict import Verdict
from depthtui.depth.reading import Reading
from depthtui.metrics.registry import MEASURES
from depthtui.metrics.spec import Measure
from depthtui.palettes import OWN_PALETTE
from depthtui.tui.draw.styles import RampChoice

HeatmapMode: TypeAlias = Literal[
    "tokens", "means", "skips", "reads", "repeats", "pairs", "layers", "heads"
]
LayerOrder: TypeAlias = Literal["up", "down"]

_BY_IDENTITY = ("result", "reading", "other_result", "other_reading", "page")


@dataclass(frozen=True, eq=False)
class View:
    """All data that a pane draws but its cursor; made by the screen in one place.

    Two views are equal where a pane draws the same; after new rows of a run, the screen passes a
    new reading.

    Attributes:
        result: the run, complete or not; None where there is nothing to draw.
        reading: its curves and effective depths; None where no token counts.
        other_result, other_reading: the same for a second run to compare with.
        names: the names of the two runs; untrusted.
        measure: the per-token measure that is coloured.
        mode: the columns of a heatmap.
        lens: the lens that reads the runs, by its name in `LENSES`.
        layer_order: `up` has layer 0 at the bottom.
        ramp: `auto` asks the terminal; else `truecolor`, `256` or `glyph`.
        palette: the name of the palette for values.
        pace: the model's timings, for estimates.
        can_compute: whether a key computes what a pane lacks.
        verdict: the run's verdict.
        is_live: whether the engine works on the run.
        is_written: whether the model still writes the run's answer.
        controls: the model's controls in a line; empty where there are none.
        time_left: the time until the headline is counted, in words; empty where unknown.
        thresholds_turned: whether thresholds differ from those that the session began with.
        remarks: the user's marks and notes on the run.
        written_through: the lens that read a generated text as it was written.
        page: a layer of the run at the cursor's token, or None.
        page_problem: why there is no page; empty while it is being computed.
    """

    result: RunResult | None = None
    reading: Reading | None = None
    other_result: RunResult | None = None
    other_reading: Reading | None = None
    names: tuple[str, str] | None = None
    measure: Measure = field(default_factory=lambda: MEASURES[0])
    mode: HeatmapMode = "tokens"
    lens: str = LOGIT
    layer_order: LayerOrder = "up"
    ramp: RampChoice = "auto"
    palette: str = OWN_PALETTE
    pace: Pace = field(default_factory=Pace)
    can_compute: bool = True
    verdict: Verdict | None = None
    is_live: bool = True
    is_written: bool = False
    controls: str = ""
    time_left: str = ""
    thresholds_turned: bool = False
    remarks: Remarks = field(default_factory=Remarks)
    written_through: str = LOGIT
    page: Inspection | None = None
    page_problem: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, View):
            return NotImplemented
        pairs = zip(vars(self).items(), vars(other).values(), strict=True)
        return all(
            mine is theirs or (name not in _BY_IDENTITY and mine == theirs)
            for (name, mine), theirs in pairs
        )

    __hash__ = None  # type: ignore[assignment]
