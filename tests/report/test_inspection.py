"""A layer at a token in words, tables and every format."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from depthtui.data import codec
from depthtui.data.inspection import Inspection
from depthtui.report.as_html import html_bytes
from depthtui.report.as_markdown import markdown_bytes
from depthtui.report.as_rich import rich_lines
from depthtui.report.blocks import Heading
from depthtui.report.inspection_document import (
    blocks_of,
    inspection_document,
    notes_of,
    sentence_of,
    sources_of,
    title_of,
)
from tests.builders.inspections import inspection, with_experts
from tests.hostile import DOORS


def test_the_sentence_has_rank_parts_and_source() -> None:
    page = inspection()
    weights = np.array([[0.5, 0.1, 0.1, 0.3]], np.float32)
    page = replace(page, reads=replace(page.reads, heads=weights, value_weighted=weights[0]))
    assert sentence_of(page) == (
        "Rank of '·Rome' 80 to 76 by attention to 70 by the MLP, p .12 to .50; "
        "attention 0.25, MLP 0.50 of |h|; reads '·Italy' 30%, token 0 50%."
    )
    assert title_of(page) == "Layer 2 at token 3 '·Italy'"
    hybrid = replace(page, kind="linear attention", after_attention=None, written={}, reads=None)
    assert title_of(hybrid) == "Layer 2 (linear attention) at token 3 '·Italy'"
    assert sentence_of(hybrid) == "Rank of '·Rome' 80 to 70 by the layer, p .12 to .50."


def test_sources_are_weighed_by_values_or_by_attention() -> None:
    page = inspection()
    weights = np.array([[0.5, 0.1, 0.1, 0.3], [0.1, 0.7, 0.1, 0.1]], np.float32)
    by_value = replace(page.reads, heads=weights, value_weighted=np.array([1.0, 0, 0, 3.0]))
    assert sources_of(replace(page, reads=by_value))[:2] == [(3, 0.75), (0, 0.25)]
    by_weight = replace(by_value, value_weighted=None)
    sources = sources_of(replace(page, reads=by_weight))
    assert [place for place, _ in sources] == [1, 0, 3, 2]
    assert sources[0][1] == pytest.approx(0.4)
    assert sources_of(replace(page, reads=None)) == []


def test_a_heading_says_how_many_heads_and_tokens_are_left_out() -> None:
    page = inspection()
    assert {"Reads", "Heads"} <= set(headings(page))
    heads = tuple(replace(page.heads[0], head=number) for number in range(9))
    weights = np.eye(9, 4, dtype=np.float32)
    reads = replace(page.reads, heads=weights, value_weighted=np.array([0.2, 0.5, 0.3, 0.001]))
    assert {"Reads, 3 of 4", "Heads, 8 of 9"} <= set(
        headings(replace(page, heads=heads, reads=reads))
    )


def headings(page: Inspection) -> list[str]:
    return [block.text for block in blocks_of(page) if isinstance(block, Heading)]


def test_what_is_missing_has_its_reason() -> None:
    notes = list(notes_of(with_experts()))
    assert notes[0] == "No neurons: its MLP (Experts) does not end in one projection."
    assert notes[-1] == "Parts add up within 2e-07."
    # Nobody misses experts in a model without any.
    assert not any("experts" in note for note in notes_of(inspection()))


@pytest.mark.parametrize("text", DOORS.values(), ids=DOORS)
def test_a_hostile_token_stays_text_in_every_format(text: str) -> None:
    page = inspection(texts=(text, text, text, text, text), target=text)
    document = inspection_document(page)
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(rich_lines(document))
    output = console.export_text(styles=False)
    assert not set(output) & {chr(code) for code in (0, 7, 8, 13, 27, 0x9B)}
    html = html_bytes(document).decode()
    assert "<script>alert" not in html
    assert markdown_bytes(document)
    again = codec.decode(codec.encode(page))
    assert again.tokens == page.tokens


def test_json_has_the_keys_that_are_documented() -> None:
    body = json.loads(json.dumps(with_experts().to_json()))
    assert set(body) == {
        "layer", "token", "tokens", "target", "lens", "before", "after_attention", "after",
        "reads", "writes", "heads", "experts", "closure", "unavailable",
    }  # fmt: skip
    assert set(body["reads"]) == {"heads", "value_weighted", "sink"}
    assert set(body["writes"]) == {"attention", "mlp", "layer"}
    assert body["before"]["rank"] == 80
    assert set(body["heads"][0]) == {"head", "norm", "direct"}
    assert body["experts"][0] == {"expert": 3, "weight": 0.75, "norm": 0.8, "loss_without": 0.5}
    assert "loss_without" not in body["experts"][1]
    neurons = inspection().to_json()["neurons"]
    assert neurons[0]["promoted"] == [" city", " the", " Rome"]
