"""The sentence of a verdict, case by case, on constructed evidence."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.verdict import Evidence, EvidenceKind
from depthtui.depth.verdict import made_verdict
from depthtui.depth.verdict_words import comparison_sentence, most_fragile, verdict_sentence

SAYS = {
    "cosine": "until layers strengthen what is there",
    "kl": "until the lens comes close to the output",
    "overlap": "until the lens reads the output's tokens",
    "context_depth": "until the context needs no more layers",
    "similarity": "that turn the residual stream",
    "ablation": "that cost something when left out",
}
OF_ANY_LAYERS = ("similarity", "ablation", "order")
NOT_OF_USE = ("similarity", "order")


def firm(kind: EvidenceKind, measure: str, title: str, count: int) -> Evidence:
    layers = tuple(range(count)) if measure in OF_ANY_LAYERS else None
    says = SAYS.get(measure, "")
    used = measure not in NOT_OF_USE
    return Evidence(kind, measure, title, count, count, count, True, "", layers, says, None, used)


def fragile(
    measure: str, title: str, count: int, low: int, high: int, to_layer: str, rest: str = ""
) -> Evidence:
    """`rest` is what follows the first layer's number in the reason."""
    return Evidence(
        "readable",
        measure,
        title,
        count,
        low,
        high,
        firm=False,
        reason=to_layer + rest,
        after_layer=len(to_layer) if rest else 0,
    )


def said(
    evidence: list[Evidence],
    n_layers: int,
    missing: tuple[str, ...] = ("ablation",),
    tasks: tuple[str, ...] = (),
) -> str:
    """The sentence, while there is something left to compute where nothing else is asked for."""
    return str(verdict_sentence(evidence, n_layers, missing, tasks))


COSINE = firm("geometric", "cosine", "cosine", 19)
OVERLAP = firm("readable", "overlap", "overlap", 26)
COSINE_SENTENCE = "Uses 19 of its 30 layers {}, until layers strengthen what is there (cosine)."
NOT_KNOWN = Evidence("readable", "kl", "KL", None, firm=False, reason="KL never falls below 0.5")


def test_kinds_that_agree() -> None:
    found = [
        firm("readable", "overlap", "overlap", 25),
        firm("geometric", "cosine", "cosine", 24),
        firm("causal", "context_depth", "context depth", 26),
    ]
    assert said(found, 30) == (
        "Uses 24 to 26 of its 30 layers here: 25 until the lens reads the output's tokens "
        "(overlap), 24 until layers strengthen what is there (cosine), 26 until the context needs "
        "no more layers (context depth). All three kinds of evidence agree."
    )
    assert said(found[1:], 30).endswith(". Two kinds of evidence agree.")


def test_the_tasks_that_are_pooled_stand_where_it_says_here() -> None:
    def on(*tasks: str, found: Evidence = COSINE) -> str:
        return said([found], 30, (), tasks)

    assert on("a") == on() == COSINE_SENTENCE.format("here")
    assert on("a", "b") == COSINE_SENTENCE.format("over the tasks a and b together")
    several = on("a", "b", "c", "d", "e")
    assert several == COSINE_SENTENCE.format("over the tasks a, b, c and 2 more together")
    assert "\x1b" not in on("a", "\x1b[2J" * 20)
    open_ = fragile("kl", "KL", 7, 7, 7, "it rests on 1 of 5 prompts")
    assert on("a", "b", found=open_) == (
        "How many of its 30 layers are used over the tasks a and b together stays open, perhaps 7: "
        "no count holds. KL is fragile (7): it rests on 1 of 5 prompts."
    )


def test_readable_late_and_causally_early_is_refinement() -> None:
    found = [OVERLAP, firm("causal", "context_depth", "context depth", 14)]
    assert said(found, 30).endswith(
        "(context depth). The lens reads the answer later than layers are needed: the last ones "
        "refine what is decided."
    )


