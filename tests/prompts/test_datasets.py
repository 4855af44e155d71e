"""Data sets out of files in the columns of the published ones, and from a scripted hub."""

from __future__ import annotations

import json
import re
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from depthtui.data.run import Prompt
from depthtui.errors import DepthError
from depthtui.installing import install_extra
from depthtui.prompts import datasets
from depthtui.prompts.asking import Asking
from depthtui.prompts.dataset_formats import DATASETS
from depthtui.prompts.datasets import read_dataset, rows
from depthtui.prompts.paper import PAPER_PROTOCOL
from depthtui.prompts.tasks import TASKS, WITH_CHOICES, make_prompts
from depthtui.settings import Settings

GSM8K = [
    {
        "question": "Ada has 6 bags of 7 nuts. How many nuts is that?",
        "answer": "She has 6 bags.\nSo there are 6 * 7 = <<6*7=42>>42 nuts.\n#### 42",
    },
    {"question": "Bo owes 3,000 and pays 1. What is left?", "answer": "One less.\n####  2,999 "},
]
HELLASWAG = [
    {
        "activity_label": "Baking",
        "ctx_a": "A woman opens the oven.",
        "ctx_b": "she",
        "ctx": "A woman opens the oven. she",
        "endings": ["swims.", "takes out a cake.", "is a cake.", "paints it."],
        "label": "1",
    },
    {"ctx": "Two boys row", "endings": ["on.", "up.", "off.", ", and sing."], "label": 3},
]
AIME24 = [
    {
        "ID": "2024-X-1",
        "Problem": "Find $1+1$.",
        "Solution": "Add.\n$\\boxed{2}$",
        "Answer": 2,
    }
]
MATH = [
    {"problem": f"What is ${n}$?", "solution": f"$\\boxed{{{n}}}$", "level": level, "type": "Sums"}
    for n, level in enumerate(["Level 1", "Level 5", "Level ?", "Level 1"])
]
TWO_HOP = [
    {
        "questions": [f"Who leads the land of {n}?", "Or so?"],
        "answer": f"Leader {n}",
        "new_answer": "Nobody",
        "single_hops": [{"question": "?", "cloze": "…", "answer": "!"}] * hops,
    }
    for n, hops in enumerate([2, 3, 2, 4])
]
ARC = [
    {
        "id": "1",
        "question": "Which of these is hot?",
        "choices": {"text": ["ice", "the sun", "snow"], "label": ["A", "B", "C"]},
        "answerKey": "B",
    },
    {
        "question": "How many legs has an ant?",
        "choices": {"text": ["4", "6", "8", "60"], "label": ["1", "2", "3", "4"]},
        "answerKey": "2",
    },
]
PIQA = [{"goal": "boil water", "sol1": "Use a pot.", "sol2": "Use a sieve.", "label": 0}]
WINOGRANDE = [
    {
        "sentence": "The box is not in the bag because the _ is  big.",
        "option1": "box",
        "option2": "bag",
        "answer": "1",
    }
]
OPENBOOKQA = [
    {
        "question_stem": "The sun is",
        "choices": {"text": ["a planet", "a star"], "label": ["A", "B"]},
        "answerKey": "B",
    }
]
BOOLQ = [
    {"passage": "Rain is water.", "question": "is rain wet", "label": 1},
    {"passage": "Ice is cold.", "question": "is ice hot", "label": 0},
]
MMLU = [
    {
        "question": " What has cells? ",
        "subject": "high_school_biology",
        "choices": ["stones", "plants", "clouds", "sand"],
        "answer": 1,
    }
]
ROWS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": GSM8K,
    "hellaswag": HELLASWAG,
    "aime24": AIME24,
    "math": MATH,
    "two_hop": TWO_HOP,
    "arc_easy": ARC,
    "arc_challenge": ARC,
    "piqa": PIQA,
    "winogrande": WINOGRANDE,
    "openbookqa": OPENBOOKQA,
    "boolq": BOOLQ,
    "mmlu": MMLU,
}

