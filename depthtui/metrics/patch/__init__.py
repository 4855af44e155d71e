"""Patching: activations of one prompt put into another, to find where a fact is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from depthtui.data.arrays import MetricResult, Shape
from depthtui.data.model import PART_TITLES
from depthtui.data.run import RunResult
from depthtui.metrics import needs
from depthtui.metrics.costs import MemoryNeed, Sizes, head, row_of_logits
from depthtui.metrics.evidence import (
    FIFTH,
    CountMeasure,
    LayerCount,
    Variant,
    evidence_curve,
    progress_words,
)
from depthtui.metrics.measures import array, floor_of
from depthtui.metrics.pooling import Pooled
from depthtui.metrics.prediction_depth import first_of_last_run
from depthtui.metrics.reduced import ByDepth, Reduced, largest
from depthtui.metrics.spec import Finding, LayerValues, Measure, Metric, noise_floor
from depthtui.token_text import printable_line, shortened

NAME = "patch"

HALF = 0.5
"""The least share of the margin at which a place has the fact."""

LEAST_MARGIN = 0.1
"""The least difference of two prompts' margins, in nats, for a share of it to be meaningful."""

DO_NOT_PART = "the two prompts do not differ"
"""The beginning of a reason where there is no margin to recover."""

COUNT_MEASURE = CountMeasure("causal", NAME, "patched", "until the last token has half of the fact")

SEVERAL = "the tokens that differ"
"""The words for the differing tokens of several prompts."""

_MOST_TOKENS = 3
"""The most stretches of differing tokens that are named."""

_LONGEST_TEXT = 60
"""The most characters of a prompt in a line."""


@dataclass
class Patch(MetricResult):
    """The share of the source's margin that its activations bring into the prompt's pass.

    The margin is log p(answer of the source) - log p(answer of the prompt) at the token `place`,
    which predicts the answer. 0 is the prompt's own, 1 the source's.

    Attributes:
        recovered: row l, column t with the source's residual before layer l, row L the output's,
            in place of the prompt's at token t. For a sublayer, row l has the source's write of
            layer l, row L is NaN. NaN where it is not known yet, 0 behind `place`.
        differing: the share with all tokens of `at` put in together, `[L+1]`.
        part: the part that is put in: `layer`, `attention` or `mlp`.
        source: the text that the activations come from.
        at: the tokens before `place` at which the two prompts differ; `place` itself where there
            are none.
        at_texts: the prompt's raw texts there.
        place: the token that predicts the answer; -1 for the last one.
        answers: the raw texts of the two answers' tokens, the source's first.
        margins: the two margins in nats, the source's first.
        floor: the largest size of a share with the prompt's own states put in.
    """

    recovered: Annotated[np.ndarray, Shape("L+1", "T")]
    differing: Annotated[np.ndarray, Shape("L+1")]
    part: str = "layer"
    source: str = ""
    at: tuple[int, ...] = ()
    at_texts: tuple[str, ...] = ()
    place: int = -1
    answers: tuple[str, str] = ("", "")
    margins: tuple[float, float] = (0.0, 0.0)
    floor: float = 0.0

    @property
    def last_token(self) -> np.ndarray:
        """The shares at the token that predicts the answer, `[L+1]`."""
        return np.asarray(self.recovered[:, self.place])

    @property
    def is_known(self) -> np.ndarray:
        """Whether each token is known, then whether all tokens of `at` together are, `[T+1]`."""
        columns = np.column_stack([self.recovered, self.differing])
        return np.asarray(np.isfinite(columns[: rows_of(self.part, len(columns) - 1)]).all(axis=0))

    @property
    def where(self) -> str:
        """The tokens at which the two prompts differ, in words such as `' France'`."""
        return _stretches(self.at, self.at_texts) or SEVERAL

    @property
    def sentence(self) -> str:
        """The place of the fact, from the curves."""
        return sentence(self.part, self.where, self.differing, self.last_token)


def rows_of(part: str, n_layers: int) -> int:
    """How many rows have values: one for each depth, or for each layer's sublayer."""
    return n_layers + (part == "layer")


