"""`depthtui prune`, on a tiny model."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from depthtui.cli import main
from depthtui.cli.pruning import PruneJob
from depthtui.engine import held_out_prompts, surgery
from depthtui.engine.held_out_prompts import WholeOutput
from depthtui.engine.left_out_costs import LeftOutCosts
from depthtui.errors import DepthError, RunStopped
from depthtui.metrics.accuracy.answer_statistics import PairedAnswers
from depthtui.models import pruning
from tests.engine.test_choosing import answers
from tests.engine.test_pruning import engine_of
from tests.parallel.two_ranks import SHORT_TEXTS
from tests.tiny_models import CORPUS, tiny_folder

Output = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("home", "short_texts")


@pytest.fixture
def wordy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log has a line for each progress."""
    monkeypatch.setattr("depthtui.report.progress.LOG_PACE", 0.0)


def steps_in(log: str) -> list[str]:
    """The numbers of the steps that a log names, in order, such as `1 of 3`."""
    return list(dict.fromkeys(re.findall(r"step (\d of \d): [A-Z]", log)))


def test_layers_are_left_out_of_a_folder(home: Path, capsys: Output) -> None:
    model, out = str(tiny_folder(home)), home / "out"
    arguments = ["prune", model, "--drop", "1,2", "--out", str(out), "--device", "cpu"]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert "2 of 4 layers: 0, 3\n" in output
    assert f"wrote {out}\n" in output
    assert (out / "model.safetensors").exists()
    assert (out / "tokenizer.json").exists()
    assert main(["run", str(out), "--prompt", "The river", "--device", "cpu"]) == 0


@pytest.mark.usefixtures("wordy")
def test_the_card_has_what_was_measured(home: Path, capsys: Output) -> None:
    model = tiny_folder(home)
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# The whole one\n")
    prompts = [word for text in CORPUS[:5] for word in ("--prompt", text)]
    out = home / "measured"
    words = ["prune", str(model), "--drop", "1,2", "--out", str(out), "--device", "cpu"]
    assert main([*words, *prompts]) == 0
    output, log = capsys.readouterr()
    assert f"hf upload YOUR_NAME/measured {out}" in output
    assert steps_in(log) == [f"{number} of 5" for number in range(1, 6)]
    card = ModelCard.load(out / "README.md")
    assert (card.data.license, card.data.tags) == ("apache-2.0", ["pruned", "depthtui"])
    assert card.data.base_model is None, "a folder is no model of the hub"
    assert "# tiny-llama without layers 1-2" in card.text
    assert f"--drop 1,2 --out {out}" in card.text
    whole, cut = (line for line in card.text.splitlines() if re.match(r"\| (whole|cut)", line))
    number = r"[+-]?[\d.]+"
    assert re.fullmatch(r"\| whole \| \+0\.00 \| 0\.00 \| (\d+)/\1 \|", whole)
    measured = rf" \| {number} \({number} to {number}\)"
    assert re.fullmatch(rf"\| cut{2 * measured} \| \d+/\d+ \([\d.]+ to [\d.]+\) \|", cut)