def test_readable_early_and_causally_late_is_what_the_lens_cannot_see() -> None:
    found = [firm("readable", "kl", "KL", 4), firm("causal", "ablation", "ablation loss", 29)]
    assert said(found, 30) == (
        "Uses 4 to 29 of its 30 layers here: 4 until the lens comes close to the output (KL), 29 "
        "that cost something when left out (ablation loss). Layers are needed after the lens reads "
        "the answer: they compute what it cannot see."
    )


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ({"overlap": 14, "context_depth": 10}, "refine what is decided."),
        ({"overlap": 13, "context_depth": 10}, "Two kinds of evidence agree."),
        ({"overlap": 14, "ablation": 10}, "others can stand in for them."),
        ({"overlap": 10, "ablation": 14}, "they compute what it cannot see."),
        ({"overlap": 10, "ablation": 13}, "Two kinds of evidence agree."),
        ({"overlap": 26, "cosine": 10, "ablation": 27}, "layers between refine what is there."),
        ({"overlap": 10, "cosine": 26, "ablation": 11}, "decides nothing by itself."),
        # That layers move the stream is no disagreement with what a lens reads.
        ({"overlap": 24, "similarity": 30, "ablation": 27}, "Two kinds of evidence agree."),
        ({"similarity": 10, "ablation": 14}, "small changes can matter."),
        ({"similarity": 14, "ablation": 10}, "movement alone is not use."),
        ({"overlap": 10, "cosine": 26}, "26 until layers strengthen what is there (cosine)."),
        ({"overlap": 10, "cosine": 26, "order": 14}, "No intervention confirms it yet."),
        ({"cosine": 10, "ablation": 13}, "Two kinds of evidence agree."),
        ({"x": 13}, "Uses 13 of its 30 layers here, by x."),
    ],
)
def test_why_kinds_may_differ(counts: dict[str, int], why: str) -> None:
    kinds: dict[str, EvidenceKind] = {
        "overlap": "readable",
        "cosine": "geometric",
        "similarity": "geometric",
    }
    found = [firm(kinds.get(name, "causal"), name, name, count) for name, count in counts.items()]
    assert said(found, 30).endswith(why)


def test_measures_of_one_kind_may_count_different_things() -> None:
    found = [
        COSINE,
        firm("geometric", "similarity", "angular distance", 30),
        firm("causal", "ablation", "ablation loss", 28),
    ]
    assert said(found, 30).endswith(
        "19 counts up to where the stream turns, 28 each layer that is missed."
    )


def test_measures_that_count_the_same_have_rules_of_their_own() -> None:
    found = [firm("readable", "kl", "KL", 12), firm("readable", "overlap", "overlap", 26)]
    assert said(found, 30, ()).endswith(
        "12 and 26 both count up to what a lens can read, by rules of their own."
    )


def test_before_any_layer_was_left_out_what_was_measured_comes_before_the_number() -> None:
    kl = firm("readable", "kl", "KL", 2)
    assert said([kl], 30) == (
        "By what a lens reads alone, before any layer is left out, it uses 2 of its 30 layers "
        "here, until the lens comes close to the output (KL)."
    )
    assert said([kl, COSINE], 30).startswith(
        "By what a lens reads and how the stream moves, before any layer is left out, it uses 2 to "
        "19 of its 30 layers here: 2 until"
    )
    # A measure that is being filled in has no count yet.
    begun = Evidence("causal", "ablation", "ablation loss", None, firm=False, reason="2 of 30")
    assert said([kl, begun], 30).startswith("By what a lens reads alone")
    # Where nothing more can be had, that is the answer.
    assert said([kl], 30, ()).startswith("Uses 2 of its 30 layers here, until")