def _stretches(at: Sequence[int], texts: Sequence[str]) -> str:
    """Neighbouring tokens joined, each stretch in quotes."""
    stretches: list[str] = []
    for number, (place, text) in enumerate(zip(at, texts, strict=True)):
        if number and at[number - 1] == place - 1:
            stretches[-1] += text
        else:
            stretches.append(text)
    quoted = [f"'{printable_line(text[:_LONGEST_TEXT])}'" for text in stretches[:_MOST_TOKENS]]
    return ", ".join([*quoted, *(["…"] if len(stretches) > _MOST_TOKENS else [])])


def sentence(part: str, where: str, differing: np.ndarray, last_token: np.ndarray) -> str:
    """The place of the fact, in words.

    Args:
        part: the part that was put in.
        where: the tokens at which the prompts differ.
        differing, last_token: the shares there and at the token that predicts the answer, `[L+1]`.
    """
    if part != "layer":
        return _of_sublayer(part, last_token[:-1])
    if not np.isfinite([differing, last_token]).all():
        return "where the fact sits is not known yet"
    until = int(np.logical_and.accumulate(differing > HALF).sum()) - 1
    since = int(_since(last_token[None])[0])
    n_layers = len(last_token) - 1
    ends = {0: "at every depth", n_layers: "only at the output"}.get(since, f"from {since} on")
    if until < 0:
        return f"no depth has half of the fact at {where}; it sits at the last token {ends}"
    begins = "at every depth" if until == n_layers else f"until layer {until}"
    return f"the fact sits at {where} {begins} and at the last token {ends}"


def _since(last_token: np.ndarray, share: float = HALF) -> np.ndarray:
    """From which depth on the last token has a share of the fact, `[rows]` of `[rows, L+1]`."""
    return first_of_last_run(share < last_token.T)


def _of_sublayer(part: str, last_token: np.ndarray) -> str:
    """Which layer's sublayer brings most of the fact to the last token."""
    title = PART_TITLES[part]
    if not np.isfinite(last_token).all():
        return f"which {title} brings the fact to the last token is not known yet"
    layer = int(last_token.argmax())
    share = float(last_token[layer])
    most = f"the {title} of layer {layer} brings most of the fact to the last token: {share:.0%}"
    return most if share > 0 else f"no layer's {title} brings the fact to the last token"


@dataclass(frozen=True)
class PatchPair:
    """The alignment of two prompts.

    Attributes:
        place: the token that predicts the answer.
        differing: the tokens up to `place` at which the prompts differ.
        answers: the ids of the source's and of the prompt's answer there; None for the model's
            first choice.
    """

    place: int
    differing: tuple[int, ...]
    answers: tuple[int | None, int | None]

    @property
    def at(self) -> tuple[int, ...]:
        """The differing tokens before `place`; `place` itself where there are none."""
        return tuple(token for token in self.differing if token < self.place) or (self.place,)


def pair_of(result: RunResult) -> PatchPair | str:
    """The alignment of a run's prompt with the text that it is patched from.

    Both have equally many tokens before their answers; a source may also come without its answer.

    Returns:
        the reason where they cannot be compared.
    """
    assert result.source is not None
    ids, source, start = result.tokens.ids, result.source.ids, result.answer_start
    length = len(ids)
    if not start:
        return "the answer begins at the first token, so nothing predicts it"
    begins_alike = result.source.answer_start == start < len(source)
    if start < length and (len(source) == length or begins_alike):
        end = min(length, len(source))
        differing_tokens = start + np.flatnonzero(ids[start:end] != source[start:end])
        if not len(differing_tokens):
            return f"{DO_NOT_PART}: both have the same answer"
        place = int(differing_tokens[0]) - 1
        answers: tuple[int | None, int | None] = int(source[place + 1]), int(ids[place + 1])
    elif len(source) == start:
        place, answers = start - 1, (None, int(ids[start]) if start < length else None)
    else:
        return _lengths(result)
    differing = np.flatnonzero(ids[: place + 1] != source[: place + 1])
    if not len(differing):
        return f"{DO_NOT_PART}: they are the same until the answer"
    return PatchPair(place, tuple(differing.tolist()), answers)