@pytest.fixture
def no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is loaded."""
    monkeypatch.setattr("depthtui.engine.engine.Engine.load", lambda *_: pytest.fail("it loads"))


@pytest.mark.usefixtures("no_load")
@pytest.mark.parametrize("kind", ["/proc/x", "a" * 300, "a file", "a link", "a full folder"])
def test_a_folder_that_cannot_be_written_is_found_before_the_model_loads(
    kind: str, home: Path, capsys: Output
) -> None:
    out = home / kind
    match kind:
        case "a file":
            out.touch()
        case "a link":
            (home / "elsewhere").mkdir()
            out.symlink_to("elsewhere")
        case "a full folder":
            out.mkdir()
            (out / "thesis.txt").write_text("mine")
    model = str(tiny_folder(home))
    status = main(["prune", model, "--drop", "1", "--out", str(out), "--device", "cpu"])
    assert status == (2 if kind == "a file" else 1)
    output = capsys.readouterr()
    assert (
        "cannot be written to" in output.err
        or "something in" in output.err
        or "is a file" in output.err
    )
    assert "Something unexpected" not in output.err
    assert "wrote" not in output.out


def test_a_folder_that_appears_meanwhile_stays_and_is_not_claimed(
    home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = str(tiny_folder(home)), home / "out"
    recipe = pruning.mergekit_recipe

    def meanwhile(*args: Any) -> bytes:
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
        return recipe(*args)

    monkeypatch.setattr(pruning, "mergekit_recipe", meanwhile)
    arguments = ["prune", model, "--drop", "1", "--out", str(out), "--device", "cpu"]
    assert main(arguments) == 1
    output = capsys.readouterr()
    assert "wrote" not in output.out
    assert f"There is something in {out} by now" in output.err
    assert f"put into {out}-2 instead" in output.err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert (home / "out-2" / "model.safetensors").exists()
    assert not list(home.glob(".*"))


TEXTS = ("The river was high after a week.", "Seven plus five is twelve.")


def arguments(home: Path, *options: str) -> list[str]:
    """A `prune` of a tiny model on two prompts."""
    prompts = [part for text in TEXTS for part in ("--prompt", text)]
    out = ["--out", str(home / "out"), "--device", "cpu"]
    return ["prune", str(tiny_folder(home)), *options, *prompts, *out]


def costs_table(output: str) -> dict[int, list[str]]:
    """The words of each row of the table of costs, by the number of pieces kept."""
    lines = output.partition("KL  choices")[2].partition("\n\n")[0].splitlines()[1:]
    return {int(words[0]): words[1:] for words in map(str.split, lines)}


@pytest.mark.usefixtures("chance_passes")
@pytest.mark.parametrize(
    ("way", "mark"),
    [
        ("--keep kl=1.1", "--keep kl=1.1"),
        ("--parts --keep loss=9", "--keep loss=9"),
        ("--parts --keep choices=0.4", "--keep choices=0.4"),
        ("--least 2", "--least 2"),
        ("--drop 1,3", "--drop"),
        ("--drop 1a,3m", "--drop"),
    ],
)
def test_every_way_prints_the_table_of_costs_first(
    way: str, mark: str, home: Path, capsys: Output
) -> None:
    parts = "--parts" in way or "1a" in way
    line = arguments(home, *way.split())
    status = main([*line[: line.index("--out")], "--device", "cpu"])
    output, errors = capsys.readouterr()
    n_pieces, noun = (8, "part") if parts else (4, "layer")
    first = output.splitlines()[0]
    assert first.startswith(f"{noun.capitalize()}s left out ")
    assert first.endswith(", on 2 held-out prompts:")
    table = costs_table(output)
    assert next(iter(table)) == n_pieces
    assert list(table) == sorted(table, reverse=True)
    (kept,) = (
        kept for kept, words in table.items() if " ".join(words).endswith(f"chosen by {mark}")
    )
    assert "Nothing was written" in (errors if status else output)
    if not status:
        assert f"; {kept} of {n_pieces} {noun}s kept" in output
        assert way in output.splitlines()[-1]


@pytest.mark.usefixtures("chance_passes")
def test_a_gate_ends_in_a_model_that_was_measured(home: Path, capsys: Output) -> None:
    assert main(arguments(home, "--keep", "kl=1.1")) == 0
    output = capsys.readouterr().out
    assert "3 of 4 layers: 0-2\n" in output
    measured = kl_of(output)["cut"]
    chosen, checked = re.findall(r"the output is (\S+) nats away", output)
    assert float(checked) == pytest.approx(measured, abs=0.006)
    assert 0 < float(chosen) <= 1.1
    assert 0 < float(checked) <= 1.1
    assert "on 4 texts that the model writes itself" in output
    assert "on 2 held-out prompts, which chose nothing; the gate is --keep kl=1.1\n" in output
    assert "each range without its end: [0, 3]\n" in output
    assert "llama-quantize --prune-layers 3 MODEL.gguf" in output
    assert "llama-cli -m MODEL.gguf --skip-layers 3\n" in output
    assert "without this folder: whole.generate(**inputs, assistant_early_exit=3)\n" in output
    assert "layer_range: [0, 3]" in (home / "out" / "mergekit_config.yml").read_text()
    assert (home / "out" / "model.safetensors").exists()


@pytest.mark.usefixtures("chance_passes")
@pytest.mark.parametrize("parts", [[], ["--parts"]])
def test_the_first_pieces_of_the_order_go(parts: list[str], home: Path, capsys: Output) -> None:
    assert main(arguments(home, *parts, "--least", "2")) == 0
    output = capsys.readouterr().out
    table = costs_table(output)
    whole = 8 if parts else 4
    assert list(table) == list(range(whole, whole - len(table), -1))
    assert table[whole - 2][-4:] == ["chosen", "by", "--least", "2"]
    assert kl_of(output)["cut"] == float(table[whole - 2][-6])
    marks = [table[whole - count][0] for count in (1, 2)]
    card = ModelCard.load(home / "out" / "README.md").text
    assert f"by the model's order, lazy: {', '.join(marks)}; {whole - 2} of {whole} " in card


def test_named_parts_are_zero_in_the_folder(home: Path, capsys: Output) -> None:
    assert main(arguments(home, "--drop", "1a,2-3m")) == 0
    output = capsys.readouterr().out
    assert "2 MLPs and 3 attentions of 4 layers stay\n" in output
    assert "are zero: attention 1; MLP 2-3. transformers computes the zeros, so that" in output
    assert "saves neither memory nor time" in output
    assert "logits as without these parts, off by 0 roundings\n" in output
    assert kl_of(output)["cut"] > 0
    skip_file = home / "out" / "skip_layers.json"
    assert f"skip = json.load(open('{skip_file}'))['tiny-llama']" in output
    assert "LLM-Drop: drop_attn_list and drop_mlp_list in config.json" in output
    assert "keep_full_attention_layers: [0, 2, 3]; " in output
    assert not any(tool in output for tool in ("mergekit", "llama-quantize", "assistant_model"))
    card = ModelCard.load(home / "out" / "README.md").text
    assert "# tiny-llama without 3 parts" in card
    assert "saves neither memory nor time" in card
    assert "--drop 1a,2-3m" in card


def test_both_parts_of_layers_are_cut_and_measured_like_layers(home: Path, capsys: Output) -> None:
    assert main(arguments(home, "--drop", "1a,1m")) == 0
    output = capsys.readouterr().out
    assert "3 of 4 layers: 0, 2-3\n" in output
    assert "--prune-layers 1 MODEL.gguf" in output
    assert kl_of(output)["cut"] > 0
    assert not any(words in output for words in ("chosen:", "right", "assistant_early_exit"))


@pytest.mark.usefixtures("no_load")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--drop", "1,4-9"], "There is no layer 9. Layers are 0 to 3."),
        (["--least", "4"], "this one has 4. --least 3 leaves the most out."),
        (["--parts", "--least", "8"], "at least one part, and this one has 8. --least 7"),
        (
            ["--drop", "1", "--heal", "--heal-texts", "none.txt"],
            "The calibration texts none.txt cannot be",
        ),
    ],
)
def test_what_is_not_there_is_found_before_the_model_loads(
    options: list[str], words: str, home: Path, capsys: Output
) -> None:
    assert main(arguments(home, *options)) == 1
    output = capsys.readouterr()
    assert words in output.err
    assert output.out == ""
    assert not (home / "out").exists()


@pytest.mark.usefixtures("chance_passes")
@pytest.mark.parametrize("parts", [[], ["--parts"]])
def test_a_gate_that_fails_writes_nothing_and_names_what_passes(
    parts: list[str], home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The held-out prompts, which lie farther away than the texts that chose, decide."""
    without = held_out_prompts.without

    def farther(model: Any, ids: torch.Tensor, *others: Any) -> np.ndarray:
        changes = without(model, ids, *others)
        if len(ids) == SHORT_TEXTS["LENGTH"]:
            return changes
        changes[0, 1:] = np.arange(1.2, 1.2 + changes.shape[1] - 1)
        return changes

    monkeypatch.setattr(held_out_prompts, "without", farther)
    assert main(arguments(home, *parts, "--keep", "kl=1.1")) == 1
    output = capsys.readouterr()
    assert "Nothing was written: without " in output.err
    assert "the output is" in output.err
    assert "--keep kl=1.1 fails" in output.err
    assert costs_table(output.out)
    assert not (home / "out").exists()


