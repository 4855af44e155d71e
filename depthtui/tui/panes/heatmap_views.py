"""The columns of a heatmap: tokens, sublayers, heads, or layers that a skip reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from depthtui import ramps
from depthtui.data.depth import Curves
from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult
from depthtui.depth.reading import Reading
from depthtui.metrics import contributions, direct_effects, pairs, repeat, skip_effects
from depthtui.metrics.choices import layers_words, stand_in_words
from depthtui.metrics.contributions import KINDS
from depthtui.metrics.depth_score import depth_score
from depthtui.metrics.direct_effects import DirectEffects, later_pairs, read_later
from depthtui.metrics.evidence import progress_words
from depthtui.metrics.heads import AttentionHeads
from depthtui.metrics.pairs import WRECK, LayerPairs
from depthtui.metrics.registry import formula_in
from depthtui.metrics.repeat import Repeat, block_words
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.metrics.spec import Measure
from depthtui.token_text import printable
from depthtui.tui.draw.styles import number
from depthtui.tui.draw.text import BEFORE_EACH_LAYER, skip_words
from depthtui.tui.panes.pane import Cursor
from depthtui.tui.panes.view import HeatmapMode

_BRANCHES = ("attention", "mlp", "layer")
_BRANCH_TITLES = ("attention", "MLP", "layer")


class At(NamedTuple):
    """A cell of a heatmap.

    Attributes:
        measure, result: the measure that is shown, and its run.
        values: `[rows, columns]`.
        row, column: its place; of what is copied, the layer and the token of the cursor.
        name: the column's name.
    """

    measure: Measure
    result: RunResult
    values: np.ndarray
    row: int
    column: int
    name: str = ""


class TokensView:
    """One column a token.

    Attributes:
        by_token: whether the cursor's token is a column.
        by_layer: whether columns are layers.
        at_token: whether all columns belong to the cursor's token.
        writes_numbers: whether cells show their values as numbers.
        names_columns: whether wide enough columns have their names beneath.
        unknown: the text of a cell without a value.
    """

    by_token = True
    by_layer = False
    at_token = False
    writes_numbers = False
    names_columns = True
    unknown = ramps.UNKNOWN_GLYPH

    def title(self, measure: Measure, result: RunResult | None) -> str:
        formula = formula_in(measure, result) if result else measure.formula
        rows = BEFORE_EACH_LAYER if measure.reads_residual else ""
        return f"{measure.title} · {formula}{rows}"

    def values(
        self, measure: Measure, result: RunResult, reading: Reading | None, token: int
    ) -> np.ndarray | None:
        """`[rows, columns]`, NaN where unknown, or None where unavailable.

        `token` is the cursor's token; -1 where the run has none there.
        """
        return measure.values(result)

    def side(self, result: RunResult) -> np.ndarray | None:
        """`[rows]`, a separate column with its own scale, or None."""
        return None

    def labels(self, result: RunResult, columns: int) -> Sequence[str]:
        """The texts of so many columns."""
        return result.tokens.readable_texts

    def limits(self, measure: Measure) -> tuple[float, float] | None:
        return measure.limits

    def column_of(self, cursor: Cursor, values: np.ndarray) -> int:
        """The column under the cursor; the last one where there are fewer."""
        return cursor.token

    def column_name(self, column: int) -> str:
        """The name of a column in the legend."""
        return f"token {column}"

    def note(self, result: RunResult) -> str:
        """A note on the run in the frame, or empty."""
        return ""

    def value_texts(self, at: At) -> tuple[str, str]:
        """The place and value under the cursor, in full and in short."""
        value = number(float(at.values[at.row, at.column]))
        note = at.measure.note(at.result, at.row)
        remark = f" · {note}" if note else ""
        layer = _layer_name(at.result, at.row)
        return (
            f"{layer}, {at.name}: {value}{remark}",
            f"{value}{remark}" if note else f"{layer}: {value}",
        )

    def copied(self, at: At) -> tuple[float, str]:
        """The value of a layer at a token, and its name."""
        value, text = at.values[at.row, at.column], at.result.tokens.readable_texts[at.column]
        place = f"layer {at.row}, token {at.column} ({printable(text)})"
        return float(value), f"{at.measure.title}, {place}"


class MeansView(TokensView):
    """Attention, MLP and layer, averaged over tokens."""

    by_token = False
    writes_numbers = True

    def title(self, measure: Measure, result: RunResult | None) -> str:
        return f"Mean {'cosine' if measure.diverging else 'contribution'} by sublayer"

    def values(
        self, measure: Measure, result: RunResult, reading: Reading | None, token: int
    ) -> np.ndarray | None:
        return None if reading is None else means_of(reading.curves, measure)

    def labels(self, result: RunResult, columns: int) -> Sequence[str]:
        return _BRANCH_TITLES

    def limits(self, measure: Measure) -> tuple[float, float] | None:
        return None

    def column_of(self, cursor: Cursor, values: np.ndarray) -> int:
        return 0

    def value_texts(self, at: At) -> tuple[str, str]:
        texts = [number(float(value)) for value in at.values[at.row]]
        named_values = " ".join(map(" ".join, zip(_BRANCH_TITLES, texts, strict=True)))
        return f"{_layer_name(at.result, at.row)}: {named_values}", " ".join(texts)


class LayersView(TokensView):
    """Rows and columns are layers."""

    by_token = False
    by_layer = True
    names_columns = False
    unknown = " "

    def column_of(self, cursor: Cursor, values: np.ndarray) -> int:
        return cursor.layer


class LaterLayersView(LayersView):
    """Rows are layers, columns the later layers that they affect."""

    def values(
        self, measure: Measure, result: RunResult, reading: Reading | None, token: int
    ) -> np.ndarray | None:
        # A layer cannot change earlier layers.
        effects = measure.values(result)
        return None if effects is None else later_pairs(effects)


class SkipsView(LaterLayersView):
    """Rows are skipped layers, columns the later layers that change; the output is apart."""

    def title(self, measure: Measure, result: RunResult | None) -> str:
        skipped = "" if result is None else skip_words(result)
        return f"{measure.title}{skipped and ', '}{skipped} · {measure.formula}"

    def side(self, result: RunResult) -> np.ndarray | None:
        effects = result.get(SkipEffects)
        return None if effects is None else effects.output

    def labels(self, result: RunResult, columns: int) -> Sequence[str]:
        return ["skipped"] * result.model.n_layers

    def note(self, result: RunResult) -> str:
        effects = result.get(SkipEffects)
        if effects is None:
            return ""
        score = depth_score(effects.output, effects.chosen)
        words = [layers_words(effects.chosen, result.model.n_layers)]
        words += [] if np.isnan(score) else [f"DepthScore {score:.1f}"]
        return " · ".join(filter(None, words))

    def value_texts(self, at: At) -> tuple[str, str]:
        effects = at.result.get(SkipEffects)
        output = "–" if effects is None else number(float(effects.output[at.row]))
        later = at.values[at.row]
        most = ""
        if np.isfinite(later).any():
            layer = int(np.nanargmax(later))
            most = f", most {number(float(later[layer]))} at {layer}"
        return f"without {at.row}: output {output}{most}", f"output {output}"

    def copied(self, at: At) -> tuple[float, str]:
        effects = at.result.get(SkipEffects)
        assert effects is not None
        return float(effects.output[at.row]), f"output effect of skipping layer {at.row}"


class ReadsView(LaterLayersView):
    """Rows are writing layers, columns the later layers that read them."""

    def title(self, measure: Measure, result: RunResult | None) -> str:
        part = "layer" if result is None else result.settings.skip_part
        of_part = "" if part == "layer" else f" of {PART_TITLES[part]}"
        stand_in = "" if result is None else stand_in_words(result.settings)
        return f"{measure.title}{of_part}{stand_in and ', '}{stand_in} · {measure.formula}"

    def labels(self, result: RunResult, columns: int) -> Sequence[str]:
        return ["read"] * result.model.n_layers

    def note(self, result: RunResult) -> str:
        effects = result.get(DirectEffects)
        return "" if effects is None else layers_words(effects.chosen, result.model.n_layers)

    def value_texts(self, at: At) -> tuple[str, str]:
        later = at.values[at.row]
        if not np.isfinite(later).any():
            return f"layer {at.row}: read by none", "–"
        reader = int(np.nanargmax(later))
        most = number(float(later[reader]))
        return f"layer {at.row} is read most by layer {reader}: {most}", f"{most} at {reader}"

    def copied(self, at: At) -> tuple[float, str]:
        mean = float(read_later(at.values)[at.row])
        return mean, f"mean direct effect of layer {at.row} on later layers"


class RepeatsView(LayersView):
    """Rows are the first layers of blocks that run twice, columns their last ones."""

    def title(self, measure: Measure, result: RunResult | None) -> str:
        return f"{measure.title} · {measure.formula}"

    def labels(self, result: RunResult, columns: int) -> Sequence[str]:
        return ["twice"] * result.model.n_layers

    def note(self, result: RunResult) -> str:
        repeat = result.get(Repeat)
        return "" if repeat is None else progress_words(repeat.known_rows)

    def value_texts(self, at: At) -> tuple[str, str]:
        blocks = at.values[at.row]
        if not np.isfinite(blocks).any():
            return f"from layer {at.row}: not known yet", "–"
        alone = number(float(blocks[at.row]))
        last = int(np.nanargmin(blocks))
        least = f"least {number(float(blocks[last]))}, {block_words(at.row, last + 1 - at.row)}"
        return f"layer {at.row} twice: {alone}, {least}", alone

    def copied(self, at: At) -> tuple[float, str]:
        return float(at.values[at.row, at.row]), f"{at.measure.title}, layer {at.row} twice"


class PartnersView(LayersView):
    """Rows and columns are layers; the cursor is on a row's strongest partner."""

    def labels(self, result: RunResult, columns: int) -> Sequence[str]:
        return ["with"] * result.model.n_layers

    def column_of(self, cursor: Cursor, values: np.ndarray) -> int:
        layer = min(max(cursor.layer, 0), len(values) - 1)
        partners = values[layer]
        return _strongest(partners) if np.isfinite(partners).any() else layer

    def column_name(self, column: int) -> str:
        return f"layer {column}"

    def value_texts(self, at: At) -> tuple[str, str]:
        partners = at.values[at.row]
        if not np.isfinite(partners).any():
            return f"layer {at.row}: no pair to read", "–"
        most, least = int(np.nanargmax(partners)), int(np.nanargmin(partners))
        words = f"{number(float(partners[most]))} with {most}"
        if least != most:
            words += f", {number(float(partners[least]))} with {least}"
        return f"layer {at.row}: {words}", words

    def copied(self, at: At) -> tuple[float, str]:
        partner = self.column_of(Cursor(at.row, at.column), at.values)
        value = float(at.values[at.row, partner])
        return value, f"{at.measure.title}, layers {at.row} and {partner}"