def _lengths(result: RunResult) -> str:
    """Why texts of two lengths cannot be patched: both lengths, and where they begin to differ."""
    source, tokens = result.source, result.tokens
    assert source is not None
    lengths = f"{len(tokens)} tokens"
    if result.answer_start < len(tokens):
        lengths += f", {result.answer_start} without its answer"
    fewest = min(len(source), len(tokens))
    differing = np.flatnonzero(source.ids[:fewest] != tokens.ids[:fewest])
    first = int(differing[0]) if len(differing) else fewest
    excerpts = [
        f"'{printable_line(''.join(prompt.texts[first : first + 3])[:_LONGEST_TEXT])}'"
        for prompt in (source, tokens)
    ]
    return (
        f"the source has {len(source)} tokens and the prompt {lengths}: they differ from token "
        f"{first} on, {excerpts[0]} and {excerpts[1]}; choose words of as many tokens"
    )


NO_SOURCE = "there is no text to patch from"


def why_not_beside(result: RunResult) -> str:
    """Why a run has no text of equally many tokens to patch from, in words; empty where it has."""
    if not result.source_text:
        return NO_SOURCE
    if result.source is None:
        return ""
    pair = pair_of(result)
    return pair if isinstance(pair, str) else ""


def _has_split(result: RunResult) -> str:
    """A need: where the write of attention or MLP is put in, the two are separate."""
    return result.model.split_missing if result.settings.patch_part != "layer" else ""


@dataclass(frozen=True, kw_only=True)
class ReducedPatch(Reduced):
    """Patching of one or more prompts: means over the prompts, words of the first.

    Attributes:
        where: the tokens at which the prompt and its source differ, in words.
        last_token, differing, part, source, floor: as in `Patch`.
    """

    pools: ClassVar = {"floor": largest, "where": lambda _: SEVERAL}

    where: str
    last_token: ByDepth
    differing: ByDepth
    part: str
    source: str
    floor: float

    @property
    def sentence(self) -> str:
        """The place of the fact, from the curves."""
        return sentence(self.part, self.where, self.differing, self.last_token)


def _reduce(result: Patch, run: RunResult, tokens: slice) -> ReducedPatch | None:
    """Reduce in the same way whether or not token 0 counts elsewhere; each prompt counts once."""
    return ReducedPatch.of(result, tokens=1)


def _summary(patch: ReducedPatch, pooled: Pooled) -> dict[str, Any]:
    patches = [run.get(Patch) for run in pooled.runs]
    about = {
        "part": patch.part,
        "sentence": patch.sentence,
        "last_token": patch.last_token,
        "differing": patch.differing,
        "floor": patch.floor,
    }
    if len(patches) == 1 and patches[0] is not None:
        return {**_of_prompt(patches[0], pooled.runs[0]), **about}
    prompts = [
        None if result is None else {**_of_prompt(result, run), "last_token": result.last_token}
        for result, run in zip(patches, pooled.runs, strict=True)
    ]
    return {**about, **({"prompts": prompts} if prompts else {})}


def _of_prompt(patch: Patch, run: RunResult) -> dict[str, Any]:
    return {
        "source": patch.source,
        "target": run.prompt.text,
        "answers": list(patch.answers),
        "margins": list(patch.margins),
        "at": list(patch.at),
        "place": patch.place,
        "recovered": patch.recovered,
    }


def _findings(patch: ReducedPatch, pooled: Pooled) -> Iterator[Finding]:
    count = pooled.count(METRIC)
    quoted_source = f"'{shortened(patch.source, _LONGEST_TEXT)}'"
    source = quoted_source if count == 1 else f"other prompts, over {count}"
    alone = "" if patch.part == "layer" else f"; {PART_TITLES[patch.part]} alone"
    yield Finding(METRIC.title, patch.sentence, f"from {source}{alone}")
    yield noise_floor(METRIC.title, f"{patch.floor:.2g} of the margin")


