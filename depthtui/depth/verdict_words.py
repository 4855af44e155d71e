"""The verdict in a sentence, always of the same form, and two verdicts compared.

The model keeps nine tenths of what it knows of these prompts with at most so many of its layers, in
which order, at what cost; or it knows too little; or the layers are not counted. At most three
clauses follow, the first that there are of these:

1. How many answers are right and how many layers they need, where it was measured on several
   questions; else that most are wrong.
2. The substitute for layers that are left out.
3. How many first choices stay with these layers.
4. At most two places: where the next token is decided, and until where context is read.
5. The layers that write nothing.
6. That intervals are still to come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from depthtui.data.lens_view import LOGIT, lens_title
from depthtui.data.selection import indices_text, numbers_text
from depthtui.data.sentence import Sentence, listed, plural
from depthtui.data.verdict import Evidence, Headline, HeadlineAnswers, Verdict, margin_words
from depthtui.depth.right_answers import RightAnswers
from depthtui.metrics import kept
from depthtui.metrics.kept.curve import AT_NINE_TENTHS
from depthtui.token_text import shortened

_MOST_TASKS = 4
_LONGEST_TASK = 30
_LONGEST_ANSWER = 20
_HALF = 0.5
_MOST_CLAUSES = 3

_PLACES = {
    "margin": "by the {lens} the next token is decided from depth {count} on",
    "context_depth": "context is read until depth {count}",
}
"""The two places of the sentence, by their measures."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that a verdict rests on.

    Attributes:
        evidence: each measure's count.
        n_layers: L.
        model: the model's name; untrusted.
        tasks: the task of every prompt; untrusted. Several are named as taken together.
        answer: the answer of a single prompt; untrusted, empty for none.
        headline: the layers that keep what the model knows; None where they were not measured.
        not_counted: why there is no headline though it was measured, in a clause; or empty.
        accuracy: right answers among all; None where unknown.
        answers: right answers to several questions; None where they were not measured.
        demo: how many layers keep nine tenths of the demo model on such prompts; or empty.
        idle: the layers that write nothing.
        stand_in: the substitute for a layer that is left out, in words; empty for none.
        lens: the lens that readable counts rest on, by its name in `LENSES`.
        missing_metrics: names of the metrics that would add evidence.
        may_grow: whether these are measured without being asked for, as in the explorer.
        warnings: sentences shown before the verdict.
        no_verdict: why there can be no verdict, in a sentence; empty where there can be one.
    """

    evidence: Sequence[Evidence]
    n_layers: int
    model: str = "The model"
    tasks: Sequence[str] = ()
    answer: str = ""
    headline: Headline | None = None
    not_counted: str = ""
    accuracy: RightAnswers | None = None
    answers: HeadlineAnswers | None = None
    demo: str = ""
    idle: Sequence[int] = ()
    stand_in: str = ""
    lens: str = LOGIT
    missing_metrics: Sequence[str] = ()
    may_grow: bool = False
    warnings: Sequence[str] = ()
    no_verdict: str = ""

    @property
    def n_prompts(self) -> int:
        """The number of prompts, at least one."""
        return max(1, len(self.tasks))


def verdict_sentence(facts: Facts) -> Sentence:
    """The verdict, in a few sentences."""
    headline, n_prompts = facts.headline, facts.n_prompts
    where = _where(tuple(dict.fromkeys(facts.tasks)))
    clauses = list(_clauses(facts))[:_MOST_CLAUSES]
    text = "this text" if n_prompts == 1 else "these texts"
    if headline is None:
        takes = "takes" if n_prompts == 1 else "take"
        unknown = f"How many of its {plural(facts.n_layers, 'layer')} {text}{where} {takes}"
        yet, why = _why_not_counted(facts)
        return Sentence(f"{unknown} is not counted{yet}", (f"{why}.", *clauses))
    subject = (_answers_subject(facts, headline) if headline.scored == "answer" else text) + where
    if headline.count is None or headline.half is None:
        bold = f"{facts.model} knows too little of {subject} to say how many layers it takes"
        return Sentence(bold, (f" ({headline.too_little}).", *clauses))
    keeps = f"keeps {headline.limit} of what it knows of {subject}"
    if not headline.is_share:
        keeps = f"stays within {headline.limit} a token of its loss on {subject}"
    bold = (
        f"{facts.model} {keeps} with at most {headline.count} of its "
        f"{plural(facts.n_layers, 'layer')}"
    )
    beside = list(_cost(headline))
    if facts.demo and headline.guess == "task" and headline.limit == AT_NINE_TENTHS.kept_words:
        beside.append(facts.demo)
    return Sentence(bold, (f" ({_how_sure(facts, headline)}).", *beside, *clauses))


def _why_not_counted(facts: Facts) -> tuple[str, str]:
    """A word on the future, and why there is no headline: behind `is not counted`."""
    if facts.not_counted:
        return "", f": {facts.not_counted}"
    if kept.NAME not in facts.missing_metrics:
        return "", ""
    return (" yet", "") if facts.may_grow else ("", f" (--metrics {kept.NAME})")


def _cost(headline: Headline) -> Iterator[str]:
    """The rise of the loss with the headline's layers, and the layers that keep half."""
    words = []
    if headline.nats is not None:
        perplexity = f"perplexity x {math.exp(headline.nats):.1f}"
        change = "the cost is" if headline.nats > -0.005 else "the loss falls by"
        words.append(f"{change} {abs(headline.nats):.2f} nats a token ({perplexity})")
    if headline.is_share:
        ends = f" ({_range(*headline.half_range)})" if headline.half_range else ""
        words.append(f"half is kept with at most {headline.half}{ends}")
    if headline.better_without is not None:
        layers, gain = headline.better_without
        words.append(f"with {layers} layers the loss is {gain:.2f} nats less than with all")
    if words:
        yield f"{_begun('; '.join(words))}."