def test_where_layers_are_numbered_it_is_said_once_how() -> None:
    found = [COSINE, fragile("kl", "KL", 3, 2, 14, "it is 2 at layer 2", ", and 3 at layer 13")]
    sentence = said(found, 30)
    assert "it is 2 at layer 2 of 0-29, and 3 at layer 13." in sentence
    one = said([fragile("kl", "KL", 1, 0, 1, "it is 2 at layer 0", " beside 3")], 1)
    assert one.endswith("it is 2 at layer 0 of 0 beside 3.")
    far = replace(firm("causal", "ablation", "ablation loss", 2), layers=(0, 29))
    sentence = said([far, *found], 30)
    assert "up to layer 29 of 0-29 (ablation loss)" in sentence
    assert "it is 2 at layer 2, and" in sentence
    # A task may have any name.
    assert " a layer 3 and b together" in said([COSINE], 30, (), ("a layer 3", "b"))


def test_that_layers_move_the_stream_is_no_count_of_use() -> None:
    moving = firm("geometric", "similarity", "angular distance", 30)
    assert said([COSINE, moving], 30).startswith(
        "By how the stream moves alone, before any layer is left out, it uses 19 of its 30 layers "
        "here, until layers"
    )
    assert said([moving], 30) == (
        "How many of its 30 layers are used here stays open: 30 that turn the residual stream "
        "(angular distance) are not yet use."
    )
    open_ = said([fragile("kl", "KL", 3, 2, 14, ""), moving], 30)
    assert open_.startswith(
        "How many of its 30 layers are used here stays open, somewhere from 2 to 14: no count of "
        "use holds."
    )


def test_layers_that_lie_anywhere_do_not_agree_with_a_depth() -> None:
    """Nineteen layers that reach up to the last are not the first nineteen."""
    scattered = (*range(14), 24, 25, 27, 28, 29)
    needed = replace(firm("causal", "ablation", "ablation loss", 19), layers=scattered)
    assert said([firm("geometric", "cosine", "cosine", 18), needed], 30) == (
        "Uses 18 to 19 of its 30 layers here: 18 until layers strengthen what is there (cosine), "
        "19 that cost something when left out, up to layer 29 of 0-29 (ablation loss). They agree "
        "in number, not in which layers."
    )
    assert said([needed], 30).startswith(
        "Uses 19 of its 30 layers here: those that cost something when left out, up to layer 29"
    )


def test_that_layers_must_run_one_after_another_is_no_count_of_use() -> None:
    order = firm("causal", "order", "sequential depth", 21)
    found = said([firm("readable", "overlap", "overlap", 10), order], 30)
    assert found.startswith("Uses 10 of its 30 layers here so far, until the lens reads")
    assert "what it cannot see" not in found


def test_that_nothing_confirms_it_is_said_only_where_something_may() -> None:
    assert said([COSINE], 30).startswith("By how the stream moves alone")
    assert said([COSINE], 30, ()).startswith("Uses 19 of")
    agreeing = [COSINE, firm("readable", "kl", "KL", 20)]
    assert said(agreeing, 30, ()).endswith(" Two kinds of evidence agree.")


def test_one_count_says_what_it_is() -> None:
    assert said([COSINE], 30) == (
        "By how the stream moves alone, before any layer is left out, it uses 19 of its 30 layers "
        "here, until layers strengthen what is there (cosine)."
    )
    assert said([firm("causal", "ablation", "ablation loss", 30)], 30) == (
        "Uses all of its 30 layers here: those that cost something when left out (ablation loss)."
    )


def test_fragile_counts_stay_out_of_the_range_and_say_why() -> None:
    found = [
        fragile("kl", "KL", 3, 2, 14, "KL is 5.97 at layer 2", " beside a threshold of 6.52"),
        fragile("overlap", "overlap", 26, 22, 26, "overlap is 0.25 at layer 21"),
        COSINE,
    ]
    assert said(found, 30) == (
        "By how the stream moves alone, before any layer is left out, it uses 19 of its 30 layers "
        "here, until layers strengthen what is there (cosine). KL is fragile (2 to 14): KL is 5.97 "
        "at layer 2 of 0-29 beside a threshold of 6.52. So is overlap (22 to 26)."
    )


