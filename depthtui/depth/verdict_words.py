"""The verdict in a few sentences, made of its evidence by plain rules.

1. How many layers: from the smallest to the largest count that holds, each with what it is a
   count of, and how far up its layers lie where that is further than their number. How many move
   the stream, or have to run one after another, stands apart: that is not yet how many are used.
   Before any layer was left out the number may change a lot: what was measured is said first.
2. Which counts do not hold, and what the one that moves most hangs on.
3. Whether the kinds of evidence agree, and what each counts where they do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat

from depthtui.data.selection import indices_text, numbers_text
from depthtui.data.sentence import Sentence
from depthtui.data.verdict import Evidence, EvidenceKind, Verdict
from depthtui.token_text import shortened

_MOST_NAMED = 3
"""Counts that the first sentence names; of more, the smallest and the largest."""

_MOST_TASKS = 4
_LONGEST_TASK = 30

_CANNOT_SEE = "Layers are needed after the lens reads the answer: they compute what it cannot see."
_REFINE = (
    "The lens reads the answer later than layers are needed: the last ones refine what is decided."
)
_STAND_IN = (
    "Fewer layers cost something by themselves than the lens takes to read the answer: others can "
    "stand in for them."
)
_TURNS_EARLY = (
    "The stream turns before the lens reads the answer: layers between refine what is there."
)
_TURNS_LATE = (
    "The stream turns after the lens reads the answer: where it turns decides nothing by itself."
)
_SMALL_CHANGES = "More layers are needed than move the stream much: small changes can matter."
_IDLE_MOVES = "More layers move the stream than are needed: movement alone is not use."
_MEASURED: Mapping[EvidenceKind, str] = {
    "readable": "what a lens reads",
    "geometric": "how the stream moves",
}
"""What a number is of before any layer was left out."""

_UNCONFIRMED = "No intervention confirms it yet."

_COUNTED: Mapping[EvidenceKind, tuple[str, str]] = {
    "readable": ("up to what a lens can read", "each layer that a lens reads"),
    "geometric": ("up to where the stream turns", "each layer that turns it"),
    "causal": ("up to the last layer needed", "each layer that is missed"),
}
"""What a kind counts: all layers up to one, or single ones."""

_UNSETTLED = "No intervention confirms it: what they say is fragile."


def verdict_sentence(
    evidence: Sequence[Evidence],
    n_layers: int,
    missing: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> Sentence:
    """The verdict, in one to three sentences.

    Args:
        evidence: at least one measure's count, sorted by kind.
        n_layers: L.
        missing: names of the metrics that would tell more.
        tasks: names of those that the prompts are of; untrusted. Of several it is said that these
            are taken together.
    """
    where = _where(tasks)
    firm = [measure for measure in evidence if _holds(measure)]
    fragile = [measure for measure in evidence if measure.count is not None and not measure.firm]
    if not firm and not fragile:
        told = [measure for measure in evidence if measure.measure not in missing] or evidence
        reason = next((measure.reason for measure in told if measure.reason), "")
        unknown = f"How many of its {_layers(n_layers)} are used is not known"
        return Sentence(unknown, (f": {reason}.",))
    # What is being filled in has no count yet, which says nothing of the model.
    untried = bool(missing) and not any(
        measure.kind == "causal" and measure.count is not None for measure in evidence
    )
    none = [m for m in evidence if m.count is None and m.measure not in missing]
    used = [measure for measure in firm if measure.of_use]
    is_open = bool(missing) and not any(measure.kind == "causal" for measure in used)
    # Layers are numbered from 0 and counted from 1: the first number is followed by the range.
    numbering = chain([f" of {indices_text(n_layers)}"], repeat(""))
    if used:
        headline = _uses(used, n_layers, where, is_open, untried)
        end = _used(used, n_layers, numbering)
    else:
        headline, end = _open(firm, fragile, n_layers, where)
    others = [
        _doubts(fragile, none, numbering),
        _between_kinds(firm, used, fragile, n_layers, is_open, untried) if used else "",
    ]
    return Sentence(headline, (end, *filter(None, others)))


def most_fragile(evidence: Sequence[Evidence]) -> Evidence | None:
    """The fragile count that moves most: the sentence gives its reason."""
    fragile = [measure for measure in evidence if measure.count is not None and not measure.firm]
    return max(fragile, key=_width, default=None)


def comparison_sentence(a: Verdict, b: Verdict, names: tuple[str, str] = ("A", "B")) -> str:
    """Whether b uses more layers than a, in a sentence.

    Measures are compared that hold in both. A difference is clear where the ranges of the two
    counts lie apart.
    """
    theirs = {measure.measure: measure for measure in b.evidence if _holds(measure)}
    pairs = [
        (ours, theirs[ours.measure])
        for ours in a.evidence
        if _holds(ours) and ours.measure in theirs
    ]
    if not pairs:
        return f"No count holds in both {names[0]} and {names[1]}, so they cannot be compared."
    more = [(ours, other) for ours, other in pairs if (ours.high or 0) < (other.low or 0)]
    fewer = [(ours, other) for ours, other in pairs if (other.high or 0) < (ours.low or 0)]
    unclear = [pair for pair in pairs if pair not in more and pair not in fewer]
    clear = [
        f"{words} by {_changes(found)}{_by(found, pairs)}"
        for words, found in (
            (f"deeper than {names[0]}", more),
            (f"shallower than {names[0]}", fewer),
        )
        if found
    ]
    said = f"{names[1]} is {' and '.join(clear)}" if clear else ""
    if unclear:
        said += "; " if clear else f"Between {names[0]} and {names[1]} there is "
        said += f"no clear difference{_by(unclear, pairs)}"
    if a.n_layers != b.n_layers:
        said += f" ({', '.join(_of_all(pair, a, b) for pair in pairs)})"
    return f"{said}."


def _holds(measure: Evidence) -> bool:
    return measure.count is not None and measure.firm


def _changes(pairs: Sequence[tuple[Evidence, Evidence]]) -> str:
    sizes = [abs(_count(other) - _count(ours)) for ours, other in pairs]
    return _layers(max(sizes)) if len(set(sizes)) == 1 else f"{min(sizes)} to {_layers(max(sizes))}"


def _by(
    pairs: Sequence[tuple[Evidence, Evidence]], every: Sequence[tuple[Evidence, Evidence]]
) -> str:
    """By which measures; by every kind of evidence where it is all of several."""
    kinds = {ours.kind for ours, _ in pairs}
    if len(pairs) == len(every) and len(kinds) > 1:
        return ", by every kind of evidence"
    return f", by {_listed([ours.title for ours, _ in pairs])}"


def _of_all(pair: tuple[Evidence, Evidence], a: Verdict, b: Verdict) -> str:
    ours, other = pair
    return f"{ours.title} {_count(ours)} of {a.n_layers} and {_count(other)} of {b.n_layers}"


def spread(measure: Evidence) -> str:
    """The range of a count, such as `3 to 14`, or the count where it does not move."""
    return _range(measure.low, measure.high)


def which_layers(measure: Evidence) -> str:
    """The layers that are counted, such as `0-1, 8-11`; empty where there are none."""
    if measure.count is None:
        return ""
    layers = range(measure.count) if measure.layers is None else measure.layers
    return numbers_text(layers)


def _where(tasks: Sequence[str]) -> str:
    """What the layers are used on."""
    if len(tasks) < 2:
        return "here"
    names = [shortened(task, _LONGEST_TASK) for task in tasks]
    if len(names) > _MOST_TASKS:
        names = [*names[: _MOST_TASKS - 1], f"{len(names) - _MOST_TASKS + 1} more"]
    return f"over the tasks {_listed(names)} together"


def _uses(firm: Sequence[Evidence], n_layers: int, where: str, is_open: bool, untried: bool) -> str:
    """How many layers are used, by counts that hold.

    `is_open`: an intervention may say more; `untried`: none has said anything.
    """
    counts = [_count(measure) for measure in firm]
    few, most = min(counts), max(counts)
    count = "all" if few == n_layers > 1 else _range(few, most)
    uses = f"{count} of its {_layers(n_layers)} {where}{' so far' * (is_open and not untried)}"
    if not untried:
        return f"Uses {uses}"
    kinds = dict.fromkeys(_MEASURED[measure.kind] for measure in firm)
    by = f"{' and '.join(kinds)}{' alone' * (len(kinds) == 1)}"
    return f"By {by}, before any layer is left out, it uses {uses}"


def _used(firm: Sequence[Evidence], n_layers: int, numbering: Iterator[str]) -> str:
    """The counts that hold, after how many layers are used."""
    if len(firm) == 1:
        only = firm[0]
        if not only.says:
            return f", by {only.title}."
        those = ", " if only.layers is None else ": those "
        return f"{those}{only.says}{_up_to(only, n_layers, numbering)} ({only.title})."
    named = [_counted(measure, _up_to(measure, n_layers, numbering)) for measure in _named(firm)]
    return f": {', '.join(named)}."


def _counted(measure: Evidence, up_to: str = "") -> str:
    """A count, what it is a count of, and what says so."""
    if not measure.says:
        return f"{measure.count} by {measure.title}"
    return f"{measure.count} {measure.says}{up_to} ({measure.title})"


def _up_to(measure: Evidence, n_layers: int, numbering: Iterator[str]) -> str:
    """How far up the counted layers lie, where they are clearly not the first ones."""
    if not _lies_far(measure, n_layers):
        return ""
    return f", up to layer {_reach(measure) - 1}{next(numbering)}"


def _lies_far(measure: Evidence, n_layers: int) -> bool:
    return _reach(measure) - _count(measure) > n_layers / 10


def _reach(measure: Evidence) -> int:
    """Layers up to the last one that is counted."""
    return max(measure.layers, default=-1) + 1 if measure.layers is not None else _count(measure)


def _named(firm: Sequence[Evidence]) -> list[Evidence]:
    if len(firm) <= _MOST_NAMED:
        return list(firm)
    return [min(firm, key=_count), max(firm, key=_count)]


def _count(measure: Evidence) -> int:
    return measure.count or 0


def _open(
    firm: Sequence[Evidence], fragile: Sequence[Evidence], n_layers: int, where: str
) -> tuple[str, str]:
    """Headline and end of its sentence where no count of the layers that are used holds."""
    how_many = f"How many of its {_layers(n_layers)} are used {where} stays open"
    if not fragile:
        moving = _listed([_counted(measure) for measure in firm])
        return how_many, f": {moving} are not yet use."
    low = min(measure.low or 0 for measure in fragile)
    high = max(measure.high or 0 for measure in fragile)
    somewhere = f"somewhere from {low} to {high}" if low < high else f"perhaps {low}"
    return f"{how_many}, {somewhere}", f": no count{' of use' * bool(firm)} holds."


def _doubts(fragile: Sequence[Evidence], none: Sequence[Evidence], numbering: Iterator[str]) -> str:
    """The counts that do not hold, the one that moves most first, and measures without one."""
    words = []
    if none:
        give = "give" if len(none) > 1 else "gives"
        words.append(f"{_listed([measure.title for measure in none])} {give} no count")
    worst = most_fragile(fragile)
    if worst is None:
        return f"{_begun(words[0])}." if words else ""
    others = sorted((other for other in fragile if other is not worst), key=_width, reverse=True)
    reason = f": {_reason(worst, numbering)}" if worst.reason else ""
    first = f"{_begun(worst.title)} is fragile ({spread(worst)}){reason}."
    if others:
        # Of several the names alone: their ranges stand in the table, and would push the rest out.
        named = [
            measure.title if len(others) > 1 else f"{measure.title} ({spread(measure)})"
            for measure in others
        ]
        words.insert(0, f"so {'are' if len(others) > 1 else 'is'} {_listed(named)}")
    return f"{first} {_begun('; '.join(words))}." if words else first


def _reason(measure: Evidence, numbering: Iterator[str]) -> str:
    reason, end = measure.reason, measure.after_layer
    return f"{reason[:end]}{next(numbering)}{reason[end:]}" if end else reason


def _width(measure: Evidence) -> int:
    return (measure.high or 0) - (measure.low or 0)


def _between_kinds(
    firm: Sequence[Evidence],
    used: Sequence[Evidence],
    fragile: Sequence[Evidence],
    n_layers: int,
    is_open: bool,
    untried: bool,
) -> str:
    """Which kind says clearly fewer layers than another, and why that can be.

    Some counts are depths, of layers up to one; others are numbers of layers, which may lie
    anywhere. Of these only a larger one says where: beyond the depth that it exceeds.
    """
    depths = [measure for measure in firm if measure.layers is None]
    readable, causal = _counts("readable", used), _counts("causal", used)
    turning, needed = _counts("geometric", depths), _counts("causal", depths)
    moving = _counts("geometric", firm)
    tried = any(measure.kind == "causal" for measure in fragile)

    def clearly(fewer: Sequence[int], more: Sequence[int]) -> bool:
        return bool(fewer and more) and min(more) - max(fewer) > n_layers / 10

    cases = (
        (clearly(readable, causal), _CANNOT_SEE),
        (clearly(needed, readable), _REFINE),
        (clearly(causal, readable), _STAND_IN),
        (tried and not causal, _UNSETTLED),
        (is_open, "" if untried else _UNCONFIRMED),
        (clearly(turning, readable), _TURNS_EARLY),
        (clearly(readable, turning), _TURNS_LATE),
        (clearly(moving, causal), _SMALL_CHANGES),
        (clearly(causal, moving), _IDLE_MOVES),
    )
    return next((words for holds, words in cases if holds), _agreement(used, n_layers))


def _counts(kind: EvidenceKind, measures: Sequence[Evidence]) -> list[int]:
    return [_count(measure) for measure in measures if measure.kind == kind]


def _agreement(used: Sequence[Evidence], n_layers: int) -> str:
    counts = [_count(measure) for measure in used]
    apart = max(counts) - min(counts)
    if apart > n_layers / 10:
        few, most = min(used, key=_count), max(used, key=_count)
        first, second = (
            _COUNTED[measure.kind][measure.layers is not None] for measure in (few, most)
        )
        if first == second:
            return f"{_count(few)} and {_count(most)} both count {first}, by rules of their own."
        return f"{_count(few)} counts {first}, {_count(most)} {second}."
    if len(used) > 1 and any(_lies_far(measure, n_layers) for measure in used):
        return "They agree in number, not in which layers."
    agreeing = {2: "Two kinds of evidence agree.", 3: "All three kinds of evidence agree."}
    return agreeing.get(len({measure.kind for measure in used}), "")


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _range(low: int | None, high: int | None) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _begun(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