GSM8K_TEXT = (
    "Given the following problem, reason and give a final answer to the problem.\n"
    "Problem: Ada has 6 bags of 7 nuts. How many nuts is that?\n"
    'Your response should end with "The final answer is [answer]" where [answer] is the '
    "response to the problem.\n"
    "\n"
    "She has 6 bags.\n"
    "So there are 6 * 7 = <<6*7=42>>42 nuts.\n"
    "The final answer is 42"
)
AIME24_TEXT = (
    "Given the following problem, reason and give a final answer to the problem.\n"
    "Problem: Find $1+1$.\n"
    'Your response should end with "\\boxed{[answer]}" where [answer] is the '
    "response to the problem.\n"
    "\n"
    "Add.\n"
    "$\\boxed{2}$"
)


def write_lines(folder: Path, raw_rows: list[Any], name: str = "set.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in raw_rows) + "\n", "utf-8")
    return path


def test_gsm8k(tmp_path: Path) -> None:
    first, second = read_dataset("gsm8k", write_lines(tmp_path, GSM8K), 2)
    assert first.text == GSM8K_TEXT
    assert first.answer == GSM8K_TEXT[GSM8K_TEXT.index("She has 6") :]
    assert first.task == "gsm8k"
    assert second.text.endswith("problem.\n\nOne less.\nThe final answer is 2,999")
    assert second.answer == "One less.\nThe final answer is 2,999"


def test_hellaswag(tmp_path: Path) -> None:
    without_ctx = {**HELLASWAG[0]}
    del without_ctx["ctx"]
    raw_rows = [*HELLASWAG, without_ctx, {**without_ctx, "ctx_b": ""}]
    assert read_dataset("hellaswag", write_lines(tmp_path, HELLASWAG), 2) == [
        Prompt("A woman opens the oven. she takes out a cake.", " takes out a cake.", "hellaswag"),
        Prompt("Two boys row, and sing.", ", and sing.", "hellaswag"),
    ]
    assert [row.text for row in rows("hellaswag", write_lines(tmp_path, raw_rows[2:]))] == [
        "A woman opens the oven. she takes out a cake.",
        "A woman opens the oven. takes out a cake.",
    ]


def test_aime24_in_either_spelling(tmp_path: Path) -> None:
    lower = [{key.lower(): value for key, value in row.items()} for row in AIME24]
    for raw_rows in (AIME24, lower):
        prompts = read_dataset("aime24", write_lines(tmp_path, raw_rows), 1)
        assert prompts == [Prompt(AIME24_TEXT, "Add.\n$\\boxed{2}$", "aime24")]


def test_math_has_levels(tmp_path: Path) -> None:
    path = write_lines(tmp_path, [*MATH, {**MATH[0], "level": 4}])
    assert [row.level for row in rows("math", path)] == ["1", "5", "", "1", "4"]
    easy = read_dataset("math", path, 2, level=1)
    assert [prompt.answer for prompt in easy] == ["$\\boxed{0}$", "$\\boxed{3}$"]
    assert easy == read_dataset("math", path, 2, level="1")
    assert "\nProblem: What is $0$?\n" in easy[0].text
    with pytest.raises(DepthError, match="has 2 prompts at level 1, not 3"):
        read_dataset("math", path, 3, level=1)


def test_two_hop_leaves_longer_chains_out(tmp_path: Path) -> None:
    expected = [
        Prompt("Question: Who leads the land of 0?\nAnswer: Leader 0", " Leader 0", "two_hop"),
        Prompt("Question: Who leads the land of 2?\nAnswer: Leader 2", " Leader 2", "two_hop"),
    ]
    assert list(rows("two_hop", write_lines(tmp_path, TWO_HOP))) == expected
    # As MQuAKE itself is kept, and as the library `datasets` may give it.
    as_list = tmp_path / "set.json"
    as_list.write_text(json.dumps(TWO_HOP, indent=4), "utf-8")
    assert list(rows("two_hop", as_list)) == expected
    turned = [
        {**row, "single_hops": {"answer": ["!"] * len(row["single_hops"])}} for row in TWO_HOP
    ]
    assert list(rows("two_hop", write_lines(tmp_path, turned))) == expected


@pytest.mark.parametrize("name", [name for name in WITH_CHOICES if name in DATASETS])
def test_one_of_the_choices_is_the_answer(tmp_path: Path, name: str) -> None:
    path = write_lines(tmp_path, ROWS[name][:1])
    (prompt,) = rows(name, path, asking=Asking(choices=True))
    assert prompt.choices[prompt.right_choice] == prompt.answer
    assert prompt.text == prompt.question + prompt.answer
    # Only a set with texts of its own has another way to be asked.
    assert (list(rows(name, path)) == [prompt]) == (name != "hellaswag")


def asked(tmp_path: Path, name: str, row: dict[str, Any]) -> Prompt:
    return next(rows(name, write_lines(tmp_path, [row]), asking=Asking(choices=True)))


def test_questions_are_worded_as_by_lm_eval(tmp_path: Path) -> None:
    easy, ants = rows("arc_easy", write_lines(tmp_path, ARC))
    assert easy.question == "Question: Which of these is hot?\nAnswer:"
    assert easy.choices == (" ice", " the sun", " snow")
    # The beginning of another option, as in the harness.
    assert (ants.choices, ants.right_choice) == ((" 4", " 6", " 8", " 60"), 1)
    piqa = asked(tmp_path, "piqa", PIQA[0])
    assert piqa.text == "Question: boil water\nAnswer: Use a pot."
    assert piqa.choices == (" Use a pot.", " Use a sieve.")
    assert asked(tmp_path, "openbookqa", OPENBOOKQA[0]).text == "The sun is a star"
    boolq = asked(tmp_path, "boolq", BOOLQ[0])
    assert boolq.text == "Rain is water.\nQuestion: is rain wet?\nAnswer: yes"
    assert boolq.choices == (" no", " yes")
    mmlu = asked(tmp_path, "mmlu", MMLU[0])
    assert mmlu.text == (
        "The following are multiple choice questions (with answers) about high school biology.\n"
        "\nWhat has cells?\nA. stones\nB. plants\nC. clouds\nD. sand\nAnswer: B"
    )
    assert mmlu.choices == (" A", " B", " C", " D")


def test_hellaswag_with_choices_loses_its_marks(tmp_path: Path) -> None:
    row = {
        "activity_label": "Baking",
        "ctx_a": "[header] How to bake [title] A man  [step] mixes.",
        "ctx_b": "the dough Rises",
        "endings": [" is [substeps] good.", "[title] Eat it", "falls  down", "x"],
        "label": "2",
    }
    prompt = asked(tmp_path, "hellaswag", row)
    assert prompt.question == "Baking: How to bake. A man  mixes. The dough rises"
    assert prompt.choices == (" is good.", "  Eat it", " falls down", " x")
    assert prompt.answer == " falls down"


def test_the_words_of_winogrande_differ_before_what_is_compared(tmp_path: Path) -> None:
    prompt = asked(tmp_path, "winogrande", WINOGRANDE[0])
    begun = "The box is not in the bag because the "
    assert prompt.text == f"{begun}box is  big."
    assert prompt.continuations == ((f"{begun}box", " is  big."), (f"{begun}bag", " is  big."))


def test_cells_come_in_several_forms(tmp_path: Path) -> None:
    listed = [{"text": "ice", "label": "A"}, {"text": "the sun", "label": "B"}]
    arc = asked(tmp_path, "arc_easy", {**ARC[0], "choices": listed})
    assert (arc.choices, arc.right_choice) == ((" ice", " the sun"), 1)
    key = asked(tmp_path, "openbookqa", {**OPENBOOKQA[0], "answerKey": " B"})
    assert key.answer == " a star"
    google = {"passage": "Ice.", "question": "is it hot", "answer": True}
    assert asked(tmp_path, "boolq", google).answer == " yes"
    mmlu = {**MMLU[0], "answer": "D", "subject": None}
    assert asked(tmp_path, "mmlu", mmlu).answer == " D"
    assert asked(tmp_path, "mmlu", mmlu).text.startswith(
        "The following are multiple choice questions (with answers).\n\nWhat"
    )


def test_rows_without_one_right_option_are_left_out(tmp_path: Path) -> None:
    twice = {**PIQA[0], "sol2": "Use a pot."}
    marks_alone = {**HELLASWAG[0], "endings": ["a", "b", "[step]", "d"]}
    wrong_twice = {**HELLASWAG[0], "endings": ["a", "b", "a", "d"]}
    assert list(rows("piqa", write_lines(tmp_path, [twice, *PIQA]))) == list(
        rows("piqa", write_lines(tmp_path, PIQA))
    )
    path = write_lines(tmp_path, [marks_alone, wrong_twice])
    (prompt,) = rows("hellaswag", path, asking=Asking(choices=True))
    assert prompt.choices == (" a", " b", " a", " d")


def test_shots_are_other_rows_behind_one_heading(tmp_path: Path) -> None:
    raw_rows = [
        {**MMLU[0], "question": f"{subject} {n}?", "subject": subject, "answer": n % 4}
        for subject in ("law", "art")
        for n in range(12)
    ]
    path = write_lines(tmp_path, raw_rows)
    prompts = list(rows("mmlu", path, asking=Asking(True, 2, 5)))
    assert prompts == list(rows("mmlu", path, asking=Asking(True, 2, 5)))
    assert prompts != list(rows("mmlu", path, asking=Asking(True, 2, 6)))
    for prompt, row in zip(prompts, raw_rows, strict=True):
        heading, *shots, question = prompt.text.split("\n\n")
        assert heading.endswith(f"about {row['subject']}.")
        assert question.startswith(row["question"])
        assert len({*shots, question}) == 3
        assert all(shot.startswith(row["subject"]) for shot in shots)
        assert all(shot[-1] in "ABCD" for shot in shots)
        assert prompt.text.endswith(prompt.answer)


def test_halves_have_shots_of_their_own(tmp_path: Path) -> None:
    left_out = {**PIQA[0], "sol2": "Use a pot."}
    questions = [{**PIQA[0], "goal": f"aim {n}"} for n in range(9)]
    path = write_lines(
        tmp_path, [*questions[:2], left_out, *questions[2:5], left_out, *questions[5:]]
    )
    asking = Asking(shots=3, in_halves=True)
    prompts = read_dataset("piqa", path, 9, asking=asking)
    asked = [prompt.text.split("\n\n") for prompt in prompts]
    halves = [{question for *_, question in asked[half::2]} for half in (0, 1)]
    shots = [{shot for *every, _ in asked[half::2] for shot in every} for half in (0, 1)]
    assert shots[0] & halves[0]
    assert shots[1] & halves[1]
    assert not shots[0] & halves[1]
    assert not shots[1] & halves[0]


def of_subjects(count: int, word: str) -> list[dict[str, Any]]:
    return [
        {**MMLU[0], "question": f"{word} {subject} {n}?", "subject": subject}
        for n in range(count)
        for subject in ("law", "art")
    ]


def test_shots_are_the_first_of_their_own_split_where_there_is_one(tmp_path: Path) -> None:
    path = write_lines(tmp_path, of_subjects(9, "test"), "mmlu-test.jsonl")
    asking = Asking(shots=2)
    assert "dev" not in next(rows("mmlu", path, asking=asking)).text
    dev = write_lines(tmp_path, of_subjects(3, "dev"), "mmlu-dev.jsonl")
    for prompt in rows("mmlu", path, asking=Asking(shots=2, seed=5)):
        _, *shots, question = [part.split("?")[0] for part in prompt.text.split("\n\n")]
        _, subject, _ = question.split()
        assert shots == [f"dev {subject} 0", f"dev {subject} 1"]
    assert len(list(rows("mmlu", path))) == 18
    with pytest.raises(DepthError, match=r"dev\.jsonl has 3 other prompts .* not 4"):
        next(rows("mmlu", path, asking=Asking(shots=4)))
    write_lines(tmp_path, [{"question": "?"}], dev.name)
    with pytest.raises(DepthError, match=r"dev\.jsonl lacks the column"):
        rows("mmlu", path, asking=asking)


def test_shots_are_of_the_same_level(tmp_path: Path) -> None:
    raw_rows = [{**MATH[0], "problem": str(n), "level": f"Level {n % 2 + 1}"} for n in range(20)]
    path = write_lines(tmp_path, raw_rows)
    for prompt in rows("math", path, level=1, asking=Asking(shots=4)):
        numbers = [int(n) for n in re.findall(r"Problem: (\d+)", prompt.text)]
        assert len(set(numbers)) == 5
        assert not any(n % 2 for n in numbers)


def test_too_few_rows_for_the_shots(tmp_path: Path) -> None:
    path = write_lines(tmp_path, GSM8K)
    with pytest.raises(DepthError, match=r"set\.jsonl has 1 other prompts .* not 2") as caught:
        list(rows("gsm8k", path, asking=Asking(shots=2)))
    assert "--shots" in caught.value.hint


def test_a_set_without_options_names_those_that_have_some(tmp_path: Path) -> None:
    with pytest.raises(DepthError, match="The data set gsm8k has no options") as caught:
        rows("gsm8k", write_lines(tmp_path, GSM8K), asking=Asking(choices=True))
    assert all(name in caught.value.hint for name in WITH_CHOICES)


@pytest.mark.parametrize("name", DATASETS)
def test_parquet_reads_the_same(tmp_path: Path, name: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    raw_rows = [
        {key: str(row[key]) if key == "label" else row[key] for key in row} for row in ROWS[name]
    ]
    path = tmp_path / "set.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(raw_rows), path)
    assert list(rows(name, path)) == list(rows(name, write_lines(tmp_path, raw_rows)))
    assert list(rows(name, path, 7)) == list(rows(name, write_lines(tmp_path, raw_rows), 7))


def test_a_sample_depends_on_its_seed(tmp_path: Path) -> None:
    raw_rows = [{"question": f"Question {n}", "answer": f"It is {n}.\n#### {n}"} for n in range(50)]
    path = write_lines(tmp_path, raw_rows)
    every = list(rows("gsm8k", path))
    sample = read_dataset("gsm8k", path, 20, sample_seed=1)
    assert sample == read_dataset("gsm8k", path, 20, sample_seed=1)
    assert sample[:5] == read_dataset("gsm8k", path, 5, sample_seed=1)
    assert len(set(sample)) == 20
    assert set(sample) < set(every)
    assert sample != read_dataset("gsm8k", path, 20, sample_seed=2)
    assert sample != every[:20] == read_dataset("gsm8k", path, 20)


def test_prompts_are_made_one_by_one(tmp_path: Path) -> None:
    prompts = rows(
        "gsm8k", write_lines(tmp_path, [*GSM8K, {"question": "Broken?", "answer": "No."}])
    )
    assert len(list(islice(prompts, 2))) == 2
    with pytest.raises(DepthError, match=r"set\.jsonl, row 3: `answer` has no line with ####"):
        next(prompts)


@pytest.mark.parametrize("name", DATASETS)
def test_every_answer_is_the_end_of_its_text(tmp_path: Path, name: str) -> None:
    dataset = DATASETS[name]
    assert dataset.name == name
    assert dataset.sentence.endswith(".")
    assert name not in TASKS
    for prompt in rows(name, write_lines(tmp_path, ROWS[name])):
        assert prompt.text.endswith(prompt.answer)
        assert prompt.question
        assert prompt.task == name


@pytest.mark.parametrize("name", DATASETS)
def test_a_missing_column_is_named_with_those_there(tmp_path: Path, name: str) -> None:
    for spellings in DATASETS[name].columns:
        raw_rows = [{k: v for k, v in row.items() if k not in spellings} for row in ROWS[name]]
        with pytest.raises(DepthError) as caught:
            rows(name, write_lines(tmp_path, [{**row, "extra": 1} for row in raw_rows]))
        assert f"lacks the column {' or '.join(spellings)} of" in caught.value.message
        assert "extra" in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gsm8k", {"answer": "no mark"}, "`answer` has no line with ####"),
        ("gsm8k", {"answer": "x\n####  "}, "`answer` has no line with ####"),
        ("gsm8k", {"question": 3}, "`question` holds no text"),
        ("gsm8k", {"question": " "}, "`question` holds no text"),
        ("hellaswag", {"label": ""}, "`label` does not say"),
        ("hellaswag", {"label": None}, "`label` does not say"),
        ("hellaswag", {"label": "4"}, "`label` is 4, but there are 4 endings"),
        ("hellaswag", {"endings": "one"}, "`label` does not say"),
        ("aime24", {"Solution": None}, "`Solution` holds no text"),
        ("two_hop", {"questions": []}, "`questions` or the hops are not lists"),
        ("two_hop", {"single_hops": 2}, "`questions` or the hops are not lists"),
        ("arc_easy", {"answerKey": "D"}, "`answerKey` does not say"),
        ("arc_easy", {"choices": ["ice"]}, "`choices` has no texts and labels"),
        ("arc_easy", {"choices": {"text": "ice", "label": ["B"]}}, "`text` is no list of texts"),
        ("piqa", {"label": -1}, "`label` does not say which of `options`"),
        ("piqa", {"label": 2}, "`label` is 2, but there are 2 options"),
        ("piqa", {"sol2": ""}, "`sol2` holds no text"),
        ("winogrande", {"sentence": "No blank."}, "`sentence` has no blank"),
        ("winogrande", {"sentence": "The end is _"}, "`sentence` has no blank"),
        ("winogrande", {"answer": ""}, "`answer` does not say"),
        ("boolq", {"label": None}, "`label` does not say"),
        ("mmlu", {"answer": "E"}, "`answer` does not say"),
        ("mmlu", {"choices": ["one"]}, "`choices` has 1 answers, not 4"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, name: str, change: Any, message: str) -> None:
    path = write_lines(tmp_path, [{**ROWS[name][0], **change}])
    with pytest.raises(DepthError) as caught:
        list(rows(name, path))
    assert caught.value.message.startswith(f"{path}, row 1: {message}")
    assert DATASETS[name].hub_id in caught.value.hint


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"question": "a"}\n{', "line 2 is not JSON"),
        ("[{]", "is not JSON"),
        ('{"a": 1}\n[3]', "row 2 is not a JSON object"),
        ("[1]", "row 1 is not a JSON object"),
        ("", "lacks the column question, answer of GSM8K; its columns: none"),
    ],
)
def test_a_bad_file_is_explained(tmp_path: Path, data: str, message: str) -> None:
    path = tmp_path / "set.json"
    path.write_text(data, "utf-8")
    with pytest.raises(DepthError) as caught:
        read_dataset("gsm8k", path)
    assert message in caught.value.message
    assert caught.value.hint


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DepthError, match="There is no file"):
        rows("gsm8k", tmp_path / "none.jsonl")
    path = write_lines(tmp_path, GSM8K)
    monkeypatch.setattr(datasets, "LARGEST_FILE", 10)
    with pytest.raises(DepthError, match="is larger than"):
        rows("gsm8k", path)