def test_a_measure_without_a_count_is_not_passed_over() -> None:
    assert said([NOT_KNOWN, OVERLAP], 30) == (
        "By what a lens reads alone, before any layer is left out, it uses 26 of its 30 layers "
        "here, until the lens reads the output's tokens (overlap). KL gives no count."
    )
    shaky = [fragile(name, name, 26, 2, 9, "it moves") for name in ("overlap", "x")]
    assert " So is x (2 to 9); KL gives no count." in said([NOT_KNOWN, *shaky], 30)
    two = [NOT_KNOWN, NOT_KNOWN, shaky[0]]
    assert said(two, 30).endswith(
        " Overlap is fragile (2 to 9): it moves. KL and KL give no count."
    )


def test_with_fragile_counts_alone_the_question_stays_open() -> None:
    found = [
        fragile("overlap", "overlap", 26, 22, 26, "overlap is 0.25 at layer 21"),
        fragile("kl", "KL", 3, 2, 14, "KL is 5.97 at layer 2", " beside 6"),
    ]
    assert said(found, 30) == (
        "How many of its 30 layers are used here stays open, somewhere from 2 to 26: no count "
        "holds. KL is fragile (2 to 14): KL is 5.97 at layer 2 of 0-29 beside 6. So is "
        "overlap (22 to 26)."
    )


def test_where_nothing_is_known_the_reason_is_said() -> None:
    assert said([NOT_KNOWN], 30) == (
        "How many of its 30 layers are used is not known: KL never falls below 0.5."
    )
    assert made_verdict([], 30) is None


@pytest.mark.parametrize(
    ("evidence", "headline", "reason"),
    [
        ([COSINE], "Uses 19 of its 30 layers here", ""),
        ([COSINE, OVERLAP], "Uses 19 to 26 of its 30 layers here", ""),
        ([firm("causal", "x", "x", 3)], "Uses 3 of its 30 layers here", ""),
        (
            [fragile("kl", "KL", 3, 2, 14, "it moves"), fragile("x", "x", 3, 3, 4, "it is x")],
            "How many of its 30 layers are used here stays open, somewhere from 2 to 14",
            "it moves",
        ),
        ([NOT_KNOWN], "How many of its 30 layers are used is not known", ""),
    ],
)
def test_the_headline_is_how_many_layers(
    evidence: list[Evidence], headline: str, reason: str
) -> None:
    words = verdict_sentence(evidence, 30)
    assert words.headline == headline
    worst = most_fragile(evidence)
    assert (worst.reason if worst else "") == reason
    assert any(reason in clause for clause in words.clauses)
    assert str(words) == headline + " ".join(words.clauses)
    assert all(clause.endswith(".") for clause in words.clauses)


def test_the_headline_is_whole_whatever_a_task_is_called() -> None:
    words = verdict_sentence([COSINE], 30, (), ("a: 1.5, by x", "b"))
    assert words.headline == "Uses 19 of its 30 layers over the tasks a: 1.5, by x and b together"


def test_a_single_layer() -> None:
    assert said([firm("causal", "ablation", "ablation loss", 1)], 1) == (
        "Uses 1 of its 1 layer here: those that cost something when left out (ablation loss)."
    )
    assert said([NOT_KNOWN], 1).startswith("How many of its 1 layer")


def test_of_many_counts_the_smallest_and_the_largest_are_named() -> None:
    found = [firm("causal", "x", f"m{count}", count) for count in (5, 6, 7, 8)]
    found += [firm("readable", "x", f"r{count}", count) for count in (5, 6, 7)]
    verdict = made_verdict(found, 30)
    assert verdict is not None
    assert verdict.sentence.startswith("Uses 5 to 8 of its 30 layers here: 5 by r5, 8 by m8.")
    assert [evidence.kind for evidence in verdict.evidence[:3]] == ["readable"] * 3


