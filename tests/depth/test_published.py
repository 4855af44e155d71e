"""The paper's table."""

from __future__ import annotations

import pytest

from depthtui.depth.published import (
    DATASETS,
    NEAREST,
    PUBLISHED,
    RULES,
    published_for,
)
from depthtui.prompts import TASKS


def test_the_whole_table_is_there() -> None:
    assert len(PUBLISHED) == 12
    for name, model in PUBLISHED.items():
        assert model.name == name
        assert tuple(model.depths) == RULES
        for rule in RULES:
            assert tuple(model.depths[rule]) == tuple(DATASETS)
            assert all(0 <= layer <= model.n_layers - 2 for layer in model.depths[rule].values())


@pytest.mark.parametrize(
    ("name", "layers", "rule", "dataset", "layer"),
    [
        ("DeepSeek-R1-Distill-Qwen-1.5B", 28, "kl", "gsm8k", 1),
        ("Qwen2.5-1.5B-Instruct", 28, "cosine", "gsm8k", 20),
        ("Qwen2.5-Math-1.5B", 28, "kl", "aime24", 23),
        ("DeepSeek-R1-Distill-Qwen-7B", 28, "overlap", "aime24", 24),
        ("Qwen2.5-7B-Instruct", 28, "overlap", "hellaswag", 26),
        ("Qwen2.5-Math-7B", 28, "cosine", "gsm8k", 11),
        ("DeepSeek-R1-Distill-Qwen-14B", 48, "kl", "aime24", 41),
        ("Qwen2.5-14B-Instruct", 48, "cosine", "gsm8k", 32),
        ("Qwen2.5-14B", 48, "kl", "hellaswag", 40),
        ("DeepSeek-R1-Distill-Qwen-32B", 64, "cosine", "aime24", 46),
        ("Qwen2.5-32B-Instruct", 64, "overlap", "gsm8k", 60),
        ("Qwen2.5-32B", 64, "kl", "gsm8k", 57),
    ],
)
def test_one_value_of_every_row(
    name: str, layers: int, rule: str, dataset: str, layer: int
) -> None:
    model = PUBLISHED[name]
    assert (model.n_layers, model.depths[rule][dataset]) == (layers, layer)


def test_table_sums() -> None:
    # Column sums over the twelve models, added up from the paper's table.
    sums = {
        (rule, dataset): sum(model.depths[rule][dataset] for model in PUBLISHED.values())
        for rule in RULES
        for dataset in DATASETS
    }
    assert [sums["cosine", dataset] for dataset in DATASETS] == [306, 325, 327]
    assert [sums["kl", dataset] for dataset in DATASETS] == [431, 407, 441]
    assert [sums["overlap", dataset] for dataset in DATASETS] == [461, 455, 456]


@pytest.mark.parametrize(
    "text",
    [
        "Qwen2.5-7B-Instruct",
        "Qwen/Qwen2.5-7B-Instruct",
        "qwen/QWEN2.5-7b-instruct",
        "models/Qwen2.5-7B-Instruct/",
        "C:\\models\\Qwen2.5-7B-Instruct",
        "  Qwen/Qwen2.5-7B-Instruct ",
    ],
)
def test_a_model_is_known_by_the_last_part_of_its_name(text: str) -> None:
    assert published_for(text) is PUBLISHED["Qwen2.5-7B-Instruct"]


@pytest.mark.parametrize(
    "text", ["", "/", "demo", "Qwen2.5-7B", "Qwen2.5-7B-Instruct-GGUF", "Qwen2.5-7B-Instruct/x"]
)
def test_other_models_are_not(text: str) -> None:
    assert published_for(text) is None


def test_nearest_datasets() -> None:
    nearest = {task: NEAREST.get(task) for task in TASKS}
    assert nearest == {
        "commonsense": "hellaswag",
        "grade_school": "gsm8k",
        "competition": "aime24",
        "addition": None,
        "multiplication": None,
        "word_problem": "gsm8k",
        "facts": None,
        "addition_contrast": None,
        "facts_contrast": None,
    }
    assert "typed" not in NEAREST
