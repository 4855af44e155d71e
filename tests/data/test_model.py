"""Layers by their labels and types."""

from dataclasses import replace

import pytest

from depthtui.data.model import joined_type, label_cells, layer_label, marks_words
from tests.builders.models import model_info

ATTENTION, MAMBA = "full attention", "mamba"
HYBRID = model_info(layers=12, layer_types=(MAMBA, MAMBA, ATTENTION) * 4)


def test_a_layer_of_a_hybrid_has_the_mark_of_its_type():
    assert [layer_label(HYBRID, layer) for layer in (0, 2, 11)] == ["0M", "2F", "11F"]
    assert label_cells(HYBRID) == 3
    assert marks_words(HYBRID) == "M mamba · F full attention"
    assert HYBRID.layers_by_type == {MAMBA: (0, 1, 3, 4, 6, 7, 9, 10), ATTENTION: (2, 5, 8, 11)}


def test_layers_that_are_alike_have_numbers_alone():
    model = model_info(layers=12)
    assert layer_label(model, 11) == "11"
    assert (marks_words(model), model.layers_by_type, label_cells(model)) == ("", {}, 2)


@pytest.mark.parametrize(
    ("types", "marks"),
    [
        (("mamba", "full attention", "MLP", "experts"), "MFLE"),
        (("hybrid", "hybrid sliding"), "HY"),
        (("convolution", "chunked attention", "compressed attention"), "CHM"),
        (("a", "a b", "b c"), "ABC"),
        (("層", ""), "??"),
    ],
)
def test_no_two_types_share_a_mark(types, marks):
    result = model_info(layers=len(types), layer_types=types).type_marks
    assert "".join(result.values()) == marks


def test_a_type_of_two_parts_has_a_letter_for_each():
    dense, experts = (joined_type("sliding attention", block) for block in ("dense", "experts"))
    model = model_info(
        layers=3, layer_types=(dense, experts, joined_type("full attention", "experts"))
    )
    assert list(model.type_marks.values()) == ["SD", "SE", "FE"]
    assert layer_label(model, 2) == "2FE"


def test_a_damaged_file_may_name_too_few_types():
    model = model_info(layers=3, layer_types=("mamba", "full attention"))
    assert [layer_label(model, layer) for layer in range(3)] == ["0M", "1F", "2"]
    more = model_info(layers=1, layer_types=("mamba", "full attention"))
    assert more.layers_by_type == {"mamba": (0,)}
    assert layer_label(more, 0) == "0M"


def test_runs_of_a_version_without_types_are_of_the_same_model():
    assert replace(HYBRID, layer_types=()).is_same_as(HYBRID)
    assert not replace(HYBRID, fingerprint="0").is_same_as(HYBRID)
