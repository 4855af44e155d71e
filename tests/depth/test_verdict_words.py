"""The sentence of a verdict, case by case, on constructed evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from depthtui.data.sentence import Sentence
from depthtui.data.verdict import Evidence, EvidenceKind, Headline, HeadlineAnswers, Verdict
from depthtui.depth import rules, verdict_words
from depthtui.depth.right_answers import RightAnswers
from depthtui.depth.verdict import verdict_of
from depthtui.depth.verdict_words import (
    _PLACES,
    Facts,
    comparison_sentence,
    missing_headlines,
    why_not_compared,
)
from depthtui.metrics.registry import METRIC_BY_NAME

SAYS = {
    "cosine": "until layers strengthen what is there",
    "kl": "until the lens comes close to the output",
    "overlap": "until the lens reads the output's tokens",
    "context_depth": "until the context needs no more layers",
    "similarity": "that turn the residual stream",
    "ablation": "that cost something when left out",
}
OF_ANY_LAYERS = ("similarity", "ablation", "order")


def firm(kind: EvidenceKind, measure: str, title: str, count: int) -> Evidence:
    layers = tuple(range(count)) if measure in OF_ANY_LAYERS else None
    says = SAYS.get(measure, "")
    return Evidence(kind, measure, title, count, count, count, True, "", layers, says)


def fragile(measure: str, title: str, count: int, low: int, high: int) -> Evidence:
    return Evidence("readable", measure, title, count, low, high, firm=False, reason="it moves")


KEPT = Headline("kept", 19, 18, 19, 12, 12.4, 4.2, half_range=(11, 13), nats=0.5)
COST = "The cost is 0.50 nats a token (perplexity x 1.6); half is kept with at most 12 (11 to 13)."
ABLATION = firm("causal", "ablation", "ablation", 23)
COSINE = firm("geometric", "cosine", "cosine", 19)
OVERLAP = firm("readable", "overlap", "overlap", 21)
DECIDED = firm("readable", "margin", "decided", 22)
CONTEXT = firm("causal", "context_depth", "context depth", 17)


def verdict_sentence(
    evidence: list[Evidence],
    n_layers: int,
    model: str = "The model",
    n_prompts: int = 1,
    tasks: Sequence[str] = (),
    **facts: Any,
) -> Sentence:
    of_prompts = tasks or [""] * n_prompts
    return verdict_words.verdict_sentence(
        Facts(evidence=evidence, n_layers=n_layers, model=model, tasks=of_prompts, **facts)
    )


def test_it_has_one_form_with_the_model_as_its_subject() -> None:
    words = verdict_sentence([OVERLAP, COSINE, ABLATION], 24, "SmolLM2", headline=KEPT)
    assert words.headline == (
        "SmolLM2 keeps nine tenths of what it knows of this text with at most 19 of its 24 layers"
    )
    assert words.clauses == (" (18 to 19; one prompt; in the model's order).", COST)


def test_layers_that_do_harm_are_named_beside_the_cost() -> None:
    harmed = replace(KEPT, better_without=(22, 1.9))
    words = verdict_sentence([ABLATION], 24, headline=harmed)
    assert "; with 22 layers the loss is 1.90 nats less than with all." in words.clauses[1]


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ({"n_prompts": 3}, "these texts"),
        ({"answer": " Paris", "scored": "answer"}, "the answer 'Paris'"),
        ({"scored": "answer"}, "the answer"),
        ({"n_prompts": 3, "scored": "answer"}, "these answers"),
        ({"n_prompts": 2, "tasks": ["a", "b"]}, "these texts over the tasks a and b together"),
    ],
)
def test_it_names_what_is_known(options: dict[str, Any], known: str) -> None:
    headline = replace(KEPT, scored=options.pop("scored", "text"))
    words = verdict_sentence([COSINE], 24, "M", headline=headline, **options)
    assert (
        words.headline
        == f"M keeps nine tenths of what it knows of {known} with at most 19 of its 24 layers"
    )


def test_of_many_tasks_some_are_named_and_names_are_harmless() -> None:
    def on(*tasks: str) -> str:
        return str(verdict_sentence([COSINE], 24, tasks=tasks, headline=KEPT))

    assert on("a") == on()
    assert " over the tasks a, b, c and 2 more together" in on("a", "b", "c", "d", "e")
    assert "\x1b" not in on("a", "\x1b[2J" * 20)


def test_without_a_range_the_prompts_stand_alone() -> None:
    words = verdict_sentence([COSINE], 24, headline=replace(KEPT, low=None, high=None))
    assert words.clauses[0] == " (one prompt; in the model's order)."


def test_its_evidence_says_how_sure_it_is() -> None:
    own = firm("causal", "kept", "kept", 19)
    sure = str(verdict_sentence([own, COSINE], 24, n_prompts=8, headline=KEPT))
    assert " (18 to 19, firm; 8 prompts; in the model's order)." in sure
    shaky = replace(own, firm=False, low=14, high=19, reason="it moves")
    unsure = str(verdict_sentence([shaky], 24, headline=KEPT))
    assert " (18 to 19, fragile; one prompt; in the model's order)" in unsure


def test_a_fragile_count_without_a_range_has_its_reason() -> None:
    own = replace(firm("causal", "kept", "kept", 19), firm=False, reason="it rests on 2 tokens")
    words = str(verdict_sentence([own], 24, headline=replace(KEPT, low=None, high=None)))
    assert " (fragile: it rests on 2 tokens; one prompt; in" in words


def test_what_a_task_tells_is_named() -> None:
    headline = replace(KEPT, scored="answer", guess="task")
    words = verdict_sentence([COSINE], 24, "M", n_prompts=8, headline=headline)
    assert (
        " knows of these answers beyond the task with at most 19 of its 24 layers" in words.headline
    )


@pytest.mark.parametrize(
    ("guess", "limit", "is_named"),
    [("task", "nine tenths", True), ("text", "nine tenths", False), ("task", "80%", False)],
)
def test_the_demos_count_of_the_same_kind_is_named(guess: Any, limit: str, is_named: bool) -> None:
    headline = replace(KEPT, scored="answer", guess=guess, limit=limit)
    demo = "The demo model takes 19 of its 30 layers (19 to 20)."
    words = verdict_sentence([COSINE], 24, n_prompts=8, headline=headline, demo=demo)
    assert (demo in words.clauses) is is_named


def test_where_too_little_is_known_there_is_no_number() -> None:
    better = "0.6 nats a token better than a guess"
    nothing = replace(KEPT, count=None, half=None, too_little=better)
    words = verdict_sentence([COSINE], 24, "M", headline=nothing)
    assert words.headline == "M knows too little of this text to say how many layers it takes"
    assert words.clauses == (f" ({better}).",)


def test_before_it_is_measured_it_says_so() -> None:
    unknown = "How many of its 24 layers this text takes is not counted"
    missing: dict[str, Any] = {"missing_metrics": ["kept"]}
    assert str(verdict_sentence([COSINE], 24)) == f"{unknown}."
    assert str(verdict_sentence([COSINE], 24, **missing)) == f"{unknown} (--metrics kept)."
    assert str(verdict_sentence([COSINE], 24, may_grow=True, **missing)) == f"{unknown} yet."
    assert str(verdict_sentence([COSINE], 1, n_prompts=2)).startswith(
        "How many of its 1 layer these texts take is not counted."
    )
    assert verdict_of(Facts(evidence=[], n_layers=30)) is None


def test_the_places_are_those_of_measures_that_there_are() -> None:
    assert set(_PLACES) <= {*(rule.name for rule in rules.ALL), *METRIC_BY_NAME}


def test_two_places_follow_where_they_hold() -> None:
    words = verdict_sentence([DECIDED, COSINE, CONTEXT, ABLATION], 24, headline=KEPT)
    assert words.clauses[2] == (
        "By the logit lens the next token is decided from depth 22 on; context is read until depth "
        "17."
    )
    words = verdict_sentence([DECIDED], 24, headline=KEPT, lens="jacobian")
    assert words.clauses[2] == "By the Jacobian lens the next token is decided from depth 22 on."
    words = verdict_sentence([CONTEXT], 24, headline=KEPT)
    assert words.clauses[2] == "Context is read until depth 17."
    shaky = replace(DECIDED, firm=False, low=4, high=22, reason="it moves")
    assert len(verdict_sentence([shaky], 24, headline=KEPT).clauses) == 2
    # It may prove fragile once its interval is there.
    pending = replace(DECIDED, is_pending=True)
    assert "decided" not in str(verdict_sentence([pending], 24, headline=KEPT))


def test_a_depth_of_wrong_answers_is_called_so() -> None:
    def clauses(right: int, answers: int) -> tuple[str, ...]:
        accuracy = RightAnswers(right, answers)
        return verdict_sentence([COSINE], 24, headline=KEPT, accuracy=accuracy).clauses[2:]

    assert clauses(0, 1) == ("It answers wrongly: this is the depth of a wrong answer.",)
    assert clauses(1, 10) == ("It answers 1 of 10 rightly: this is the depth of wrong answers.",)
    assert clauses(5, 10) == ()


@pytest.mark.parametrize(
    ("n_prompts", "order", "words"),
    [
        (1, "model", "one prompt; in the model's order"),
        (1, "own", "one prompt; in an order found on other tokens of it"),
        (8, "own", "8 prompts; in an order found on other such prompts"),
    ],
)
def test_the_order_is_named(n_prompts: int, order: str, words: str) -> None:
    headline = replace(KEPT, order=order, by_blocks=n_prompts == 1)
    sentence = verdict_sentence([COSINE], 24, n_prompts=n_prompts, headline=headline)
    assert sentence.clauses[0] == f" (18 to 19; {words})."


def test_first_choices_that_stay_are_counted() -> None:
    def clauses(choices: tuple[int, int] | None, n_prompts: int) -> tuple[str, ...]:
        headline = replace(KEPT, choices=choices)
        return verdict_sentence([COSINE], 24, n_prompts=n_prompts, headline=headline).clauses[2:]

    assert clauses((18, 37), 1) == ("18 of 37 first choices stay.",)
    assert clauses((1, 370), 8) == ("1 of 370 first choices stays.",)
    assert clauses(None, 1) == ()


def test_at_most_three_clauses_follow_the_strongest() -> None:
    pending = replace(COSINE, is_pending=True)
    words = verdict_sentence(
        [DECIDED, CONTEXT, pending],
        24,
        headline=replace(KEPT, choices=(18, 37)),
        idle=(2,),
        stand_in="a mean update stands in",
        accuracy=RightAnswers(0, 1),
    )
    assert words.clauses[2:] == (
        "It answers wrongly: this is the depth of a wrong answer.",
        "A mean update stands in.",
        "18 of 37 first choices stay.",
    )


ANSWERS = HeadlineAnswers(
    kind="chosen",
    right=34,
    questions=50,
    interval=(0.54, 0.79),
    margin=0.05,
    layers=21,
    with_headline=(19, 31),
)


@pytest.mark.parametrize(
    ("changes", "clause"),
    [
        (
            {},
            "34 of 50 answers are right, 31 with the 19 layers; 21 layers keep the answers within "
            "5 points.",
        ),
        (
            {"layers": None, "enough": 52, "margin": 0.01},
            "34 of 50 answers are right, 31 with the 19 layers; too few questions to say how many "
            "layers they need: about 52 would tell.",
        ),
        (
            {"layers": None, "with_headline": None},
            "34 of 50 answers are right; too few questions to say how many layers they need.",
        ),
        (
            {"layers": 1, "margin": 0.01, "with_headline": None},
            "34 of 50 answers are right; 1 layer keeps the answers within 1 point.",
        ),
        (
            {"layers": None, "has_order": False, "with_headline": None},
            "34 of 50 answers are right.",
        ),
        (
            {"right": 24},
            "24 of 50 answers are right, 31 with the 19 layers: this is the depth of wrong "
            "answers; 21 layers keep the answers within 5 points.",
        ),
        (
            {"right": 12, "layers": None, "at_chance": "12 of 50 answers are right, and so on"},
            "12 of 50 answers are right, and so on: this is the depth of wrong answers.",
        ),
    ],
)
def test_right_answers_stand_beside_the_headline(changes: dict[str, Any], clause: str) -> None:
    answers = replace(ANSWERS, **changes)
    few = RightAnswers(1, 50)
    words = verdict_sentence([COSINE], 24, headline=KEPT, accuracy=few, answers=answers)
    assert words.clauses[2:] == (clause,)


def test_right_answers_stand_without_a_headline_too() -> None:
    answers = replace(ANSWERS, right=20, with_headline=None)
    assert verdict_sentence([COSINE], 24, answers=answers).clauses[1:] == (
        "20 of 50 answers are right; 21 layers keep the answers within 5 points.",
    )


def test_idle_layers_are_named() -> None:
    result = str(verdict_sentence([COSINE], 24, headline=KEPT, idle=(2, 7, 8)))
    assert "Layers 2, 7-8 of 0-23 write nothing." in result
    result = str(verdict_sentence([COSINE], 24, headline=KEPT, idle=(2,)))
    assert "Layer 2 of 0-23 writes nothing." in result


def test_a_stand_in_and_intervals_that_are_to_come_are_named() -> None:
    pending = replace(COSINE, is_pending=True)
    words = verdict_sentence([pending], 24, headline=KEPT, stand_in="a mean update stands in")
    assert words.clauses[2:] == (
        "A mean update stands in.",
        "The intervals are still being computed.",
    )


# Two verdicts -----------------------------------------------------------------


ABOUT_AS_MANY = "A and B keep nine tenths of what they know with about as many layers: 19 of 24 and"


def of_layers(n_layers: int, headline: Headline) -> Verdict:
    verdict = verdict_of(Facts(evidence=[COSINE], n_layers=n_layers, headline=headline))
    assert verdict is not None
    return verdict


@pytest.mark.parametrize(
    ("layers", "second", "says"),
    [
        (
            24,
            (22, 21, 22),
            "B takes 12% more of its layers than A to keep nine tenths of what it knows: ",
        ),
        (
            24,
            (17, 16, 17),
            "B takes 8% less of its layers than A to keep nine tenths of what it knows: ",
        ),
        (24, (19, 19, 20), ABOUT_AS_MANY),
        (24, (19, 19, 19), ABOUT_AS_MANY),
        (
            30,
            (27, 27, 27),
            "B takes 11% more of its layers than A to keep nine tenths of what it knows: ",
        ),
        (30, (23, 22, 23), ABOUT_AS_MANY),
        (
            24,
            (22, None, None),
            "A and B keep nine tenths of what they know with 19 of 24 and 22 of 24 layers, with",
        ),
    ],
)
def test_what_is_kept_is_compared_first_and_by_share(
    layers: int, second: tuple[int, int | None, int | None], says: str
) -> None:
    a = of_layers(24, KEPT)
    count, low, high = second
    b = of_layers(layers, replace(KEPT, count=count, low=low, high=high))
    assert comparison_sentence(a, b).startswith(says)
    assert "cosine" in comparison_sentence(a, b)


def test_one_prompt_each_gives_counts_without_a_direction() -> None:
    counts = ((28, 30, KEPT), (16, 18, replace(KEPT, count=9)))
    a, b = (
        verdict_of(
            Facts(
                evidence=[firm("readable", "decided", "decided", count)],
                n_layers=n_layers,
                tasks=["x"],
                headline=headline,
            )
        )
        for count, n_layers, headline in counts
    )
    assert comparison_sentence(a, b) == (
        "One prompt each gives no direction: nine tenths kept with 19 of 30 and 9 of 18 (0.63 and "
        "0.50); decided 28 of 30 and 16 of 18 (0.93 and 0.89)."
    )
    # Counts that may yet turn out to be fragile are not listed.
    draft = replace(a, evidence=tuple(replace(one, is_pending=True) for one in a.evidence))
    assert comparison_sentence(draft, b) == "The intervals of A and B are still being computed."
    assert missing_headlines(a, b) == ""
    assert missing_headlines(a, replace(b, headline=None)) == ("Knowledge kept: not measured in B.")


def compared(a: list[Evidence], b: list[Evidence], layers: tuple[int, int] = (30, 30)) -> str:
    facts = [
        Facts(evidence=evidence, n_layers=n_layers)
        for evidence, n_layers in zip((a, b), layers, strict=True)
    ]
    verdicts = [*map(verdict_of, facts)]
    assert verdicts[0] is not None
    assert verdicts[1] is not None
    return comparison_sentence(verdicts[0], verdicts[1])


def counts(**measures: int) -> list[Evidence]:
    kinds: dict[str, EvidenceKind] = {"kl": "readable", "cosine": "geometric", "order": "causal"}
    return [firm(kinds[name], name, name, count) for name, count in measures.items()]


def test_deeper_by_every_kind() -> None:
    sentence = compared(counts(kl=10, cosine=12, order=9), counts(kl=14, cosine=14, order=11))
    assert sentence == ("B is deeper than A by 2 to 4 layers, by every kind of evidence.")


def test_kinds_that_differ_in_how_runs_differ() -> None:
    sentence = compared(counts(kl=10, cosine=12, order=9), counts(kl=11, cosine=10, order=9))
    assert sentence == (
        "B is deeper than A by 1 layer, by kl and shallower than A by 2 "
        "layers, by cosine; no clear difference in depth, by order."
    )


def test_ranges_that_overlap_are_no_clear_difference() -> None:
    wide = Evidence("readable", "kl", "kl", 10, 9, 13)
    assert compared([wide], counts(kl=12)) == (
        "Between A and B there is no clear difference in depth, by kl."
    )
    assert compared([wide], counts(kl=14)).startswith("B is deeper")


def test_what_does_not_hold_in_both_is_not_compared() -> None:
    shaky = [fragile("kl", "kl", 10, 2, 20), *counts(cosine=12)]
    assert compared(shaky, counts(kl=25, cosine=20)).endswith("by 8 layers, by cosine.")
    assert compared(shaky[:1], counts(kl=25)) == (
        "A and B cannot be compared: no count is reliable in both; kl is fragile in A, it moves."
    )


def test_a_run_without_a_verdict_is_the_reason_why_nothing_is_compared() -> None:
    short = Verdict(Sentence("Too short: no verdict on 3 tokens"), (), 30, prompts=1)
    other = verdict_of(Facts(evidence=counts(kl=10), n_layers=30, tasks=["x"]))
    assert other is not None
    assert why_not_compared(short, other) == (
        "A and B cannot be compared: A: Too short: no verdict on 3 tokens."
    )
    assert comparison_sentence(short, other) == why_not_compared(short, other)
    assert why_not_compared(other, other) == ""


def test_models_of_other_depth_are_compared_with_their_layers() -> None:
    assert compared(counts(kl=18), counts(kl=6), (30, 18)) == (
        "B is shallower than A by 27% of its layers, by kl: kl 18 of 30 and "
        "6 of 18 (0.60 and 0.33)."
    )