@pytest.mark.usefixtures("no_load")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "one of --keep, --least and --drop."),
        (["--least", "1", "--keep", "kl=1"], "not --keep and --least"),
        (["--least", "0"], "'0' is not a whole number of at least 1."),
        (["--drop", "1", "--keep", "kl=1"], "not --keep and --drop"),
        (["--keep", "kl=-1"], "'-1' is not a number above 0"),
        (["--keep", "loss=0"], "'0' is not a number above 0"),
        (["--keep", "kl=nan"], "not a number"),
        (["--keep", "kl"], "'' is not a number"),
        (["--keep", "kl=4"], "ends at 3 nats. --least 4 leaves 4 out."),
        (["--keep", "nats=0.3"], "write one of knowledge=0.9, loss=0.1, kl=0.3"),
        (["--keep", "knowledge=1.5"], "at most 1"),
        (["--keep", "answers=95"], "write 0.95."),
        (["--keep", "kl=1", "--task", "sums"], "There is no task 'sums'"),
        (["--keep", "answers=0.9", "--task", "grade_school"], "one half chooses"),
        (["--keep", "answers=0.9", "--prompt", "hi"], "two prompts or more that have answers"),
        (["--keep", "answers=0.9", "--data", "piqa=x.jsonl"], "NAME=FILE needs --task NAME"),
        (["--drop", ""], "'' is not"),
        (["--drop", "7-5"], "'7-5' is not"),
        (["--drop", "3x"], "parts such as 20a,22-24m"),
        (["--parts", "--drop", "3"], "--drop names parts itself"),
        (["--parts", "--least", "3", "--heal"], "makes up for blocks of layers that go"),
        (["--drop", "3a", "--heal"], "makes up for blocks of layers that go"),
        (["--parts"], "one of --keep, --least and --drop."),
        (["--drop", "1", "--heal-texts", "x"], "--heal-texts is of no use without --heal."),
    ],
)
def test_what_cannot_be_asked_for_is_bad_usage(
    options: list[str], words: str, home: Path, capsys: Output
) -> None:
    assert main(["prune", str(home), *options, "--out", str(home / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (home / "out").exists()


@pytest.mark.parametrize("prompt", [["--prompt", "The river"], []])
def test_prompts_that_cannot_be_run_end_it_where_they_were_named(
    prompt: list[str], home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surgery, "whole_outputs", Mock(side_effect=DepthError("Unread.")))
    line = ["prune", str(tiny_folder(home)), "--drop", "1", *prompt, "--out", str(home / "out")]
    assert main([*line, "--device", "cpu"]) == bool(prompt)
    assert ("Nothing is measured: Unread." in capsys.readouterr().err) != bool(prompt)


@pytest.fixture(scope="module")
def self_answering(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of prompts whose answers the model gives itself."""
    folder = tmp_path_factory.mktemp("answers")
    prompts = answers(engine_of(tiny_folder(folder)))
    rows = [{"text": prompt.text, "answer": prompt.answer} for prompt in prompts]
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize(
    ("share", "output"),
    [("0.9", "Nothing was written"), ("0.05", "as many answers are right, lost")],
)
def test_answers_choose_on_one_half_and_check_on_the_other(
    share: str, output: str, self_answering: str, home: Path, capsys: Output
) -> None:
    options = ["--keep", f"answers={share}", "--prompt-file", self_answering, "--device", "cpu"]
    status = main(["prune", str(tiny_folder(home)), *options, "--out", str(home / "out")])
    printed = capsys.readouterr()
    assert output in printed.out + printed.err
    assert status == ("Nothing was written" in printed.err)
    assert (home / "out").exists() == (status == 0)
    assert ("right answers of the written model: lost " in printed.out) == (status == 0)
    assert ("certain: with 95% the true change is above" in printed.out) == (status == 0)
    assert "Warning" not in printed.out


@pytest.mark.usefixtures("chance_passes")
@pytest.mark.parametrize("gate", ["kl=1.1", "answers=0.05"])
def test_no_prompt_that_chooses_checks(
    gate: str, self_answering: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[list[str]]()

    def noting(name: str) -> Callable[..., Any]:
        measure = getattr(surgery, name)

        def measured(engine: Any, outputs: Sequence[WholeOutput], *others: Any) -> Any:
            read.append([output.question.prompt.text for output in outputs])
            return measure(engine, outputs, *others)

        return measured

    for name in ("costs", "compare"):
        monkeypatch.setattr(surgery, name, noting(name))
    options = ["--keep", gate, "--prompt-file", self_answering, "--device", "cpu"]
    status = main(["prune", str(tiny_folder(home)), *options, "--out", str(home / "out")])
    if status == 0:
        assert read[-2] == read.pop(), "the written model is measured on what checks"
    *choosing, checked = read
    assert choosing
    assert len(set(checked)) > 1
    for texts in choosing:
        assert set(texts).isdisjoint(checked)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (["--task=facts", "--level=1", "--choices", "--examples=8"], 8),
        # Twenty by default, or as many as there are.
        (["--task=piqa", "--data=piqa={path}"], 6),
    ],
)
def test_options_and_rows_of_a_file_choose_layers_too(
    options: list[str], asked: int, home: Path, capsys: Output
) -> None:
    path = home / "rows.jsonl"
    numbers = range(12)
    rows = [
        {"goal": f"add {n}", "sol1": "one", "sol2": "two", "label": n // 2 % 2} for n in numbers
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    options = ["--keep=answers=0.01", "--device=cpu", *(word.format(path=path) for word in options)]
    status = main(["prune", str(tiny_folder(home)), *options, "--out", str(home / "out")])
    printed = capsys.readouterr()
    words = rf"as many answers are right, lost \d, gained \d of {asked}: "
    assert re.search(words, printed.out + printed.err)
    assert status == ("Nothing was written" in printed.err)


def test_questions_that_check_are_no_shots_of_those_that_choose(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, jobs = home / "rows.jsonl", []
    rows = [{"text": f"{n} is {n}", "answer": f" {n}"} for n in range(10)]
    path.write_text("\n".join(map(json.dumps, rows)))

    def keep(job: PruneJob, *_others: object) -> None:
        jobs.append(job)
        raise RunStopped

    monkeypatch.setattr("depthtui.cli.pruning.prune_model", keep)
    options = ["--keep", "answers=0.9", "--prompt-file", str(path), "--shots", "3"]
    assert main(["prune", "demo", *options]) == 130
    asked = [prompt.text.split("\n\n") for prompt in jobs[0].prompts]
    assert [question for *_, question in asked] == [row["text"] for row in rows]
    for place, (*shots, _) in enumerate(asked):
        assert {int(shot[0]) % 2 for shot in shots} == {place % 2}


@pytest.mark.usefixtures("chance_passes")
@pytest.mark.parametrize(
    ("pair", "warns"),
    [(PairedAnswers(10, 8, 0, 2), True), (PairedAnswers(10, 4, 1, 5), False)],
)
def test_answers_that_fall_though_nats_pass_are_a_warning(
    pair: PairedAnswers,
    warns: bool,
    home: Path,
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LeftOutCosts, "answers", lambda *_: pair)
    options = ["--keep", "kl=1.1", "--prompt", "The river", "--answer", " river", "--device", "cpu"]
    assert main(["prune", str(tiny_folder(home)), *options]) == 0
    output = capsys.readouterr().out
    assert f"right answers without them: {pair.words()}\n" in output
    assert ("Warning: fewer answers are right, beyond chance" in output) == warns
    assert ("p = 0.0078)" in output) == warns


@pytest.mark.usefixtures("chance_passes")
def test_solutions_are_not_written_where_nats_choose(
    home: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "depthtui.engine.held_out_prompts.write_greedily", lambda *_, **__: pytest.fail("it writes")
    )
    rows = home / "prompts.jsonl"
    rows.write_text(json.dumps({"text": TEXTS[1], "answer": "twelve.", "task": "grade_school"}))
    options = ["--least", "1", "--prompt-file", str(rows), "--device", "cpu"]
    assert main(["prune", str(tiny_folder(home)), *options]) == 0
    assert "right answers" not in capsys.readouterr().out


@pytest.mark.usefixtures("chance_passes")
@pytest.mark.parametrize("way", [("--drop", "3"), ("--keep", "kl=1.1")])
def test_without_a_folder_the_command_that_writes_is_printed(
    way: Sequence[str], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    here = home / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    line = arguments(home, *way)
    assert main([*line[: line.index("--out")], "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    layers = re.search(r"left out: .*\((\S+)\)", output)
    assert layers is not None
    assert list(here.iterdir()) == []
    assert main(shlex.split(output.splitlines()[-1])[1:]) == 0
    assert [path.name for path in here.iterdir()] == [f"{tiny_folder(home).name}-pruned"]
    assert f"--prune-layers {layers[1]} " in capsys.readouterr().out


@pytest.fixture
def heal_texts(home: Path) -> str:
    """A file of calibration texts."""
    path = home / "texts.txt"
    lines = [line.replace("\n", " ") for line in CORPUS]
    path.write_text("\n".join(f"{before} {after}" for before in lines for after in lines))
    return str(path)


def kl_of(output: str) -> dict[str, float]:
    """The KL of each model in the table of models."""
    lines = output.rpartition("KL  choices")[2].splitlines()[1:4]
    rows = [line.split() for line in lines if line.startswith(("whole", "cut", "healed"))]
    return {name: float(kl) for name, _nats, kl, *_ in rows}


@pytest.mark.usefixtures("wordy")
def test_whole_cut_and_healed_stand_side_by_side(
    home: Path, heal_texts: str, capsys: Output
) -> None:
    line = arguments(home, "--drop", "0,2", "--heal", "--heal-texts", heal_texts)
    assert main(line) == 0
    output, log = capsys.readouterr()
    assert steps_in(log) == [f"{number} of 6" for number in range(1, 7)]
    assert re.search(r"\non 2 prompts +nats +KL +choices", output)
    kl = kl_of(output)
    assert kl["whole"] == 0 < kl["healed"] < kl["cut"]
    assert "logits as without these layers, healed, off by" in output
    assert "healed: layer 2, by a map in mlp.down_proj of layer 1 (ridge " in output
    assert "not healed: layer 0: no layer stands before it\n" in output
    assert "fitted on 1,284 tokens of 33 texts (texts.txt); on 3 further ones the KL is" in output
    assert "Other tools cut alone: nothing makes up for these layers there.\n" in output
    out = home / "out"
    files = {path.name for path in out.iterdir()}
    assert main(["run", str(out), "--prompt", "The river", "--device", "cpu"]) == 0
    capsys.readouterr()
    # The command without healing writes files of the same names, and the cut alone.
    alone = arguments(home, "--drop", "0,2")
    alone[alone.index("--out") + 1] = str(home / "cut")
    assert main(alone) == 0
    output = capsys.readouterr().out
    assert kl_of(output)["cut"] == pytest.approx(kl["cut"], abs=0.011)
    assert {path.name for path in (home / "cut").iterdir()} == files


def test_where_healing_does_not_help_the_layers_are_cut_alone(
    home: Path, heal_texts: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = surgery.compare

    def worse_where_healed(*args: Any, **keywords: Any) -> Any:
        compared = compare(*args, **keywords)
        is_healed = len(args) > 4 and args[4].blocks
        return replace(compared, kl=compared.kl + np.array([0, 9 * bool(is_healed)]))

    monkeypatch.setattr(surgery, "compare", worse_where_healed)
    assert main(arguments(home, "--drop", "2", "--heal", "--heal-texts", heal_texts)) == 0
    output = capsys.readouterr().out
    assert "not healed: that does not help on held-out texts\n" in output
    assert "logits as without these layers, off by" in output
    assert kl_of(output)["healed"] > kl_of(output)["cut"] + 8
    assert "healed:" not in output.replace("not healed:", "")
    recipe = (home / "out" / "mergekit_config.yml").read_text()
    assert recipe.startswith("slices:")


@pytest.mark.usefixtures("chance_passes")
def test_the_gate_checks_the_healed_model(home: Path, heal_texts: str, capsys: Output) -> None:
    options = ["--heal", "--heal-texts", heal_texts]
    assert main(arguments(home, "--keep", "kl=1.1", *options)) == 0
    output = capsys.readouterr().out
    kl = kl_of(output)
    matches = re.search(
        r"checked: the output is (\S+) nats away, and healed the output is (\S+) nats away on 2 "
        r"held-out prompts",
        output,
    )
    assert matches is not None
    assert [float(matches[1]), float(matches[2])] == [kl["cut"], kl["healed"]]


@pytest.mark.usefixtures("chance_passes")
def test_without_a_folder_healing_is_measured_alone(
    home: Path, heal_texts: str, capsys: Output
) -> None:
    line = arguments(home, "--least", "1", "--heal", "--heal-texts", heal_texts)
    assert main([*line[: line.index("--out")], "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert kl_of(output)["healed"] < kl_of(output)["cut"]
    assert "Nothing was written." in output
    assert f"--heal --heal-texts {heal_texts}" in output.splitlines()[-1]


@pytest.mark.parametrize(
    ("kind", "option", "words"),
    [
        (
            "gemma3",
            "--heal",
            "cannot be healed: a norm stands between its MLP and the residual stream.",
        ),
        ("mixtral", "--parts", "The MLP of layer 0 cannot be zero in a model that is written"),
    ],
)
def test_what_cannot_be_written_costs_no_search(
    kind: str,
    option: str,
    words: str,
    home: Path,
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(surgery, "whole_outputs", lambda *_: pytest.fail("it runs prompts"))
    model, out = str(tiny_folder(home, kind)), home / "out"
    line = ["prune", model, "--least", "1", option, "--out", str(out), "--device", "cpu"]
    assert main(line) == 1
    assert words in capsys.readouterr().err
    assert not out.exists()
