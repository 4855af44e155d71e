"""The answer of a sweep to a question, by one number of groups of prompts, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from depthtui.data.sentence import listed
from depthtui.depth.reading import Reading
from depthtui.report.phrases import sentence_case
from depthtui.sweep.comparisons import Comparison
from depthtui.sweep.numbers import MEAN_DEPTH, Number
from depthtui.sweep.plan import Cell, population
from depthtui.sweep.subjects import Subject

UNKNOWN = "Not known"

_VERDICTS = {"more": "Yes", "fewer": "No, less", "as many": "No"}

_OTHER_LENGTH = 1.1
"""Prompts are of other lengths where the mean lengths of two groups have this ratio."""

_OTHER_GAIN = 1.5
"""Groups know other amounts where the nats of a token have this ratio."""

_MOSTLY_RIGHT = 0.9
"""The share of right answers below which the depth is of wrong ones, too."""


@dataclass(frozen=True)
class Group:
    """A group of prompts that is compared.

    Attributes:
        name: the model, the level, or the origin of the text.
        prompts: number of prompts.
        tokens: tokens of a prompt, on average; 0 without a prompt.
        right: share of right answers; None where unknown.
    """

    name: str
    prompts: int
    tokens: float
    right: float | None

    @classmethod
    def of(cls, name: str, reading: Reading | None) -> Group:
        """The group of some prompts; None for none."""
        if reading is None or not reading.prompts:
            return cls(name, 0, 0.0, None)
        lengths = [prompt.n_tokens for prompt in reading.prompts]
        right = None if reading.accuracy is None else reading.accuracy.share
        return cls(name, len(lengths), sum(lengths) / len(lengths), right)


@dataclass(frozen=True)
class Answer:
    """The answer to a question by one number.

    Attributes:
        subject: the models and tasks that are compared.
        has_direction: whether the question is of more depth, not of other depth.
        groups: the groups of prompts, in the question's order.
        comparison: the comparison of their numbers.
        beside: a sentence on another number of the groups; may be empty.
        with_task: the comparison of what is known of the answers with what the task tells; None
            where that is the comparison, or unknown.
        left_out: the tasks of which too little is known, which are in no group.
    """

    subject: Subject
    has_direction: bool
    groups: Sequence[Group]
    comparison: Comparison
    beside: str = ""
    with_task: Comparison | None = None
    left_out: Sequence[str] = ()

    @property
    def number(self) -> Number:
        """The number that the groups are compared by."""
        return self.comparison.number

    @property
    def cells(self) -> list[Cell]:
        """The cells that it is about."""
        return [cell.cell for cell in self.subject.cells]

    @property
    def is_headline(self) -> bool:
        """Whether it is the first answer to the question, before those by other numbers."""
        return self.number is MEAN_DEPTH

    @property
    def is_known(self) -> bool:
        """Whether there is a change, of whatever direction."""
        return self.comparison.change is not None

    @property
    def reason(self) -> str:
        """Why there is no direction; empty where there is one."""
        return str(self.comparison.reason or "")

    @property
    def population(self) -> str:
        """The prompts that interval and p are about, such as `draws of this generator`."""
        return population(cell.task for cell in self.cells)

    @property
    def verdict(self) -> str:
        """The answer in a word or a few."""
        return self._verdict_of(self.comparison)

    def _verdict_of(self, comparison: Comparison) -> str:
        reason, direction = comparison.reason, comparison.direction
        if comparison.change is None:
            return UNKNOWN
        if reason is not None:
            return sentence_case(reason.headline)
        return _VERDICTS["more" if direction == "fewer" and not self.has_direction else direction]

    @property
    def _other_guess(self) -> str:
        """The answer with what the task tells, where it is another one."""
        other = self.with_task
        if other is None or other.change is None or self._verdict_of(other) == self.verdict:
            return ""
        change, ends = other.change_in_words
        verdict = self._verdict_of(other)
        return f"With what the task tells: {verdict[0].lower()}{verdict[1:]}, {change} ({ends})."

    @property
    def _steps(self) -> str:
        """The groups that follow each other, compared in a sentence.

        Empty where two are all, or each takes more than the one before, or fewer, as they all do.
        """
        steps = self.comparison.step_directions
        if not self.number.is_of_layers:
            return ""
        if self.comparison.direction and set(steps) == {self.comparison.direction}:
            return ""
        names = _without_common_start([group.name for group in self.groups])
        words = {"more": "takes fewer than", "fewer": "takes more than"}
        clauses = [
            f"{before} {words[step]} {after}"
            if step
            else f"{before} and {after} cannot be told apart"
            for before, after, step in zip(names, names[1:], steps, strict=False)
        ]
        return f"{sentence_case('; '.join(clauses))}." if clauses else ""

    @property
    def _sizes(self) -> str:
        """The number of prompts of each group, such as `n 10` or `n 10, 10 and 8`."""
        sizes = [str(group.prompts) for group in self.groups]
        return f"n {sizes[0] if len(set(sizes)) == 1 else listed(sizes)}"

    @property
    def confounds(self) -> list[str]:
        """The other differences between the groups, each in a clause."""
        return list(self._confounds()) if self.is_known else []

    def _confounds(self) -> Iterator[str]:
        if self.left_out:
            are = "is" if len(self.left_out) == 1 else "are"
            yield f"too little is known of {listed(list(self.left_out))}, which {are} left out"
        tokens = [group.tokens for group in self.groups]
        if max(tokens) > _OTHER_LENGTH * min(tokens):
            yield f"the prompts have {listed([f'{length:.0f}' for length in tokens])} tokens"
        if not self.subject.paired and self.comparison.groups[0].of_other_tokens:
            yield "the tokens that count differ"
        yield from self._of_knowledge()
        right = [group.right for group in self.groups if group.right is not None]
        if len(right) == len(self.groups) and min(right) < _MOSTLY_RIGHT:
            shares = listed([f"{100 * share:.0f}" for share in right])
            if self.number.is_of_layers:
                yield f"{shares} % of their answers are right"

    def _of_knowledge(self) -> Iterator[str]:
        """The groups that know much less than another, and those of which no order is found."""
        groups = self.comparison.groups
        gains = [group.gain for group in groups]
        if max(gains) > _OTHER_GAIN * min(gains):
            yield f"{listed([f'{gain:.1f}' for gain in gains])} nats of a token are known"
        names = _without_common_start([group.name for group in self.groups])
        at_random = [
            name
            for name, group in zip(names, groups, strict=True)
            if group.is_no_better_than_random
        ]
        if 0 < len(at_random) < len(groups):
            yield f"of {listed(at_random)}, any order of layers costs as much"

    @property
    def claim(self) -> str:
        """The answer in one sentence."""
        if not self.is_known:
            return f"{UNKNOWN}: {self.subject}, {self.number.title}: {self.reason}."
        groups, number = self.comparison.groups, self.number
        claim = number.words.format(
            s="s" if self.subject.of_one_model else "",
            values=number.in_words(groups, self.comparison.ranges),
            known=groups[0].known,
        )
        return (
            f"{self.verdict}: on {self.subject.on} ({self._sizes}), {self.subject.models} {claim}."
        )

    @property
    def details(self) -> str:
        """The sentences behind the claim; empty where nothing is known."""
        if not self.is_known:
            return ""
        sentences = [self.beside, self._other_guess]
        change, ends = self.comparison.change_in_words
        tested = f"; single prompts: {words}" if (words := test_words(self.comparison)) else ""
        level = f"{100 * self.comparison.level:.4g} % interval"
        sentences.append(
            f"From the first to the last {change} ({level} {ends}, over {self.population}{tested})."
        )
        if self.comparison.reason:
            clauses = (clause.lstrip(": ") for clause in self.comparison.reason.clauses)
            sentences += [f"{sentence_case(clause)}." for clause in clauses]
        if self.confounds:
            sentences.append(f"But {'; '.join(self.confounds)}.")
        sentences.append(self._steps)
        return " ".join(filter(None, sentences))

    def __str__(self) -> str:
        return " ".join(filter(None, (self.claim, self.details)))


def _without_common_start(names: Sequence[str]) -> list[str]:
    """Names such as `1 digit` for `addition, 1 digit`, where all begin with `addition, `."""
    start, comma, _ = names[0].rpartition(", ")
    is_common = comma and all(name.startswith(start + comma) for name in names)
    return [name.removeprefix(start + comma) for name in names] if is_common else list(names)


def p_words(comparison: Comparison) -> str:
    """p of the rank test, such as `0.031`, `<= 0.0078` or `< 0.001`; empty where there is none."""
    test = comparison.test
    if test is None or test.p is None:
        return ""
    at_most = "<= " if test.p_is_least and test.p < 1 else ""
    return "< 0.001" if test.p < 0.001 else f"{at_most}{test.p:.2g}"


def test_words(comparison: Comparison) -> str:
    """The rank test of single prompts, and whether it disagrees; empty where there is none."""
    p = p_words(comparison)
    if not p:
        return ""
    words = f"{comparison.test_name} test, p {p}"
    if comparison.disagrees:
        changes = comparison.direction in ("more", "fewer")
        words += ", no clear change" if changes else ", a change"
    return words