def _answers_subject(facts: Facts, headline: Headline) -> str:
    """The answers that are counted, as the subject of a sentence."""
    subject = "the answer" if facts.n_prompts == 1 else "these answers"
    if facts.n_prompts == 1 and (answer := facts.answer.strip()):
        subject += f" '{shortened(answer, _LONGEST_ANSWER)}'"
    return f"{subject} beyond the task" if headline.guess == "task" else subject


def _how_sure(facts: Facts, headline: Headline) -> str:
    """The range of the count, how sure it is, and by which prompts and order."""
    row = next((row for row in facts.evidence if row.measure == headline.measure), None)
    how_sure = ", ".join(filter(None, [range_words(headline, " to "), _reliability(row, headline)]))
    prompts = "one prompt" if facts.n_prompts == 1 else f"{facts.n_prompts} prompts"
    orders = ", ".join(_orders(headline, facts.n_prompts == 1))
    return "; ".join(filter(None, [how_sure, prompts, orders]))


def _orders(headline: Headline, is_one: bool) -> Iterator[str]:
    """The order of the count, then the counts in the other orders, and in drawn ones."""
    own = "its own order" if is_one else "their own order"
    elsewhere = "other such prompts"
    if headline.by_blocks:
        elsewhere = "other tokens of it" if is_one else "other tokens of each"
    is_of_model = headline.order == "model"
    yield "in the model's order" if is_of_model else f"in an order found on {elsewhere}"
    own_counts = [count for order, count in headline.sisters if order != "model"]
    if is_of_model and own_counts:
        yield f"{min(own_counts)} in {own}"
    yield from (f"{count} in the model's" for order, count in headline.sisters if order == "model")
    if headline.is_no_better_than_random:
        yield "no order tried is better than a random one"
    elif headline.random:
        yield f"{listed([str(count) for count in headline.random])} at random"


def _clauses(facts: Facts) -> Iterator[str]:
    """The clauses behind the headline, in their order."""
    if facts.answers is None:
        yield from _wrong_answers(facts.accuracy, facts.headline)
    else:
        yield _answers(facts.answers, facts.headline)
    if facts.stand_in:
        yield f"{_begun(facts.stand_in)}."
    yield from _choices(facts.headline)
    yield from _places(facts.evidence, facts.lens)
    yield from _idle(facts.idle, f" of {indices_text(facts.n_layers)}")
    if any(measure.is_pending for measure in facts.evidence):
        yield "The intervals are still being computed."


def _reliability(row: Evidence | None, headline: Headline) -> str:
    """How sure the count is; the reason where it is fragile without a range."""
    if row is None:
        return ""
    has_reason = row.is_fragile and headline.low is None and row.reason
    return f"{row.reliability}: {row.reason}" if has_reason else row.reliability


def range_words(headline: Headline, to: str) -> str:
    """The range of the headline's count, such as `26 to 28`; empty where unknown."""
    if headline.low is None or headline.high is None:
        return ""
    return to.join(dict.fromkeys(map(str, (headline.low, headline.high))))


def _wrong_answers(accuracy: RightAnswers | None, headline: Headline | None) -> Iterator[str]:
    """The clause on answers of which less than half are right."""
    if accuracy is None or accuracy.share >= _HALF:
        return
    is_single = accuracy.answers == 1
    some = f"{accuracy.right or 'none'} of {accuracy.answers} rightly"
    depth = "a wrong answer" if is_single else "wrong answers"
    means = f": this is the depth of {depth}" if _is_counted(headline) else ""
    yield f"It answers {'wrongly' if is_single else some}{means}."


