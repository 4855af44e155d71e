"""The verdict in a few sentences, made from its evidence by plain rules.

1. The layers that suffice, alone and with their tolerance; before they are measured, the kinds of
   evidence of the other counts.
2. Counts of layers, then depths, and which of them are firm: a depth is a place, not a number of
   used layers.
3. The layers that write nothing, and the substitute for layers that are left out.
4. The counts that do not hold, and the reason of the one with the widest range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from depthtui.data.selection import indices_text, numbers_text
from depthtui.data.sentence import Sentence
from depthtui.data.verdict import Evidence, Headline, Verdict
from depthtui.metrics.evidence import rounded_up_count, rounded_up_range
from depthtui.token_text import shortened

_MOST_TASKS = 4
_LONGEST_TASK = 30


def verdict_sentence(
    evidence: Sequence[Evidence],
    n_layers: int,
    missing_metrics: Sequence[str] = (),
    tasks: Sequence[str] = (),
    headline: Headline | None = None,
    idle: Sequence[int] = (),
    stand_in: str = "",
) -> Sentence:
    """The verdict, in a few sentences.

    Args:
        evidence: at least one measure's count, sorted by kind.
        n_layers: L.
        missing_metrics: names of the metrics that would add evidence.
        tasks: names of the tasks of the prompts; untrusted. Several are named as taken together.
        headline: the layers that suffice; None where they were not measured.
        idle: the layers that write nothing.
        stand_in: the substitute for a layer that is left out, in words; empty for none.
    """
    others = [
        measure for measure in evidence if headline is None or measure.measure != headline.measure
    ]
    with_count = [measure for measure in others if measure.count is not None]
    firm = [measure for measure in others if _is_reliable(measure)]
    reliable = [measure for measure in evidence if _is_reliable(measure)]
    fragile = [measure for measure in evidence if measure.is_fragile]
    none = [
        measure
        for measure in others
        if measure.count is None and measure.measure not in missing_metrics
    ]
    # Layers are numbered from 0 and counted from 1: the range follows the first number.
    numbering = f" of {indices_text(n_layers)}"
    axes = list(_axes(firm, n_layers))
    clauses = [
        *axes,
        *_idle(idle, numbering),
        *([f"{_begun(stand_in)}."] if stand_in else []),
        *_none_firm(reliable),
        *_doubts(fragile, none, "" if idle else numbering),
    ]
    if headline is not None:
        row = next((row for row in evidence if row.measure == headline.measure), None)
        reliability = row.reliability if row is not None else ""
        bold, rest = _sufficient(headline, n_layers, _where(tasks), reliability)
        return Sentence(bold, (rest, *clauses))
    if not with_count:
        measures = none or evidence
        reason = next((measure.reason for measure in measures if measure.reason), "")
        unknown = f"How many of its {_layers(n_layers)} suffice is not known"
        return Sentence(unknown, (f": {reason}." if reason else ".",))
    by = f"{_evidence_words(firm)}{_where(tasks)}"
    if not axes:
        return Sentence(by, (".", *clauses))
    return Sentence(by, (f", {_lowered(clauses[0])}", *clauses[1:]))


def _sufficient(headline: Headline, n_layers: int, where: str, reliability: str) -> tuple[str, str]:
    """The layers that suffice: the bold words, and the end of their sentence."""
    interval = ""
    if headline.low is not None and headline.high is not None:
        interval = rounded_up_range((headline.low, headline.high), " to ")
    how_sure = ", ".join(filter(None, [interval, reliability]))
    between = f"{how_sure}; " if how_sure else ""
    order = ", in an order of these tokens alone," if headline.order == "own" else ""
    count = rounded_up_count(headline.count)
    suffice = "suffices" if count == 1 else "suffice"
    strict = f"nine in ten choices need {rounded_up_count(headline.strict)}"
    return (
        f"{count} of its {_layers(n_layers)}{order} {suffice} to stay within a nat of the model's "
        f"own output{where}",
        f" ({between}{headline.choices:.0%} of its choices stay); {strict}.",
    )


def _evidence_words(firm: Sequence[Evidence]) -> str:
    """The kinds of evidence of the counts, in words, before layers that suffice are measured."""
    kinds = {measure.kind for measure in firm}
    if not firm:
        return "No reliable count"
    if "causal" in kinds:
        return "By one intervention at a time"
    return "By a lens alone" if kinds == {"readable"} else "Before any layer is left out"


def _axes(firm: Sequence[Evidence], n_layers: int) -> Iterator[str]:
    """The counts of layers, and the depths, each in a sentence."""
    layers = [_counted(measure) for measure in firm if measure.layers is not None]
    depths = [_placed(measure) for measure in firm if measure.layers is None]
    for title, words in (("Layers", layers), ("Depths", depths)):
        if words:
            yield f"{title} of {n_layers}: {'; '.join(words)}."


def _idle(idle: Sequence[int], numbering: str) -> Iterator[str]:
    """The clause on the layers that write nothing."""
    if idle:
        some = f"layers {numbers_text(idle)}" if len(idle) > 1 else f"layer {idle[0]}"
        write = "write" if len(idle) > 1 else "writes"
        yield f"{_begun(some)}{numbering} {write} nothing."


def _none_firm(reliable: Sequence[Evidence]) -> Iterator[str]:
    """Why no count is firm: all counts that hold do so for these prompts alone."""
    if any(measure.is_pending for measure in reliable):
        yield "The intervals are still being computed."
    elif reliable and not any(measure.firm for measure in reliable):
        yield f"No count is firm: {reliable[0].reason}."


def _counted(measure: Evidence) -> str:
    """A count of layers, its measure, and whether it is firm."""
    return f"{measure.count}{_spaced(measure.meaning)} ({measure.title}{_if_firm(measure)})"


def _placed(measure: Evidence) -> str:
    """A depth, its measure, and whether it is firm."""
    if not measure.meaning:
        return _counted(measure)
    return f"{measure.meaning}, {measure.count} ({measure.title}{_if_firm(measure)})"


def _if_firm(measure: Evidence) -> str:
    return ", firm" if measure.firm else ""


def _spaced(words: str) -> str:
    return f" {words}" if words else ""


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def most_fragile(evidence: Sequence[Evidence]) -> Evidence | None:
    """The fragile count with the widest range, whose reason the sentence gives."""
    fragile = [measure for measure in evidence if measure.is_fragile]
    return max(fragile, key=_width, default=None)


def comparison_sentence(a: Verdict, b: Verdict, names: tuple[str, str] = ("A", "B")) -> str:
    """Whether b needs more layers than a, or is deeper, in a sentence or two.

    Layers that suffice come first. Other measures are compared where they hold in both. A
    difference is clear where the ranges of the two counts do not meet; of models of different
    depth, the ranges of their shares of the layers. One prompt each gives counts alone: what is
    clear for these two prompts need not be so for two others.
    """
    if a.is_pending or b.is_pending:
        return f"The intervals of {names[0]} and {names[1]} are still being computed."
    if a.prompts == b.prompts == 1:
        return _counts_of_one_prompt(a, b, names)
    return " ".join(filter(None, (_compared_headlines(a, b, names), _compared(a, b, names))))


def missing_headlines(a: Verdict, b: Verdict, names: tuple[str, str] = ("A", "B")) -> str:
    """Which verdicts lack the layers that suffice, in a sentence; empty where none does."""
    lacking = [
        name for name, verdict in zip(names, (a, b), strict=True) if verdict.headline is None
    ]
    return headline_not_measured(lacking)


def headline_not_measured(names: Sequence[str], remedy: str = "") -> str:
    """A sentence on models or runs without the layers that suffice; empty where there are none."""
    return f"Layers that suffice: not measured in {_listed(names)}{remedy}." if names else ""


def _counts_of_one_prompt(a: Verdict, b: Verdict, names: tuple[str, str]) -> str:
    """The counts that hold in both, without a direction."""
    counts = [_of_all(pair, a, b) for pair in _pairs(a, b)]
    if a.headline is not None and b.headline is not None:
        ours, other = map(rounded_up_count, (a.headline.count, b.headline.count))
        counts.insert(0, _both("layers that suffice", ours, other, a, b))
    if not counts:
        return _no_pairs(names)
    return f"One prompt each gives no direction: {'; '.join(counts)}."


def _compared_headlines(a: Verdict, b: Verdict, names: tuple[str, str]) -> str:
    """Compare the layers that two models need within a nat; empty where one number is unknown."""
    first, second = a.headline, b.headline
    if first is None or second is None:
        return ""
    ours, other = rounded_up_count(first.count), rounded_up_count(second.count)
    shares = f"{ours} of {a.n_layers} and {other} of {b.n_layers}"
    if None in (first.low, first.high, second.low, second.high):
        return f"Within a nat {names[0]} and {names[1]} need {shares} layers, without an interval."
    # Shares are compared where the numbers of layers differ.
    gap = _gap(first, second, a.n_layers / b.n_layers)
    change = other / b.n_layers - ours / a.n_layers
    # Rounded up, the counts may be equal, or their shares in the other order.
    if gap * change <= 0:
        return f"Within a nat {names[0]} and {names[1]} need about as many layers: {shares}."
    same_depth = a.n_layers == b.n_layers
    size = _layers(abs(other - ours)) if same_depth else f"{abs(change):.0%} of its layers"
    more = "more" if gap > 0 else "less"
    return f"Within a nat {names[1]} needs {size} {more} than {names[0]}: {shares}."


def _gap(first: Headline, second: Headline, scale: float) -> float:
    """The distance of two intervals, the second one scaled; 0 where they meet."""
    assert first.low is not None
    assert first.high is not None
    assert second.low is not None
    assert second.high is not None
    if second.low * scale > first.high:
        return second.low * scale - first.high
    return min(0.0, second.high * scale - first.low)


def _pairs(a: Verdict, b: Verdict) -> list[tuple[Evidence, Evidence]]:
    """The counts that hold in both, without the layers that suffice."""
    headlines = {verdict.headline.measure for verdict in (a, b) if verdict.headline is not None}
    theirs = {
        measure.measure: measure
        for measure in b.evidence
        if _is_reliable(measure) and measure.measure not in headlines
    }
    return [
        (ours, theirs[ours.measure])
        for ours in a.evidence
        if _is_reliable(ours) and ours.measure in theirs
    ]


def _no_pairs(names: tuple[str, str]) -> str:
    return f"{names[0]} and {names[1]} cannot be compared yet: no count is reliable in both."


def _compared(a: Verdict, b: Verdict, names: tuple[str, str]) -> str:
    """Compare the measures that hold in both."""
    pairs = _pairs(a, b)
    if not pairs:
        return "" if a.headline and b.headline else _no_pairs(names)
    # Multiplied by the other's number of layers, counts compare as shares.
    more = [
        (ours, other)
        for ours, other in pairs
        if (ours.high or 0) * b.n_layers < (other.low or 0) * a.n_layers
    ]
    fewer = [
        (ours, other)
        for ours, other in pairs
        if (other.high or 0) * a.n_layers < (ours.low or 0) * b.n_layers
    ]
    unclear = [pair for pair in pairs if pair not in more and pair not in fewer]
    clear = [
        f"{words} by {_changes(pairs_apart, a, b)}{_by(pairs_apart, pairs)}"
        for words, pairs_apart in (
            (f"deeper than {names[0]}", more),
            (f"shallower than {names[0]}", fewer),
        )
        if pairs_apart
    ]
    sentence = f"{names[1]} is {' and '.join(clear)}" if clear else ""
    if unclear:
        sentence += "; " if clear else f"Between {names[0]} and {names[1]} there is "
        sentence += f"no clear difference in depth{_by(unclear, pairs)}"
    if a.n_layers != b.n_layers:
        sentence += f": {'; '.join(_of_all(pair, a, b) for pair in pairs)}"
    return f"{sentence}."


def _is_reliable(measure: Evidence) -> bool:
    return measure.count is not None and not measure.is_fragile


def _changes(pairs: Sequence[tuple[Evidence, Evidence]], a: Verdict, b: Verdict) -> str:
    """The least and the greatest difference: in layers, or in shares where depths differ."""
    if a.n_layers != b.n_layers:
        shares = sorted(
            abs(_count(other) / b.n_layers - _count(ours) / a.n_layers) for ours, other in pairs
        )
        ends = dict.fromkeys(f"{share:.0%}" for share in (shares[0], shares[-1]))
        return f"{' to '.join(ends)} of its layers"
    sizes = [abs(_count(other) - _count(ours)) for ours, other in pairs]
    return _layers(max(sizes)) if len(set(sizes)) == 1 else f"{min(sizes)} to {_layers(max(sizes))}"


def _by(
    pairs: Sequence[tuple[Evidence, Evidence]], all_pairs: Sequence[tuple[Evidence, Evidence]]
) -> str:
    """The measures in words; `every kind of evidence` where they are all, and several."""
    kinds = {ours.kind for ours, _ in pairs}
    if len(pairs) == len(all_pairs) and len(kinds) > 1:
        return ", by every kind of evidence"
    return f", by {_listed([ours.title for ours, _ in pairs])}"


def _of_all(pair: tuple[Evidence, Evidence], a: Verdict, b: Verdict) -> str:
    ours, other = pair
    return _both(ours.title, _count(ours), _count(other), a, b)


def _both(title: str, count: int, other: int, a: Verdict, b: Verdict) -> str:
    """Two counts, and their shares where the models differ in depth."""
    words = f"{title} {count} of {a.n_layers} and {other} of {b.n_layers}"
    if a.n_layers == b.n_layers:
        return words
    return f"{words} ({count / a.n_layers:.2f} and {other / b.n_layers:.2f})"


def spread(measure: Evidence) -> str:
    """The range of a count, such as `3 to 14`, or the count where it has no range."""
    return _range(measure.low, measure.high)


def layers_in_words(measure: Evidence) -> str:
    """The counted layers, such as `0-1, 8-11`; empty where there are none."""
    if measure.count is None:
        return ""
    layers = range(measure.count) if measure.layers is None else measure.layers
    return numbers_text(layers)


def _where(tasks: Sequence[str]) -> str:
    """The pooled tasks, where there are several."""
    if len(tasks) < 2:
        return ""
    names = [shortened(task, _LONGEST_TASK) for task in tasks]
    if len(names) > _MOST_TASKS:
        names = [*names[: _MOST_TASKS - 1], f"{len(names) - _MOST_TASKS + 1} more"]
    return f" over the tasks {_listed(names)} together"


def _count(measure: Evidence) -> int:
    return measure.count or 0


def _doubts(fragile: Sequence[Evidence], none: Sequence[Evidence], numbering: str) -> Iterator[str]:
    """The counts that do not hold, the widest range first, and measures without a count."""
    words = []
    if none:
        give = "give" if len(none) > 1 else "gives"
        words.append(f"{_listed([measure.title for measure in none])} {give} no count")
    worst = most_fragile(fragile)
    if worst is None:
        yield from (f"{_begun(no_count)}." for no_count in words)
        return
    others = sorted((other for other in fragile if other is not worst), key=_width, reverse=True)
    reason = f": {_reason(worst, numbering)}" if worst.reason else ""
    first = f"{_begun(worst.title)} is fragile ({spread(worst)}){reason}."
    if others:
        # For several, only the names: their ranges are in the table, and would take too much room.
        reasons = [
            measure.title if len(others) > 1 else f"{measure.title} ({spread(measure)})"
            for measure in others
        ]
        words.insert(0, f"so {'are' if len(others) > 1 else 'is'} {_listed(reasons)}")
    yield f"{first} {_begun('; '.join(words))}." if words else first


def _reason(measure: Evidence, numbering: str) -> str:
    reason, end = measure.reason, measure.layer_number_end
    return f"{reason[:end]}{numbering}{reason[end:]}" if end else reason


def _width(measure: Evidence) -> int:
    return (measure.high or 0) - (measure.low or 0)


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _range(low: int | None, high: int | None) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _begun(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