def test_parquet_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path, GSM8K, "set.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DepthError, match="needs the library pyarrow") as caught:
        rows("gsm8k", path)
    assert "pip install" in caught.value.hint
    monkeypatch.undo()
    pytest.importorskip("pyarrow")
    with pytest.raises(DepthError, match="cannot be read: "):
        rows("gsm8k", path)
    with pytest.raises(DepthError, match="There is no file"):
        rows("gsm8k", tmp_path / "none.parquet")


class HubTable:
    """The part of a table of the library `datasets` that is used."""

    def __init__(self, raw_rows: list[dict[str, Any]]) -> None:
        self.raw_rows = raw_rows
        self.column_names = list(raw_rows[0])

    def __len__(self) -> int:
        return len(self.raw_rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.raw_rows[index]


class ScriptedHub(ModuleType):
    """In place of the library `datasets`: has every set, or fails."""

    def __init__(self) -> None:
        super().__init__("datasets")
        self.asked: list[tuple[str, str | None, str]] = []
        self.failure: Exception | None = None

    def load_dataset(self, path: str, name: str | None = None, *, split: str) -> HubTable:
        self.asked.append((path, name, split))
        if self.failure is not None:
            raise self.failure
        return HubTable(
            next(ROWS[dataset.name] for dataset in DATASETS.values() if dataset.hub_id == path)
        )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> ScriptedHub:
    module = ScriptedHub()
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing lies in any of the places where data sets are looked for."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("DEPTHTUI_CACHE_DIR", str(tmp_path / "kept"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_file_on_this_disk_is_taken_before_the_hub(hub: ScriptedHub, places: Path) -> None:
    folder = places / "kept" / "datasets"
    folder.mkdir(parents=True)
    write_lines(folder, GSM8K, "gsm8k.jsonl")
    raw_rows = list(rows("gsm8k"))
    assert raw_rows == read_dataset("gsm8k", examples=len(GSM8K))
    assert raw_rows == list(rows("gsm8k", folder=folder))
    assert not hub.asked
    assert len(list(rows("gsm8k", folder=places))) == len(GSM8K)
    assert hub.asked


def test_what_the_library_keeps_is_read(hub: ScriptedHub, places: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    path = places / "hf" / "datasets" / "openai___gsm8k" / "main" / "0.0.0" / "a"
    path.mkdir(parents=True)
    table = pyarrow.Table.from_pylist(GSM8K)
    with pyarrow.ipc.new_stream(str(path / "gsm8k-test.arrow"), table.schema) as stream:
        stream.write_table(table)
    assert list(rows("gsm8k")) == list(rows("gsm8k", write_lines(places, GSM8K)))
    assert not hub.asked
    (path / "gsm8k-test.arrow").write_text("no such thing")
    with pytest.raises(DepthError, match=r"gsm8k-test\.arrow cannot be read"):
        rows("gsm8k")


def test_without_a_file_a_set_comes_from_the_hub(hub: ScriptedHub, tmp_path: Path) -> None:
    for name, raw_rows in ROWS.items():
        assert list(rows(name)) == list(rows(name, write_lines(tmp_path, raw_rows)))
    assert set(hub.asked) == {
        ("Rowan/hellaswag", None, "validation"),
        ("openai/gsm8k", "main", "test"),
        ("Maxwell-Jia/AIME_2024", None, "train"),
        ("DigitalLearningGmbH/MATH-lighteval", None, "test"),
        ("henryzhongsc/MQuAKE-Remastered", None, "CF3k"),
        ("allenai/ai2_arc", "ARC-Easy", "test"),
        ("allenai/ai2_arc", "ARC-Challenge", "test"),
        ("baber/piqa", None, "validation"),
        ("allenai/winogrande", "winogrande_xl", "validation"),
        ("allenai/openbookqa", "main", "test"),
        ("aps/super_glue", "boolq", "validation"),
        ("cais/mmlu", "all", "test"),
    }


def test_the_split_for_shots_comes_from_the_hub_where_the_set_does(hub: ScriptedHub) -> None:
    next(rows("mmlu"))
    assert hub.asked == [("cais/mmlu", "all", "test")]
    # The hub's one row is the question itself.
    with pytest.raises(DepthError, match="cais/mmlu has 0 other"):
        next(rows("mmlu", asking=Asking(shots=1)))
    assert hub.asked[1:] == [("cais/mmlu", "all", "test"), ("cais/mmlu", "all", "dev")]


def test_a_hub_out_of_reach_is_explained(hub: ScriptedHub, places: Path) -> None:
    hub.failure = ConnectionError("Couldn't reach the hub.\nLong story")
    with pytest.raises(DepthError) as caught:
        rows("gsm8k")
    assert str(caught.value) == (
        f"GSM8K is not on this disk: not in {places}/kept/datasets, "
        f"{places}/hf/hub/datasets--openai--gsm8k or "
        f"{places}/hf/datasets/openai___gsm8k. "
        "openai/gsm8k could not be fetched from the hub: Couldn't reach the hub. "
        "Check the network. Put its file, with the columns question, answer, into "
        f"{places}/kept/datasets as gsm8k.jsonl or gsm8k.json or gsm8k.parquet; "
        "`run`, `sweep` and `prune` take it by --data gsm8k=FILE, too."
    )


def test_a_missing_library_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DepthError, match="needs the library `datasets`") as caught:
        rows("aime24")
    assert install_extra("datasets") in caught.value.hint
    assert "--data aime24=FILE" in caught.value.hint


def test_unknown_sets_and_levels(tmp_path: Path) -> None:
    path = write_lines(tmp_path, MATH)
    with pytest.raises(DepthError) as caught:
        rows("poetry", path)
    assert all(name in caught.value.hint for name in DATASETS)
    for level in (0, 6, "x", "Level 1"):
        with pytest.raises(DepthError, match="has no level") as caught:
            rows("math", path, level=level)
        assert caught.value.hint == "Levels: 1 to 5."
    with pytest.raises(DepthError, match="gsm8k has no levels"):
        rows("gsm8k", path, level=1)
    assert list(rows("math", path, level="")) == list(rows("math", path))


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(DepthError, match="The data set gsm8k has 2 prompts, not 3"):
        read_dataset("gsm8k", write_lines(tmp_path, GSM8K), 3)


def test_the_protocol_of_the_paper() -> None:
    chosen = [
        (dataset.name, dataset.examples, dataset.max_tokens) for dataset in PAPER_PROTOCOL.datasets
    ]
    assert chosen == [("hellaswag", 10, None), ("gsm8k", 10, None), ("aime24", 5, 400)]
    assert all(dataset.sample_seed is None for dataset in PAPER_PROTOCOL.datasets)
    assert Settings().chat_template == PAPER_PROTOCOL.chat_template
    assert Settings().summary_settings() == PAPER_PROTOCOL.summary


def test_the_ladder_keeps_its_tasks() -> None:
    with pytest.raises(DepthError, match="There is no task 'gsm8k'"):
        make_prompts("gsm8k")