class PairsView(PartnersView):
    """Rows and columns are layers left out together."""

    def title(self, measure: Measure, result: RunResult | None) -> str:
        stand_in = "" if result is None else stand_in_words(result.settings)
        return f"{measure.title}{stand_in and ', '}{stand_in} · {measure.formula}"

    def note(self, result: RunResult) -> str:
        costs = result.get(LayerPairs)
        if costs is None:
            return ""
        words = [layers_words(costs.chosen, result.model.n_layers)]
        words += [progress_words(costs.known_rows, "costs")]
        words += [f"{ramps.HATCHED_GLYPH} above {WRECK:g} nat, says little"]
        return " · ".join(filter(None, words))


class HeadsView(TokensView):
    """Columns are the heads at the cursor's token; the cursor is on its layer's strongest head."""

    by_token = False
    at_token = True

    def title(self, measure: Measure, result: RunResult | None) -> str:
        return f"{measure.title} · {measure.formula}"

    def values(
        self, measure: Measure, result: RunResult, reading: Reading | None, token: int
    ) -> np.ndarray | None:
        values = measure.values(result)
        if values is None or not values.shape[1]:
            return None
        if token < 0:
            return np.full(values.shape[:2], np.nan, values.dtype)
        return values[:, :, min(token, values.shape[2] - 1)]

    def labels(self, result: RunResult, columns: int) -> Sequence[str]:
        return [str(head) for head in range(columns)]

    def note(self, result: RunResult) -> str:
        heads = result.get(AttentionHeads)
        return "" if heads is None else progress_words(heads.done)

    def column_of(self, cursor: Cursor, values: np.ndarray) -> int:
        return _strongest(values[min(max(cursor.layer, 0), len(values) - 1)])

    def column_name(self, column: int) -> str:
        return f"head {column}"

    def value_texts(self, at: At) -> tuple[str, str]:
        value = number(float(at.values[at.row, at.column]))
        return f"layer {at.row}, most by {at.name}: {value}", f"{at.name}: {value}"

    def copied(self, at: At) -> tuple[float, str]:
        heads = at.values[at.row, :, at.column]
        head = _strongest(heads)
        words = f"{at.measure.title}, layer {at.row}, head {head}, token {at.column}"
        return float(heads[head]), f"{words} ({printable(at.result.tokens.texts[at.column])})"


