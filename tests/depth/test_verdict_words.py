"""The sentence of a verdict, case by case, on constructed evidence."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from depthtui.data.verdict import Evidence, EvidenceKind, Headline, Verdict
from depthtui.depth.verdict import verdict_of
from depthtui.depth.verdict_words import (
    comparison_sentence,
    missing_headlines,
    most_fragile,
    verdict_sentence,
)

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
        layer_number_end=len(to_layer) if rest else 0,
    )


def said(
    evidence: list[Evidence],
    n_layers: int,
    missing: tuple[str, ...] = ("ablation",),
    tasks: tuple[str, ...] = (),
    headline: Headline | None = None,
) -> str:
    """The sentence, while there is something left to compute where nothing else is asked for."""
    return str(verdict_sentence(evidence, n_layers, missing, tasks, headline))


SUFFICIENT = Headline("sufficient", 18.2, 17.5, 18.9, 0.59, 23.3)
ABLATION = firm("causal", "ablation", "ablation", 23)
COSINE = firm("geometric", "cosine", "cosine", 19)
OVERLAP = firm("readable", "overlap", "overlap", 21)
NOT_KNOWN = Evidence("readable", "kl", "KL", None, firm=False, reason="KL never falls below 0.5")


def test_the_headline_is_the_layers_that_suffice_alone_with_their_tolerance() -> None:
    words = verdict_sentence([OVERLAP, COSINE, ABLATION], 24, (), (), SUFFICIENT)
    assert (
        words.headline
        == "19 of its 24 layers suffice to stay within a nat of the model's own output"
    )
    assert words.clauses == (
        " (18 to 19; 59% of its choices stay); nine in ten choices need 24.",
        "Layers of 24: 23 that cost something when left out (ablation, firm).",
        "Depths of 24: until the lens reads the output's tokens, 21 (overlap, firm); until layers "
        "strengthen what is there, 19 (cosine, firm).",
    )


def test_without_an_interval_the_choices_stand_alone() -> None:
    result = said([COSINE], 24, headline=replace(SUFFICIENT, low=None, high=None))
    assert " own output (59% of its choices stay); nine" in result


def test_the_evidence_of_the_headline_says_in_it_how_sure_it_is() -> None:
    own = firm("causal", "sufficient", "sufficient count", 18)
    sure = said([own, COSINE], 24, headline=SUFFICIENT)
    assert sure.replace(", firm; ", "; ") == said([COSINE], 24, headline=SUFFICIENT)
    assert " (18 to 19, firm; 59%" in sure
    shaky = replace(own, firm=False, low=14, high=19, reason="it moves")
    assert " (18 to 19, fragile; 59%" in said([shaky], 24, headline=SUFFICIENT)
    doubt = "Sufficient count is fragile (14 to 19): it moves."
    assert said([shaky], 24, headline=SUFFICIENT).endswith(doubt)


def test_idle_layers_are_named() -> None:
    result = str(verdict_sentence([COSINE], 24, headline=SUFFICIENT, idle=(2, 7, 8)))
    assert "Layers 2, 7-8 of 0-23 write nothing." in result
    result = str(verdict_sentence([COSINE], 24, headline=SUFFICIENT, idle=(2,)))
    assert "Layer 2 of 0-23 writes nothing." in result


@pytest.mark.parametrize(
    ("evidence", "begins"),
    [
        ([OVERLAP], "By a lens alone, depths of 30: until the lens reads"),
        ([OVERLAP, COSINE], "Before any layer is left out, depths of 30: until the lens reads"),
        ([COSINE], "Before any layer is left out, depths of 30: until layers strengthen"),
        ([OVERLAP, ABLATION], "By one intervention at a time, layers of 30: 23 that cost"),
    ],
)
def test_before_layers_that_suffice_are_known_it_says_by_what_the_rest_is(
    evidence: list[Evidence], begins: str
) -> None:
    sentence = said(evidence, 30)
    assert sentence.startswith(begins)
    assert not re.search(r"\b[Uu]ses?\b", sentence)


def test_counts_of_layers_and_depths_are_two_axes() -> None:
    """A depth has "until" before its number, and no range goes over both."""
    result = [
        firm("readable", "kl", "KL", 4),
        firm("geometric", "similarity", "angular distance", 30),
        firm("causal", "context_depth", "context depth", 27),
        firm("causal", "ablation", "ablation", 29),
        firm("causal", "order", "sequential depth", 21),
    ]
    assert said(result, 30) == (
        "By one intervention at a time, layers of 30: 30 that turn the residual stream (angular "
        "distance, firm); 29 that cost something when left out (ablation, firm); 21 (sequential "
        "depth, firm). Depths of 30: until the lens comes close to the output, 4 (KL, firm); until "
        "the context needs no more layers, 27 (context depth, firm)."
    )


def test_the_tasks_that_are_pooled_are_named() -> None:
    def on(*tasks: str, headline: Headline | None = SUFFICIENT) -> str:
        return said([COSINE], 24, (), tasks, headline)

    assert on("a") == on()
    assert on("a", "b").startswith(
        "19 of its 24 layers suffice to stay within a nat of the model's own output over the tasks "
        "a and b together ("
    )
    assert " over the tasks a, b, c and 2 more together" in on("a", "b", "c", "d", "e")
    assert "\x1b" not in on("a", "\x1b[2J" * 20)
    assert on("a", "b", headline=None).startswith(
        "Before any layer is left out over the tasks a and b together, depths of 24"
    )


def test_where_layers_are_numbered_it_is_said_once_how() -> None:
    result = [COSINE, fragile("kl", "KL", 3, 2, 14, "it is 2 at layer 2", ", and 3 at layer 13")]
    assert "it is 2 at layer 2 of 0-29, and 3 at layer 13." in said(result, 30)
    one = said([fragile("kl", "KL", 1, 0, 1, "it is 2 at layer 0", " beside 3")], 1)
    assert one.endswith("it is 2 at layer 0 of 0 beside 3.")


def test_fragile_counts_come_last_and_say_why() -> None:
    result = [
        fragile("kl", "KL", 3, 2, 14, "KL is 5.97 at layer 2", " beside a threshold of 6.52"),
        fragile("overlap", "overlap", 26, 22, 26, "overlap is 0.25 at layer 21"),
        COSINE,
    ]
    assert said(result, 30) == (
        "Before any layer is left out, depths of 30: until layers strengthen what is there, 19 "
        "(cosine, firm). KL is fragile (2 to 14): KL is 5.97 at layer 2 of 0-29 beside a "
        "threshold of 6.52. So is overlap (22 to 26)."
    )


def test_a_measure_without_a_count_is_not_passed_over() -> None:
    assert said([NOT_KNOWN, OVERLAP], 30).endswith(" KL gives no count.")
    shaky = [fragile(name, name, 26, 2, 9, "it moves") for name in ("overlap", "x")]
    assert " So is x (2 to 9); KL gives no count." in said([NOT_KNOWN, *shaky], 30)
    # A measure that is being filled in has no count yet.
    begun = Evidence("causal", "ablation", "ablation", None, firm=False, reason="2 of 30")
    assert said([OVERLAP, begun], 30) == said([OVERLAP], 30)


def test_with_fragile_counts_alone_no_count_holds() -> None:
    result = [fragile("overlap", "overlap", 26, 22, 26, "overlap is 0.25 at layer 21")]
    assert said(result, 30) == (
        "No reliable count. Overlap is fragile (22 to 26): overlap is 0.25 at layer 21."
    )


def test_where_nothing_is_known_the_reason_is_said() -> None:
    assert said([NOT_KNOWN], 30) == (
        "How many of its 30 layers suffice is not known: KL never falls below 0.5."
    )
    assert said([NOT_KNOWN], 1).startswith("How many of its 1 layer suffice")
    assert verdict_of([], 30) is None


def test_it_is_a_few_sentences_and_names_every_count_once() -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        n_layers = int(rng.integers(1, 80))
        result = []
        for number in range(int(rng.integers(1, 9))):
            low, count, high = sorted(rng.integers(0, n_layers + 1, 3).tolist())
            kind = rng.choice(["readable", "geometric", "causal"])
            holds = bool(rng.random() < 0.5)
            known = Evidence(
                kind, "x", f"m{number}", count, low, high, holds, "" if holds else "it moves"
            )
            unknown = Evidence(kind, "x", f"m{number}", None, firm=False, reason="it has none")
            result.append(known if rng.random() < 0.8 else unknown)
        headline = SUFFICIENT if rng.random() < 0.5 else None
        verdict = verdict_of(result, n_layers, headline=headline)
        assert verdict is not None
        assert 1 <= len(re.findall(r"\.(?: |$)", verdict.sentence)) <= 5
        assert str(verdict.words) == verdict.words.headline + " ".join(verdict.words.clauses)
        if headline is not None or any(measure.count is not None for measure in result):
            for measure in result:
                assert len(re.findall(rf"\b{measure.title}\b", verdict.sentence, re.I)) == 1
        worst = most_fragile(verdict.evidence)
        if worst is not None:
            assert worst.reason in verdict.sentence


# Two verdicts -----------------------------------------------------------------


def of_layers(n_layers: int, headline: Headline) -> Verdict:
    verdict = verdict_of([COSINE], n_layers, headline=headline)
    assert verdict is not None
    return verdict


@pytest.mark.parametrize(
    ("layers", "second", "says"),
    [
        (
            24,
            (21.2, 20.5, 22.0),
            "Within a nat B needs 3 layers more than A: 19 of 24 and 22 of 24.",
        ),
        (
            24,
            (17.2, 16.5, 17.4),
            "Within a nat B needs 1 layer less than A: 19 of 24 and 18 of 24.",
        ),
        (24, (19.0, 18.5, 20.0), "Within a nat A and B need about as many layers: 19 of 24 and"),
        (24, (19.0, 18.95, 19.0), "Within a nat A and B need about as many layers: 19 of 24 and"),
        (30, (26.3, 26.1, 26.5), "Within a nat B needs 11% of its layers more than A: 19 of 24"),
        (30, (22.5, 22.0, 23.0), "Within a nat A and B need about as many layers: 19 of 24 and"),
        # B needs more, yet rounded up its share is the lower one.
        (100, (78.9, 78.8, 79.0), "Within a nat A and B need about as many layers: 19 of 24 and"),
        (
            24,
            (21.2, None, None),
            "Within a nat A and B need 19 of 24 and 22 of 24 layers, with",
        ),
    ],
)
def test_layers_that_suffice_are_compared_first_and_by_share_where_stacks_differ(
    layers: int, second: tuple[float, float | None, float | None], says: str
) -> None:
    a = of_layers(24, SUFFICIENT)
    count, low, high = second
    b = of_layers(layers, replace(SUFFICIENT, count=count, low=low, high=high))
    assert comparison_sentence(a, b).startswith(says)
    assert "cosine" in comparison_sentence(a, b)


def test_one_prompt_each_gives_counts_without_a_direction() -> None:
    a, b = (
        verdict_of([firm("readable", "decided", "decided", count)], n, tasks=["x"], headline=line)
        for count, n, line in ((28, 30, SUFFICIENT), (16, 18, replace(SUFFICIENT, count=9.0)))
    )
    assert comparison_sentence(a, b) == (
        "One prompt each gives no direction: layers that suffice 19 of 30 and 9 of 18 (0.63 and "
        "0.50); decided 28 of 30 and 16 of 18 (0.93 and 0.89)."
    )
    # Counts that may yet turn out to be fragile are not listed.
    draft = replace(a, evidence=tuple(replace(one, is_pending=True) for one in a.evidence))
    assert comparison_sentence(draft, b) == "The intervals of A and B are still being computed."
    assert missing_headlines(a, b) == ""
    assert missing_headlines(a, replace(b, headline=None)) == (
        "Layers that suffice: not measured in B."
    )


def compared(a: list[Evidence], b: list[Evidence], layers: tuple[int, int] = (30, 30)) -> str:
    verdicts = [verdict_of(result, n) for result, n in zip((a, b), layers, strict=True)]
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
        "layers, by cosine; no clear difference in depth, by order."
    )


def test_ranges_that_overlap_are_no_clear_difference() -> None:
    wide = Evidence("readable", "kl", "kl", 10, 9, 13)
    assert compared([wide], counts(kl=12)) == (
        "Between the base and the chat model there is no clear difference in depth, by kl."
    )
    assert compared([wide], counts(kl=14)).startswith("the chat model is deeper")


def test_what_does_not_hold_in_both_is_not_compared() -> None:
    shaky = [fragile("kl", "kl", 10, 2, 20, "it moves"), *counts(cosine=12)]
    assert compared(shaky, counts(kl=25, cosine=20)).endswith("by 8 layers, by cosine.")
    assert compared(shaky[:1], counts(kl=25)) == (
        "the base and the chat model cannot be compared yet: no count is reliable in both."
    )


def test_models_of_other_depth_are_compared_with_their_layers() -> None:
    assert compared(counts(kl=18), counts(kl=6), (30, 18)) == (
        "the chat model is shallower than the base by 27% of its layers, by kl: kl 18 of 30 and "
        "6 of 18 (0.60 and 0.33)."
    )


def test_the_headline_is_of_whole_layers_that_are_enough() -> None:
    headline = Headline("sufficient", 22.46, 20.9, 23.6, 0.47, 29.1)
    words = said([ABLATION], 30, headline=headline)
    assert words.startswith(
        "23 of its 30 layers suffice to stay within a nat of the model's own output (21 to 24; 47% "
        "of its choices stay); nine in ten choices need 30."
    )
    exact = replace(headline, count=22.0000001, strict=29.0)
    assert said([ABLATION], 30, headline=exact).startswith("22 of its 30 layers suffice to")
    single = replace(headline, count=0.4)
    assert said([ABLATION], 30, headline=single).startswith("1 of its 30 layers suffices to")


def test_an_order_of_the_text_alone_is_named() -> None:
    headline = Headline("sufficient", 22.46, 20.9, 23.6, 0.47, 29.1, "own")
    words = said([ABLATION], 30, headline=headline)
    assert words.startswith(
        "23 of its 30 layers, in an order of these tokens alone, suffice to stay within a nat of "
        "the model's own output (21 to 24;"
    )