def _evidence(patch: ReducedPatch, pooled: Pooled) -> list[LayerCount]:
    """The depth at which the last token has the fact; a sublayer alone has none."""
    shares = patch.last_token
    if patch.part != "layer":
        return []
    if not np.isfinite(shares).all():
        return [COUNT_MEASURE.unknown(progress_words(np.isfinite(shares[1:]), "depths"))]
    variants = []
    for change in (-FIFTH, FIFTH):
        share = HALF * (1 + change)
        depth = int(_since(shares[None], share)[0])
        variants.append(Variant(depth, f"the last token has {share:.0%} of it from {depth} on"))
    count = COUNT_MEASURE.counted(
        int(_since(shares[None])[0]),
        variants,
        curve=evidence_curve(shares[1:], HALF, f"> {HALF:g}"),
        interval=pooled.interval(pooled.reduced(METRIC), _since, "last_token"),
        why_here="it is of these facts, and others may move elsewhere",
    )
    return [count]


def _sentence(result: RunResult) -> str:
    patch = result.get(Patch)
    return "" if patch is None else patch.sentence


def _per_layer(patch: ReducedPatch) -> list[LayerValues]:
    caption = "share of the source's margin, put in at the last token"
    known_rows = slice(rows_of(patch.part, len(patch.last_token) - 1))
    return [
        LayerValues("patched", patch.last_token[known_rows], caption, METRIC.reading),
        LayerValues("patched, differing", patch.differing[known_rows]),
    ]


def _work(result: RunResult) -> float:
    """The work: a cell runs from its token to `place`, and from its depth to the output.

    Each token has an unchanged run too. Tokens with which both prompts begin do not run.
    """
    count, n_tokens = result.model.n_layers, len(result.tokens)
    pair = None if result.source is None else pair_of(result)
    first, last = (
        (pair.differing[0], pair.place)
        if isinstance(pair, PatchPair)
        else (0, min(result.answer_start, n_tokens) - 1)
    )
    later = max(1, last - first + 1)
    runs = (count + 1) / 2 + 1
    rows = (count + 2) * (later + 1)
    return 1 + runs * later * (later + 3) / 2 / n_tokens + rows * head(result) / n_tokens


def _memory(sizes: Sizes) -> MemoryNeed:
    """The memory of the source's pass, beside the prompt's."""
    layers = sizes.of_layers(sizes.residual_bytes + sizes.cache_bytes)
    return row_of_logits(sizes) + MemoryNeed(layers=layers)


def _cache_key(result: RunResult) -> dict[str, Any]:
    """The cache key: the source by its tokens, be it a named text or a prompt's contrast."""
    source = result.source_text if result.source is None else result.source.ids.tolist()
    part = result.settings.patch_part
    return {"source": source, "part": part, "answer_start": result.answer_start}


METRIC = Metric(
    name=NAME,
    title="Patching",
    description=(
        "The token and depth at which a fact sits, from a second prompt that differs in it."
    ),
    formula=(
        "`h_l[t]` of A, the text that is patched from, before layer l, put into B, the prompt: "
        "`(m_AB - m_B) / (m_A - m_B)` of the margin "
        "`m = log p(answer of A) - log p(answer of B)`"
    ),
    reading=(
        "The share of A's margin between the two answers that comes back: 0 is the prompt's "
        "own, 1 is A's. A third answer may be likelier than both."
    ),
    look_for=(
        "A column that fades where another begins: there the fact moves, mostly from the words "
        "that differ to the last token. Below 0 or above 1 the two passes do not add up. A "
        "place that brings the answer back is enough for it; other places may be, too."
    ),
    source="Activation patching: Meng et al., arXiv 2202.05262",
    cost="T L forwards, a quarter of each and resumed",
    work=_work,
    result=Patch,
    needs=(needs.clean_run, needs.lens, why_not_beside, _has_split),
    memory=_memory,
    depends_on=("patch_from", "patch_part", "answer_start"),
    cache_key=_cache_key,
    measures=(
        Measure(
            NAME,
            "Patched",
            "(m_AB - m_B) / (m_A - m_B)",
            array(Patch, "recovered"),
            diverging=True,
            limits=(-1.0, 1.0),
            reads_residual=True,
            floor=floor_of(Patch),
            sentence=_sentence,
        ),
    ),
    reduced=ReducedPatch,
    reduce=_reduce,
    summary=_summary,
    findings=_findings,
    evidence=_evidence,
    per_layer=_per_layer,
)