def _strongest(heads: np.ndarray) -> int:
    """The head with the largest value `[H]`, whatever its sign; 0 where none is known."""
    return int(np.nan_to_num(np.abs(heads)).argmax())


VIEWS: dict[HeatmapMode, TokensView] = {
    "tokens": TokensView(),
    "means": MeansView(),
    "skips": SkipsView(),
    "reads": ReadsView(),
    "repeats": RepeatsView(),
    "pairs": PairsView(),
    "layers": PartnersView(),
    "heads": HeadsView(),
}


_MAPS: dict[str, HeatmapMode] = {
    direct_effects.NAME: "reads",
    repeat.NAME: "repeats",
    pairs.NAME: "pairs",
    skip_effects.METRIC.name: "skips",
}
"""The modes of maps of layers, by metric; those of plug-ins show layers alone."""


def mode_of(measure: Measure, averaged: bool = False) -> HeatmapMode:
    """The columns of a measure: tokens or their means, layers or heads."""
    if measure.columns == "heads":
        return "heads"
    if not measure.by_token:
        return _MAPS.get(measure.metric, "layers")
    return "means" if averaged and has_means(measure) else "tokens"


def has_means(measure: Measure) -> bool:
    """Whether the heatmap has means of a measure over tokens: those of each sublayer."""
    return measure.metric == contributions.METRIC.name


def copied(measure: Measure, result: RunResult, cursor: Cursor) -> tuple[str, str] | None:
    """The value under the cursor in six digits, and its name; None where there is none."""
    values = measure.values(result)
    if values is None:
        return None
    at = At(measure, result, values, min(cursor.layer, len(values) - 1), cursor.token)
    value, words = VIEWS[mode_of(measure)].copied(at)
    return f"{value:.6g}", words


def means_of(curves: Curves, measure: Measure) -> np.ndarray | None:
    """`[L, 3]`: attention, MLP and layer; cosines for a cosine measure, else norm ratios.

    Unavailable branches are NaN; None where all are unavailable.
    """
    kind = KINDS[measure.diverging]
    layer = curves.get(f"layer_{kind}")
    if layer is None:
        return None
    unknown = np.full_like(layer, np.nan)
    return np.stack([curves.get(f"{branch}_{kind}", unknown) for branch in _BRANCHES], axis=1)


def _layer_name(result: RunResult, row: int) -> str:
    return "output" if row == result.model.n_layers else f"layer {row}"
