"""Published values: the paper's table, and the layers that others name."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.data.model import DEMO_NAME
from depthtui.data.run_settings import ModelSpec
from depthtui.depth.published import (
    DATASETS,
    DEMO_COUNTS,
    NEAREST,
    PUBLISHED,
    PUBLISHED_LAYERS,
    RULES,
    STATEMENTS,
    demo_words,
    published_for,
    published_layers,
    published_perplexity,
    rank_correlation,
)
from depthtui.manual import source
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.prompts.tasks import TASKS, make_prompts
from tests.builders.models import model_info


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
        "copying": None,
        "addition": None,
        "multiplication": None,
        "word_problem": "gsm8k",
        "facts": None,
        "addition_contrast": None,
        "facts_contrast": None,
    }
    assert "typed" not in NEAREST


def test_the_demos_counts_are_those_of_its_page() -> None:
    rows = [line.split("|") for line in source("reference").splitlines() if line.startswith("| `")]
    assert len(rows) == len(DEMO_COUNTS)
    for (task, level), (count, low, high) in DEMO_COUNTS.items():
        name = f"`{task}:{level}`" if level else f"`{task}`"
        (row,) = (row for row in rows if row[1].strip() == name)
        assert row[3].startswith(f" {count} ({low} to {high}")
        (prompt,) = make_prompts(task, level, 1)
        assert (prompt.task, prompt.level) == (task, level)


def test_the_demos_count_is_beside_another_models_of_one_task_alone() -> None:
    facts, copying = make_prompts("facts", 1, 2), make_prompts("copying", None, 1)
    assert demo_words(facts, "tiny") == "The demo model takes 23 of its 30 layers (22 to 29)."
    assert demo_words(facts, DEMO_NAME) == demo_words([*facts, *copying], "tiny") == ""
    assert demo_words(make_prompts("facts", 4, 1), "tiny") == ""


def test_published_layers_are_layers_of_their_model() -> None:
    assert {row.statement for row in PUBLISHED_LAYERS} == set(STATEMENTS)
    for row in PUBLISHED_LAYERS:
        assert len(set(row.layers)) == len(row.layers) > 0
        assert all(0 <= layer < row.n_layers for layer in row.layers)
        assert not row.metric or row.metric in METRIC_BY_NAME
        assert row.statement not in ("least", "order") or row.metric
        assert row.source.startswith("arXiv ") or row.source.count("/") == 1


@pytest.mark.parametrize(
    ("name", "n_layers", "sources", "is_base"),
    [
        ("HuggingFaceTB/SmolLM2-135M", 30, ["arXiv 2603.19348"] * 2, False),
        ("demo", 30, ["arXiv 2603.19348"] * 2, True),
        ("models/smollm2-135m-instruct/", 30, ["arXiv 2603.19348"] * 2, True),
        ("meta-llama/Llama-2-7b-hf", 32, ["arXiv 2403.03853"], False),
        ("Llama-2-7B", 32, ["arXiv 2403.03853"], False),
        ("mistralai/Mistral-7B-v0.1", 32, ["CASE-Lab-UMD/LLM-Drop"], False),
        ("HuggingFaceTB/SmolLM2-135M", 29, [], False),
        ("meta-llama/Llama-2-7b-chat-hf", 32, [], False),
        ("nobody/model", 30, [], False),
    ],
)
def test_published_layers_are_those_of_a_model_of_that_name_and_size(
    name: str, n_layers: int, sources: list[str], is_base: bool
) -> None:
    rows = published_layers(model_info(ModelSpec(name), n_layers))
    assert [row.source for row in rows] == sources
    assert all(row.is_base == is_base for row in rows)
    assert published_layers(model_info(ModelSpec(name, adapter="a"), n_layers)) == []


@pytest.mark.parametrize(("shared", "is_like"), [(9, True), (6, True), (5, False)])
def test_alike_are_two_thirds_of_the_layers(shared: int, is_like: bool) -> None:
    (row,) = published_layers(model_info(ModelSpec("Llama-2-7b"), 32))
    values = np.ones(32)
    values[[*row.layers[:shared], *range(9 - shared)]] = 0
    assert row.shared(values) == shared
    assert row.is_like(values) == is_like


# The files `block_order.csv` beside the table's `all_ppl_unsorted.csv`.
ORDERS = """
gemma-2b 7 8 6 9 5 4 10 12 11 3 2 13 1 15 14 16 17 0
vicuna-13b-v1.3 35 32 24 12 34 20 26 36 9 31 13 27 21 25 14 29 37 30 18 19 28 23 38 15 33 5 16 10 4 22 8 7 11 3 17 6 39 1 2 0
"""  # noqa: E501


@pytest.mark.parametrize("line", ORDERS.strip().splitlines())
def test_published_perplexities_are_in_the_published_order(line: str) -> None:
    name, *order = line.split()
    row = published_perplexity(model_info(ModelSpec(f"models/{name}"), len(order)))
    assert row is not None
    assert list(map(str, np.argsort(row.perplexity, kind="stable"))) == order
    assert published_perplexity(model_info(ModelSpec(name), len(order) - 1)) is None
    assert published_perplexity(model_info(ModelSpec(name, adapter="a"), len(order))) is None


def test_the_rank_correlation_counts_pairs_without_ties() -> None:
    # Of ten pairs six have the same order and two are reversed; each side ties another one.
    a, b = np.log([1, 1.02, 2, 3, np.inf]), np.log([5, 9, 5.1, 6, 50])
    assert rank_correlation(a, b)[0] == pytest.approx((6 - 2) / 9)
    # Of 120 orders of five layers, one is the same and one the reverse; NaN is of no layer.
    far = np.array([*range(5), np.nan])
    assert rank_correlation(far, np.append(-far[:5], -9)) == pytest.approx((-1, 2 / 120))
    assert np.isnan(rank_correlation(far, far / 1e3)[0])