def _is_counted(headline: Headline | None) -> bool:
    return headline is not None and headline.count is not None


def _answers(answers: HeadlineAnswers, headline: Headline | None) -> str:
    """The clause on right answers, with the headline's layers, and how many layers they need."""
    is_wrong = answers.right < _HALF * answers.questions and _is_counted(headline)
    means = ": this is the depth of wrong answers" if is_wrong else ""
    if answers.at_chance:
        return f"{answers.at_chance}{means}."
    words = f"{answers.right} of {answers.questions} answers are right"
    if answers.with_headline is not None:
        layers, right = answers.with_headline
        is_bold = headline is not None and headline.count == layers
        of_order = "" if is_bold else " that the model's order takes"
        words += f", {right} with the {plural(layers, 'layer')}{of_order}"
    return f"{'; '.join([words + means, *_needed(answers)])}."


def _needed(answers: HeadlineAnswers) -> Iterator[str]:
    """How many layers the answers need, where these are known with layers left out."""
    if answers.layers is not None:
        keep = "layer keeps" if answers.layers == 1 else "layers keep"
        within = margin_words(answers.margin)
        yield f"{answers.layers} {keep} the answers within {within}"
    elif answers.has_order:
        few = "too few questions to say how many layers they need"
        yield few + (f": about {answers.enough} would tell" if answers.enough else "")


def _choices(headline: Headline | None) -> Iterator[str]:
    """The clause on the first choices that stay."""
    if headline is not None and headline.choices is not None:
        same, compared = headline.choices
        stay = "stays" if same == 1 else "stay"
        yield f"{same} of {compared} first choices {stay}."


def _places(evidence: Sequence[Evidence], lens: str) -> Iterator[str]:
    """Where the next token is decided, and until where context is read, where that is known."""
    places = {
        measure.measure: measure.count
        for measure in evidence
        if measure.measure in _PLACES and _is_reliable(measure)
    }
    words = [
        _PLACES[name].format(count=count, lens=lens_title(lens)) for name, count in places.items()
    ]
    if words:
        yield f"{_begun('; '.join(words))}."


def _idle(idle: Sequence[int], numbering: str) -> Iterator[str]:
    """The clause on the layers that write nothing."""
    if idle:
        some = f"layers {numbers_text(idle)}" if len(idle) > 1 else f"layer {idle[0]}"
        write = "write" if len(idle) > 1 else "writes"
        yield f"{_begun(some)}{numbering} {write} nothing."


def comparison_sentence(a: Verdict, b: Verdict) -> str:
    """Whether b takes more of its layers than a, or is deeper, in a sentence or two.

    What is kept comes first. Other measures are compared where they hold in both. A
    difference is clear where the ranges of the two counts do not meet; of models of different
    depth, the ranges of their shares of the layers. One prompt each gives counts alone: what is
    clear for these two prompts need not be so for two others.
    """
    if a.is_pending or b.is_pending:
        return "The intervals of A and B are still being computed."
    if a.prompts == b.prompts == 1:
        return _counts_of_one_prompt(a, b)
    return " ".join(filter(None, (_compared_headlines(a, b), _compared(a, b))))


def missing_headlines(a: Verdict, b: Verdict) -> str:
    """Which verdicts lack what is kept, in a sentence; empty where none does."""
    lacking = [name for name, verdict in (("A", a), ("B", b)) if verdict.headline is None]
    return headline_not_measured(lacking)


def headline_not_measured(names: Sequence[str], remedy: str = "", state: str = "measured") -> str:
    """A sentence on models or runs of which it is unknown what is kept; empty for none."""
    return f"Knowledge kept: not {state} in {listed(names)}{remedy}." if names else ""


def _counts_of_one_prompt(a: Verdict, b: Verdict) -> str:
    """The counts that hold in both, without a direction."""
    counts = [_of_all(pair, a, b) for pair in _pairs(a, b)]
    if a.headline is not None and (headlines := _counted_headlines(a, b)) is not None:
        limit = a.headline.limit
        title = f"{limit} kept with" if a.headline.is_share else f"within {limit} with"
        counts.insert(0, _both(title, *headlines, a, b))
    if not counts:
        return why_not_compared(a, b)
    return f"One prompt each gives no direction: {'; '.join(counts)}."


def _counted_headlines(a: Verdict, b: Verdict) -> tuple[int, int] | None:
    """The layers that keep nine tenths in both; None where unknown, or of another kind."""
    first, second = a.headline, b.headline
    if first is None or second is None or first.count is None or second.count is None:
        return None
    if (first.scored, first.guess, first.limit) != (second.scored, second.guess, second.limit):
        return None
    return first.count, second.count