@pytest.mark.parametrize("seed", range(200))
def test_it_is_a_few_sentences_with_the_smallest_and_largest_count_that_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_layers = int(rng.integers(1, 80))
    found = []
    for number in range(int(rng.integers(1, 9))):
        low, count, high = sorted(rng.integers(0, n_layers + 1, 3).tolist())
        kind = rng.choice(["readable", "geometric", "causal"])
        holds = bool(rng.random() < 0.5)
        reason = "" if holds else "it moves"
        known = Evidence(kind, "x", f"m{number}", count, low, high, holds, reason)
        unknown = Evidence(kind, "x", f"m{number}", None, firm=False, reason="it has none")
        found.append(known if rng.random() < 0.8 else unknown)
    verdict = made_verdict(found, n_layers)
    assert verdict is not None
    counts = [measure.count for measure in found if measure.firm and measure.count is not None]
    # At most: the range, what is fragile in two, and what is between the kinds.
    assert 1 <= len(re.findall(r"\.(?: |$)", verdict.sentence)) <= 4
    if counts:
        ends = re.match(r"Uses (all|\d+)(?: to (\d+))? of its (\d+)", verdict.sentence)
        assert ends is not None
        low = n_layers if ends[1] == "all" else int(ends[1])
        assert (low, int(ends[2] or low)) == (min(counts), max(counts))
    else:
        assert verdict.sentence.startswith("How many of its")


# Two verdicts -----------------------------------------------------------------


def compared(a: list[Evidence], b: list[Evidence], layers: tuple[int, int] = (30, 30)) -> str:
    verdicts = [made_verdict(found, n) for found, n in zip((a, b), layers, strict=True)]
    assert verdicts[0] is not None
    assert verdicts[1] is not None
    return comparison_sentence(verdicts[0], verdicts[1], ("the base", "the chat model"))


def counts(**measures: int) -> list[Evidence]:
    kinds: dict[str, EvidenceKind] = {"kl": "readable", "cosine": "geometric", "order": "causal"}
    return [firm(kinds[name], name, name, count) for name, count in measures.items()]


def test_deeper_by_every_kind() -> None:
    sentence = compared(counts(kl=10, cosine=12, order=9), counts(kl=14, cosine=14, order=11))
    assert sentence == (
        "the chat model is deeper than the base by 2 to 4 layers, by every kind of evidence."
    )


def test_kinds_that_differ_in_how_runs_differ() -> None:
    sentence = compared(counts(kl=10, cosine=12, order=9), counts(kl=11, cosine=10, order=9))
    assert sentence == (
        "the chat model is deeper than the base by 1 layer, by kl and shallower than the base by 2 "
        "layers, by cosine; no clear difference, by order."
    )


def test_ranges_that_overlap_are_no_clear_difference() -> None:
    wide = Evidence("readable", "kl", "kl", 10, 9, 13)
    assert compared([wide], counts(kl=12)) == (
        "Between the base and the chat model there is no clear difference, by kl."
    )
    assert compared([wide], counts(kl=14)).startswith("the chat model is deeper")


def test_what_does_not_hold_in_both_is_not_compared() -> None:
    shaky = [fragile("kl", "kl", 10, 2, 20, "it moves"), *counts(cosine=12)]
    assert compared(shaky, counts(kl=25, cosine=20)).endswith("by 8 layers, by cosine.")
    assert compared(shaky[:1], counts(kl=25)) == (
        "No count holds in both the base and the chat model, so they cannot be compared."
    )


def test_models_of_other_depth_are_compared_with_their_layers() -> None:
    assert compared(counts(kl=18), counts(kl=6), (30, 18)) == (
        "the chat model is shallower than the base by 12 layers, by kl (kl 18 of 30 and 6 of 18)."
    )
