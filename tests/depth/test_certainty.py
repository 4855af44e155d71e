"""How certain a count of layers is: the reasons against a firm one, in their order."""

from __future__ import annotations

from dataclasses import replace

from depthtui.depth.certainty import evidence_of
from depthtui.metrics.evidence import CountInterval, CountMeasure, Variant

NARROW = CountInterval(10.0, 10.0, 0.95, "prompts")
MEASURE = CountMeasure("causal", "x", "x")


def test_the_first_reason_against_a_firm_count_is_given() -> None:
    """Each reason is taken away in turn: then the next one counts."""
    found = MEASURE.counted(10, [Variant(3, "layer 4 decides")], why_here="it is of these facts")
    settings = {"is_draft": True, "knows_nothing": True}

    def certainty(prompts: int, of: int) -> tuple[str, str]:
        evidence = evidence_of(found, 20, (prompts, of), **settings)  # type: ignore[arg-type]
        assert evidence.prompts == ((prompts, of) if prompts < of else None)
        return evidence.reliability, evidence.reason

    assert certainty(2, 3) == ("fragile", "the model knows nothing of the text")
    settings["knows_nothing"] = False
    assert certainty(2, 3) == ("…", "")
    settings["is_draft"] = False
    assert certainty(2, 3) == ("fragile", "layer 4 decides, and it rests on 2 of 3 prompts")
    found = replace(found, variants=())
    assert certainty(2, 3) == ("holds here", "it is of these facts, and it rests on 2 of 3 prompts")
    found = replace(found, why_here="")
    assert certainty(2, 3) == ("fragile", "it rests on 2 of 3 prompts")
    assert certainty(3, 3) == ("holds here", "3 prompts alone were read")
    assert certainty(5, 5) == ("holds here", "it has no interval over prompts")
    found = replace(found, interval=NARROW)
    assert certainty(5, 5) == ("firm", "")
    found = MEASURE.unknown("it has none")
    assert certainty(2, 3) == ("–", "it has none")
