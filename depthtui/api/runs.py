"""The result of `analyze`: runs of one model, their depths, arrays, frames and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from html import escape
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from depthtui.api.keywords import names_of
from depthtui.data.depth import DepthEstimate
from depthtui.data.inspection import Inspection
from depthtui.data.model import ModelInfo
from depthtui.data.pieces import Piece
from depthtui.data.run import RunResult
from depthtui.data.run_settings import SummarySettings
from depthtui.data.token_depths import TokenDepths
from depthtui.data.verdict import Verdict
from depthtui.depth.by_type import LayersOfType, by_type
from depthtui.depth.left_out import LeftOut
from depthtui.depth.reading import Reading
from depthtui.depth.token_depths import depths_of_run
from depthtui.errors import DepthError, short_repr
from depthtui.metrics.accuracy import METRIC as ACCURACY
from depthtui.metrics.accuracy.pooled_accuracy import PooledAccuracy
from depthtui.metrics.quantisation import KeepHigh, ReducedQuantisation
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.palettes import OWN_PALETTE, PALETTES
from depthtui.report.as_html import html_bytes
from depthtui.report.export import run_report
from depthtui.report.formats import format_help, format_titles
from depthtui.report.groups import group_runs
from depthtui.report.long_table import dataframe, left_out_frame, rows_of_groups, rows_of_run
from depthtui.report.phrases import rule_title
from depthtui.report.run_document import run_document
from depthtui.token_text import printable_line, shortened

if TYPE_CHECKING:
    from pandas import DataFrame

InspectLayer: TypeAlias = Callable[[RunResult, int, int], Inspection]
"""Inspects a layer at a token of a run."""

_MOST_CELLS = 200_000
"""Most heatmap cells of a report in a notebook, whose file contains every picture."""

_LONGEST_TEXT = 60
"""Most characters of a prompt in a line."""


class LeftOutTable(LeftOut):
    """What is left of a model as pieces leave; a frame of pandas, too."""

    def to_dataframe(self) -> DataFrame:
        """A row for each number of pieces that stay; needs pandas.

        Raises:
            DepthError: pandas is missing.
        """
        return left_out_frame(self)


class Run(RunResult):
    """One prompt run through one model; each metric is an attribute.

    `run.logit_lens.kl` is an array; `dir(run)` lists the available metrics, and
    `help(run.logit_lens)` describes their arrays. See `RunResult` for everything else.
    """

    _inspector: InspectLayer | None = None

    def layer(self, layer: int, token: int = -1) -> Inspection:
        """Inspect a layer at a token: the tokens that it reads and writes, its heads and neurons.

            page = runs[0].layer(24)               # at the last token
            page.before.top, page.after.top        # tokens and probabilities
            page.reads.value_weighted              # [token + 1], by source token
            max(page.heads, key=lambda head: head.direct)

        A model given by name is loaded again at the first call, and stays loaded as long as the
        runs exist. A loaded model is run again at each call.

        Args:
            layer: index from 0.
            token: index from 0; a negative one counts from the end.

        Raises:
            DepthError: there is no such layer or token, or layers are left out.
        """
        if self._inspector is None:
            raise DepthError("This run does not know its model.", "Runs of `analyze` do.")
        return self._inspector(self, layer, token)

    def __getstate__(self) -> dict[str, Any]:
        """The run without `_inspector`, which uses the model."""
        return {name: value for name, value in vars(self).items() if name != "_inspector"}

    def __getattr__(self, name: str) -> Any:
        # While a copy is being made, it has no attributes yet.
        measured = vars(self).get("measured", {})
        if name in measured:
            return measured[name]
        if name in METRIC_BY_NAME:
            reason = self.unavailable.get(name, "it was not asked for")
            raise AttributeError(f"The run has no {name}: {reason}.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.measured]

    def __repr__(self) -> str:
        return f"<Run of {len(self.tokens)} tokens: {shortened(self.prompt.text, _LONGEST_TEXT)}>"


class Runs(Sequence[Run]):
    """Runs of one model, one per prompt.

    Each metric is an attribute of a run, `runs[0].contributions.layer_cosine`. As an attribute of
    `runs` it is a list with an item for each run, short for
    `[run.contributions for run in runs]`; None where it is unavailable for a prompt.

    Attributes:
        settings: how runs are pooled into curves and depths.
        failures: why a prompt was left out, by its index among the given prompts.
    """

    def __init__(
        self,
        results: Iterable[RunResult],
        settings: SummarySettings | None = None,
        failures: Mapping[int, str] | None = None,
        inspector: InspectLayer | None = None,
    ) -> None:
        self._runs = [_run_of(result, inspector) for result in results]
        self._inspector = inspector
        self.settings = settings or SummarySettings()
        self.failures = dict(failures or {})
        if not self._runs:
            raise DepthError("There are no runs.")

    @property
    def model(self) -> ModelInfo:
        """Names, shape and settings of the model."""
        return self._runs[0].model

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that at least one run has."""
        return tuple(name for name in METRIC_BY_NAME if any(name in run.measured for run in self))

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all prompts."""
        return sum(len(run.tokens) for run in self)

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, place: int) -> Run: ...

    @overload
    def __getitem__(self, place: slice) -> Runs: ...

    def __getitem__(self, place: int | slice) -> Run | Runs:
        if isinstance(place, slice):
            return Runs(self._runs[place], self.settings, inspector=self._inspector)
        return self._runs[place]

    def __getattr__(self, name: str) -> Any:
        if name not in METRIC_BY_NAME:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name not in self.metrics:
            return getattr(self[0], name)  # raises the error for a missing one
        return [run.measured.get(name) for run in self]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.metrics]

    def depths(self) -> dict[str, DepthEstimate]:
        """The effective depth by each rule, over all tokens of all prompts.

            kl = runs.depths()["kl"]
            kl.count, kl.interval, kl.reason

        Returns:
            rule -> its `layer` (0-based, None where there is none, with the `reason`), `count`
            (layer + 1), `ratio` (count / L), and `interval`, the 95 % bootstrap interval of the
            layer, None below five prompts; `crossing` and `area`, which do not jump from layer
            to layer; `prompt_weighted`, the estimate on the mean in which each prompt counts once.
        """
        return {depth.rule: depth for depth in self._reading().depths}

    def verdict(self) -> Verdict | None:
        """The number of layers that the model uses, and the evidence for it.

            verdict = runs.verdict()
            print(verdict.sentence)
            [one.measure for one in verdict.evidence if one.firm]

        Returns:
            its `sentence`, the `warnings` to read first, the `headline` of what is kept, and
            its `evidence`: the `count` of layers by each measure, the range from `low` to `high`
            of the count over threshold, lens, token 0, prompts and tokens, the `interval` over
            prompts and tokens, whether it is `firm`, or only `holds_here`, and the `reason` where
            it is not firm. None where no metric gives evidence.
        """
        return self._reading().verdict

    def left_out(self, piece: Piece = "layer") -> LeftOutTable | None:
        """What is left as layers, or their parts, leave in the order that was found.

            left_out = runs.left_out()
            left_out.least("knowledge", 0.9), left_out.sentence(left_out.n_pieces - 1)
            left_out.to_dataframe()

        Args:
            piece: `layer`, or `part` for attentions and MLPs.

        Returns:
            the `order`, its `columns` (`knowledge`, `loss`, `kl`, `choices`, `chosen`, `written`,
            `time`, as far as they were measured) with `values` and `interval` by the number that
            has left, `least(column, limit)`, the fewest that keep a limit, `sentence(n)` of the
            model with n of them, and `to_dataframe()`, a row for each number that stays. None where
            neither `kept` nor `accuracy` was among the metrics, or `parts` for parts.
        """
        reading = self._reading()
        left_out = reading.left_out if piece == "layer" else reading.parts_left_out
        return (
            None
            if left_out is None
            else LeftOutTable(
                **{field.name: getattr(left_out, field.name) for field in fields(LeftOut)}
            )
        )

    def right_answers(self) -> PooledAccuracy | None:
        """The right answers of the model, whole and with layers left out.

            answers = runs.right_answers().lead
            answers.n_right, answers.questions, answers.interval
            answers.layers, answers.without_first(3).words()

        Returns:
            the answers that are `chosen` among options and those that are `written`, None for a
            kind without any, and `lead`, the first of them that there is. Each has its right
            answers `n_right` of `questions`, Wilson's `interval` of their share, `layers`, the
            fewest that keep the answers within the `margin` (None where unknown: see `fewest`),
            and `without_first(n)`, which counts answers `lost` and `gained` without the first n
            layers of the `order`. `without(layer)` counts them without one layer. None where
            `accuracy` was not among the metrics.
        """
        pooled: PooledAccuracy | None = self._reading().get(ACCURACY)
        return pooled

    def token_depths(self) -> list[TokenDepths | None]:
        """The depths of each run's tokens, by the lens and the thresholds of `settings`.

            depths = runs.token_depths()[0]
            depths.prediction, depths.kl                    # [T], NaN where a rule finds none

        Returns:
            for each run its arrays `prediction`, `settling`, `kl`, `overlap`, `early_exit` and
            `exit_agrees`, `[T]`: the depth of token t is read at token t - 1, from which the model
            predicts it, so that token 0 has none. None for a run that the lens has not read.
        """
        return [depths_of_run(run, self.settings) for run in self]

    def by_type(self) -> list[LayersOfType]:
        """The layers of a hybrid by their type, such as mamba and full attention.

            [(kind.name, len(kind.layers)) for kind in runs.by_type()]

        Returns:
            each type's `name` and `layers`; `means` of values of its single layers, such as the
            `loss change` without one, pooled over prompts; `used`, the number of them that each
            measure counts as used. Empty where all layers are alike.
        """
        return by_type(self._reading())

    def layers_to_keep_high(self) -> KeepHigh | None:
        """The layers to keep at 8 bits where the others are quantised to 4.

            keep = runs.layers_to_keep_high()
            keep.layers, keep.option

        Returns:
            the `layers` that cost most, their `share` of the summed KL, the `extra_bytes` of 8
            bits for them, and the `option` of `llama-quantize` that keeps them; None where
            `quantisation` was not among the metrics.
        """
        pooled: ReducedQuantisation | None = self._reading().get(METRIC_BY_NAME["quantisation"])
        return None if pooled is None else pooled.keep_high

    def _reading(self) -> Reading:
        return group_runs(self._runs, self.settings)[0].parts[0].reading

    def to_dataframe(self, *metrics: str) -> DataFrame:
        """The runs as one long table, a row for every known value; needs pandas and pyarrow.

            rows = runs.to_dataframe("contributions")
            rows[rows.measure == "layer_norm_ratio"].groupby("layer")["value"].mean()

        It is the table of `depthtui run --format parquet`. `metric` and `measure` name an array
        of a metric, or what is read from all runs (`headline`, `evidence`, `effective_depth`,
        `curves`). `prompt` is an index in `runs`; `layer`, or `depth` from 0, the embedding, to L,
        the output; `token` with its printable `text`; `head`, `rank` and the other axes. Columns
        that are empty everywhere are left out.

        Args:
            metrics: names of metrics; without any, every row of the table.

        Raises:
            DepthError: no run has a metric, or pandas or pyarrow is missing.
        """
        measured = dict.fromkeys(name for run in self for name in run.measured)
        if unknown := [name for name in metrics if name not in measured]:
            raise DepthError(
                f"The runs have no {unknown[0]!r}.", f"They have {', '.join(measured)}."
            )
        if metrics:
            of_runs = (rows_of_run(run, place, metrics) for place, run in enumerate(self))
            return dataframe(chain.from_iterable(of_runs))
        return dataframe(rows_of_groups(group_runs(self, self.settings), self))

    def export(
        self,
        folder: str | Path,
        formats: str | Iterable[str] = ("json",),
        name: str = "",
        palette: str = OWN_PALETTE,
    ) -> list[Path]:
        """Write the runs as `depthtui run --out` does, replacing files of the same name.

            runs.export("summary/", ["json", "html"])

        Args:
            folder: folder of the files; made where missing.
            formats: `md`, `json`, `html`, `safetensors`; `svg`, `png`, `pdf` and `csv` for a
                file of each figure in the folder `figures`.
            name: name of the files, without their endings; empty for `summary`.
            palette: colours of the heatmaps: `depth`, `blue-yellow` or `amber`.

        Returns:
            The files written, then the folder of figures.

        Raises:
            DepthError: there is no such format or palette, the folder cannot be written, or
                `figures` is not installed.
        """
        chosen = names_of(formats)
        unknown = [name for name in chosen if name not in format_titles("runs")]
        if unknown:
            raise DepthError(
                f"There is no format {', '.join(unknown)}.", f"Choose {format_help('runs')}."
            )
        if palette not in PALETTES:
            raise DepthError(
                f"There is no palette {short_repr(palette)}.", f"Choose {', '.join(PALETTES)}."
            )
        report = run_report(self._runs, self.settings, palette=palette)
        return report.write(Path(folder), chosen, name)

    def __repr__(self) -> str:
        prompts = "1 prompt" if len(self) == 1 else f"{len(self)} prompts"
        about = f"{prompts}, {self.n_tokens:,} tokens, {printable_line(self.model.name)}"
        depths = (
            f"{rule_title(rule)} {_summary_line(depth)}" for rule, depth in self.depths().items()
        )
        n_layers = self.model.n_layers
        return f"<Runs: {about}; {', '.join(self.metrics) or 'no metrics'}\n" + (
            f" effective depth of {n_layers} layers: {', '.join(depths) or 'none'}>"
        )

    def _repr_html_(self) -> str:
        """The report in a separate frame, so that report and notebook do not restyle each other."""
        groups = group_runs(self._runs, self.settings)
        page = html_bytes(run_document(groups, most_cells=_MOST_CELLS))
        return (
            '<iframe sandbox="" title="Effective depth" style="width: 100%; height: 36rem; '
            'border: 0; resize: vertical" '
            f'srcdoc="{escape(page.decode("utf-8"))}"></iframe>'
        )


def _run_of(result: RunResult, inspector: InspectLayer | None) -> Run:
    run = Run(**{field.name: getattr(result, field.name) for field in fields(RunResult)})
    if inspector is not None:
        run._inspector = inspector
    return run


def _summary_line(depth: DepthEstimate) -> str:
    return "–" if depth.layer is None else f"{depth.count} ({depth.ratio:.0%})"