def _compared_headlines(a: Verdict, b: Verdict) -> str:
    """Compare the shares of layers that keep nine tenths; empty where one number is unknown."""
    first, second, counts = a.headline, b.headline, _counted_headlines(a, b)
    if first is None or second is None or counts is None:
        return ""
    ours, other = counts
    shares = f"{ours} of {a.n_layers} and {other} of {b.n_layers}"
    keep = _keep(first)
    if None in (first.low, first.high, second.low, second.high):
        return f"A and B {keep} with {shares} layers, without an interval."
    # Rounded up, the counts may be equal, or their shares in the other order.
    gap = _gap(first, second, a.n_layers / b.n_layers)
    change = other / b.n_layers - ours / a.n_layers
    if gap * change <= 0:
        return f"A and B {keep} with about as many layers: {shares}."
    more = "more" if gap > 0 else "less"
    return (
        f"B takes {abs(change):.0%} {more} of its layers than A to "
        f"{_keep(first).replace('they know', 'it knows')}: {shares}."
    )


def _keep(headline: Headline) -> str:
    """The limit of two headlines as a predicate."""
    if headline.is_share:
        return f"keep {headline.limit} of what they know"
    return f"stay within {headline.limit} a token of the whole model's loss"


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
    """The counts that hold in both, without the headline's."""
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


def why_not_compared(a: Verdict, b: Verdict) -> str:
    """Why no count of two verdicts can be compared, in a sentence; empty where one can be."""
    if _pairs(a, b) or _counted_headlines(a, b) is not None:
        return ""
    sides = (("A", a), ("B", b))
    without = [f"{name}: {verdict.sentence}" for name, verdict in sides if not verdict.evidence]
    fragile = [
        f"{measure.title} is fragile in {name}, {measure.reason}"
        for name, verdict in sides
        for measure in verdict.evidence
        if measure.is_fragile and measure.reason
    ]
    reason = "no count is reliable in both"
    if without:
        reason = " ".join(without).rstrip(".")
    elif fragile:
        reason += f"; {fragile[0]}"
    return f"A and B cannot be compared: {reason}."


def _compared(a: Verdict, b: Verdict) -> str:
    """Compare the measures that hold in both."""
    pairs = _pairs(a, b)
    if not pairs:
        return "" if a.headline and b.headline else why_not_compared(a, b)
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
        for words, pairs_apart in (("deeper than A", more), ("shallower than A", fewer))
        if pairs_apart
    ]
    sentence = f"B is {' and '.join(clear)}" if clear else ""
    if unclear:
        sentence += "; " if clear else "Between A and B there is "
        sentence += f"no clear difference in depth{_by(unclear, pairs)}"
    if a.n_layers != b.n_layers:
        sentence += f": {'; '.join(_of_all(pair, a, b) for pair in pairs)}"
    return f"{sentence}."


def _is_reliable(measure: Evidence) -> bool:
    return measure.count is not None and not (measure.is_pending or measure.is_fragile)


def _changes(pairs: Sequence[tuple[Evidence, Evidence]], a: Verdict, b: Verdict) -> str:
    """The least and the greatest difference: in layers, or in shares where depths differ."""
    if a.n_layers != b.n_layers:
        shares = sorted(
            abs(_count(other) / b.n_layers - _count(ours) / a.n_layers) for ours, other in pairs
        )
        ends = dict.fromkeys(f"{share:.0%}" for share in (shares[0], shares[-1]))
        return f"{' to '.join(ends)} of its layers"
    sizes = sorted({abs(_count(other) - _count(ours)) for ours, other in pairs})
    most = plural(sizes[-1], "layer")
    return most if len(sizes) == 1 else f"{sizes[0]} to {most}"


def _by(
    pairs: Sequence[tuple[Evidence, Evidence]], all_pairs: Sequence[tuple[Evidence, Evidence]]
) -> str:
    """The measures in words; `every kind of evidence` where they are all, and several."""
    kinds = {ours.kind for ours, _ in pairs}
    if len(pairs) == len(all_pairs) and len(kinds) > 1:
        return ", by every kind of evidence"
    return f", by {listed([ours.title for ours, _ in pairs])}"


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


def _where(tasks: Sequence[str]) -> str:
    """The pooled tasks, where there are several."""
    if len(tasks) < 2:
        return ""
    names = [shortened(task, _LONGEST_TASK) for task in tasks]
    if len(names) > _MOST_TASKS:
        names = [*names[: _MOST_TASKS - 1], f"{len(names) - _MOST_TASKS + 1} more"]
    return f" over the tasks {listed(names)} together"


def _count(measure: Evidence) -> int:
    return measure.count or 0


def _range(low: int | None, high: int | None) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _begun(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
