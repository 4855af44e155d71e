"""Every kind of report, made from fixed results: no model, no clock, no machine in them.

To add a case, add a function to `CASES` and run `python -m tests.golden.renew`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
from rich.console import Console

from depthtui import __version__
from depthtui.cli.pruned_card import write_card
from depthtui.cli.pruning import Pruning
from depthtui.data.arrays import arrays_of
from depthtui.data.lens import AffineLens, LogitLens
from depthtui.data.model import ModelInfo
from depthtui.data.pieces import NumberedParts
from depthtui.data.pool import Pool
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import (
    ModelSpec,
    RunSettings,
    Skip,
    SummarySettings,
    Writing,
)
from depthtui.data.stream_diff import StreamDiff, WriteDifference
from depthtui.engine.layer_choice import Choosing, Gate, LayerChoice
from depthtui.engine.left_out_costs import LeftOutCosts
from depthtui.engine.pruning import PrunedModel
from depthtui.metrics.direct_effects import DirectEffects
from depthtui.metrics.settling import Settling
from depthtui.metrics.skip_effects import SkipEffects
from depthtui.report.as_markdown import markdown_bytes
from depthtui.report.as_plain import plain_text
from depthtui.report.as_rich import rich_lines
from depthtui.report.blocks import Document
from depthtui.report.export import run_report
from depthtui.report.formats import FORMATS, format_titles
from depthtui.report.stream_diff import diff_document, diff_json
from depthtui.sweep.folder import Failure
from depthtui.sweep.plan import Cell, SweepPlan, TaskChoice
from depthtui.sweep.questions import questions
from depthtui.sweep.records import Record, record_of
from depthtui.sweep.report.export import sweep_report
from depthtui.sweep.state import Outcome
from depthtui.sweep.summary import summarise_sweep
from tests.builders.lenses import smooth_lens
from tests.builders.models import model_info
from tests.builders.results import full_result, full_run, half_run, lacking, stopped_run
from tests.builders.written import with_settling, written_prompt
from tests.hostile import HOSTILE

TERMINAL_WIDTH = 100

_GRID = 1024
_LOG_PROBABILITIES = (-0.65625, -1.96875, 0.0, -0.6875, -2.6875, -2.046875)
"""Their exponentials lie next to a float32, so that every way to compute them gives the same."""

_TEXTS = (
    "Ferries go to Paris",
    "Water boils at noon",
    "Seven boats wait here",
    "An octopus has arms",
    "Snow falls on hills",
    "The moon goes round",
)


WHOLE = ("runs", "hostile-run", "sweep", "generations", "diff")
"""Cases that are kept in every format; of the others, Markdown has all words."""


FIGURES = (
    "runs/figures/cosine-with-the-stream.csv",
    "runs/figures/cosine-with-the-stream.svg",
    "runs/figures/layer-contribution-prompt-1.csv",
    "runs/figures/block-influence.csv",
    "hostile-run/figures/layer-contribution.csv",
    "sweep/figures/lens-settled.csv",
    "sweep/figures/lens-settled.svg",
)
"""The figures that are kept: pages have all of them as SVG."""


WHOLE_FORMATS = [name for name in format_titles("runs") if FORMATS[name].has_whole("runs")]
"""The formats of runs that are no figures."""


def is_kept(name: str) -> bool:
    """Whether the file of a case is compared byte for byte."""
    if "/figures/" in name:
        return name in FIGURES
    return name.endswith(".md") or name.startswith(tuple(f"{case}/" for case in WHOLE))


def make_reports() -> dict[str, bytes]:
    """Every file of every case by its path, such as `runs/summary.md`."""
    with TemporaryDirectory() as name:
        root = Path(name)
        for case, write in CASES.items():
            write(root / case)
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): _unversioned(path) for path in paths}


def _unversioned(path: Path) -> bytes:
    """A file's bytes, less depthtui's own version, which is no part of a result."""
    content = path.read_bytes()
    frames = (('"depthtui": "', '"'), ("depthtui ", "; no run was finished"), ("by depthtui ", "."))
    for before, after in frames:
        text = f"{before}{__version__}{after}".encode()
        content = content.replace(text, f"{before}VERSION{after}".encode())
    return content


def _rounded(part: object) -> None:
    """Round values to multiples of 1/1024: their sums are exact, whatever order a CPU adds in."""
    for _, values in arrays_of(part):
        if values.dtype.kind == "f":
            _round(values)


def _round(values: np.ndarray) -> None:
    values[...] = np.rint(values * _GRID) / _GRID


def _exact(result: RunResult) -> RunResult:
    for part in result.measured.values():
        _rounded(part)
    return result


def _print(path: Path, make: Callable[[], Document]) -> None:
    """What a terminal without colours would show, and beside it what `--plain` prints."""
    console = Console(
        file=StringIO(), width=TERMINAL_WIDTH, color_system=None, highlight=False, _environ={}
    )
    console.print(rich_lines(make()))
    assert isinstance(console.file, StringIO)
    for suffix, text in ((".txt", console.file.getvalue()), (".plain.txt", plain_text(make()))):
        path.with_suffix(suffix).write_text(text, encoding="utf-8", newline="\n")


def _write_runs(
    results: Sequence[RunResult],
    folder: Path,
    settings: SummarySettings | None = None,
    pool: Pool = "model",
) -> None:
    settings = settings or SummarySettings()
    report = run_report(results, settings, pool=pool)
    has_figures = any(name.startswith(f"{folder.name}/") for name in FIGURES)
    report.write(folder, None if has_figures else WHOLE_FORMATS)
    _print(folder / "terminal.txt", report.document)


def _every_metric() -> list[RunResult]:
    results = [full_run(text, seed, tokens=6) for seed, text in enumerate(_TEXTS[:5])]
    for result in results:
        assert result.get(SkipEffects) is not None
        assert result.get(LogitLens) is not None
        result.get(SkipEffects).positions = (1, 3)
        result.get(DirectEffects).positions = (1, 3)
        # A random KL does not fall: this one gives its rule a layer and an interval.
        result.get(LogitLens).kl[1] /= 2
        result.get(LogitLens).kl[2:] /= 4
    return [_exact(result) for result in results]


def _runs(folder: Path) -> None:
    """Five prompts with every metric."""
    _write_runs(_every_metric(), folder)


def _runs_without_first_token(folder: Path) -> None:
    """Fewer prompts than intervals need, pooled by other settings."""
    settings = SummarySettings(0.75, 0.5, include_first_token=False, seed=7)
    _write_runs(_every_metric()[:2], folder, settings)


def _runs_through_a_lens(folder: Path) -> None:
    """Three prompts through a fitted lens that reads one depth worse than the logit lens."""
    model = model_info(ModelSpec("nobody/tiny"), 5)
    results = [full_result(Prompt(text), model, RunSettings(lens_top_k=3)) for text in _TEXTS[:3]]
    for result in results:
        lens = smooth_lens(AffineLens, result)
        lens.held_out_kl[1] = lens.logit_held_out_kl[1] + 1
        result.put("affine_lens", lens)
    settings = SummarySettings(lens="affine")
    _write_runs([_exact(result) for result in results], folder, settings)


def _session(folder: Path) -> None:
    """Typed prompts of another length, a task, a stopped run, and another model."""
    model, other = (model_info(ModelSpec(f"nobody/{name}"), 5) for name in ("tiny", "other"))
    settings = RunSettings(lens_top_k=1, metrics=("contributions", "logit_lens", "ablation"))
    prompts = [
        Prompt("Ferries go to Paris"),
        Prompt("12 + 13 = 25", " 25", "addition", "2"),
        Prompt("Water boils. " * 8, task="file"),
        Prompt("21 + 13 = 34", " 34", "addition", "2"),
    ]
    results = [full_result(prompt, model, settings) for prompt in prompts]
    half = full_result(Prompt("An octopus has arms"), model, settings)
    results.append(half_run(lacking(half, "ablation"), 2))
    results.append(full_result(prompts[0], other, settings))
    _write_runs([_exact(result) for result in results], folder, pool="task")


def _runs_of_two_models(folder: Path) -> None:
    """One of the paper's models, beside another in 8 bits that wraps prompts in its template."""
    spec = ModelSpec("Qwen/Qwen2.5-7B-Instruct", revision="0123456789abcdef")
    paper = model_info(spec, 28)
    other = model_info(ModelSpec("nobody/parallel"), 3, parallel=True, quantize="8bit")
    prompt = Prompt(f"{_TEXTS[4]}, {_TEXTS[5]}, {_TEXTS[0]}", " Paris", "commonsense", "2")
    wrapped = RunSettings(lens_top_k=3, chat_template=True)
    results = [
        full_result(prompt, paper, RunSettings(lens_top_k=3)),
        full_result(prompt, other, wrapped, cached=True),
    ]
    _write_runs([_exact(result) for result in results], folder)


def _lacking_runs(folder: Path) -> None:
    """Runs that were stopped, that lack a part, or a metric that was asked for."""
    metrics = ("contributions", "logit_lens", "residual_erasure", "integrated_gradients")
    prompt, settings = Prompt(" ".join(_TEXTS[1:4])), RunSettings(lens_top_k=3)
    kinds = (
        ("no-split", settings, {"split_missing": "the layers cannot be taken apart"}),
        ("no-lens", settings, {"lens_missing": "there is no unembedding"}),
        ("no-answer", replace(settings, metrics=metrics), {}),
        ("no-depths", replace(settings, metrics=(*settings.metrics, "similarity")), {}),
    )
    results = [
        full_result(prompt, model_info(ModelSpec(name), 3, **changes), wanted)
        for name, wanted, changes in kinds
    ]
    only = replace(results[-1].settings, metrics=("similarity",))
    results[-1] = lacking(replace(results[-1], settings=only), "contributions", "logit_lens")
    # Of the model whose runs were all stopped, the stopped one is shown; of the other, left out.
    beside = stopped_run("stopped beside a finished one")
    beside = replace(beside, model=results[0].model, settings=settings)
    _write_runs([_exact(result) for result in (*results, beside, stopped_run())], folder)


def _shortest_runs(folder: Path) -> None:
    """One token, which is left out of the means; two models of one name; unknown parameters."""
    unknown = {"layer_parameters": (), "attention_parameters": (), "mlp_parameters": ()}
    model = model_info(ModelSpec("nobody/tiny"), 2, **unknown)
    clean = RunSettings(lens_top_k=1)
    changed = replace(clean, skipped=(Skip(1),))
    variants = ((model, clean), (model, changed), (replace(model, dtype="bfloat16"), clean))
    results = [full_result(Prompt("Yes"), *variant) for variant in variants]
    settings = SummarySettings(include_first_token=False)
    _write_runs([_exact(result) for result in results], folder, settings)


def _hybrid(folder: Path) -> None:
    """A model that mixes mamba with full attention, and one whose layers differ in two ways."""
    metrics = ("contributions", "logit_lens", "ablation", "skip_effects", "similarity", "heads")
    settings = RunSettings(lens_top_k=2, metrics=metrics)
    types = ("mamba", "mamba", "full attention") * 2
    parts = ("convolution, dense", "convolution, experts", "full attention, experts")
    models = (
        model_info(ModelSpec("nobody/hybrid"), 6, layer_types=types),
        model_info(ModelSpec("nobody/mixture"), 3, layer_types=parts),
    )
    results = [full_result(Prompt(_TEXTS[0]), model, settings) for model in models]
    _write_runs([_exact(result) for result in results], folder)


def _hostile_result() -> RunResult:
    """Texts that try to be markup, HTML, control sequences or formulas."""
    texts = [text for text in HOSTILE.values() if len(text) < 40]
    types = ("=[/]<b>|`\x1b[2J", "\u202e層")
    model = model_info(ModelSpec("hostile"), 2, name="=[/]<b>|`\x1b[2J\ud83d", layer_types=types)
    prompt = Prompt(" ".join(["x"] * len(texts)))
    result = full_result(prompt, model, RunSettings(lens_top_k=2))
    result.prompt = Prompt("\n".join(texts))
    result.tokens = PromptTokens(result.tokens.ids, texts, len(texts) - 2)
    assert result.get(LogitLens) is not None
    result.get(LogitLens).vocabulary.update(enumerate(texts[:10]))
    return _exact(result)


def _hostile_run(folder: Path) -> None:
    """Hostile texts in a run."""
    _write_runs([_hostile_result()], folder)


def _hostile_sweep(folder: Path) -> None:
    """Hostile texts in a sweep."""
    result = _hostile_result()
    cell = Cell(ModelSpec("=<b>[/]|\x1b[2J"), TaskChoice("@task<b>|[/]", data="x.txt"))
    failure = Failure.of(cell, 1, "It is <b>too</b> [bold]long.")
    plan = SweepPlan((cell.model,), (cell.task,))
    _write_sweep(Outcome(plan, {cell: [record_of(result, "key", cell, 0)]}, [failure]), folder)


def _pairs(texts: Iterable[str], n_layers: int, skipped: tuple[Skip, ...]) -> list[RunResult]:
    model = model_info(ModelSpec("nobody/tiny"), n_layers)
    clean = RunSettings(lens_top_k=3, metrics=("contributions", "logit_lens", "ablation"))
    return [
        _exact(full_result(Prompt(text, text[-6:], "commonsense", "2"), model, settings))
        for text in texts
        for settings in (clean, replace(clean, skipped=skipped))
    ]


def _what_if(folder: Path) -> None:
    """Three prompts, clean and without layers and a sublayer."""
    skipped = (Skip(0), Skip(2), Skip(3), Skip(4, "mlp"))
    _write_runs(_pairs(_TEXTS[:3], 5, skipped), folder)


def _what_if_of_one_prompt(folder: Path) -> None:
    """One prompt, too short for a verdict, of which the output is told too."""
    _write_runs(_pairs(["To Paris"], 3, (Skip(1, "attention"),)), folder)


def _written(folder: Path) -> None:
    """A text that settles later and later, one that was drawn and thinks, a stopped one."""
    model = model_info(ModelSpec("nobody/tiny"), 6)
    drawn = Writing(12, temperature=0.75, top_k=20, top_p=0.5, seed=5)
    prompts = [
        written_prompt(Prompt("What floats?"), Writing(40)),
        written_prompt(Prompt("Why? <think>"), drawn, stopped_by="end"),
        written_prompt(Prompt("A little"), Writing(1), stopped_by="user"),
    ]
    settings = with_settling(RunSettings(lens_top_k=2))
    results = [_exact(full_result(prompt, model, settings)) for prompt in prompts]
    rising = results[0].get(Settling)
    assert rising is not None
    depths, n_tokens = np.arange(model.n_layers + 1), rising.divergence.shape[1]
    settles = 4 * np.arange(n_tokens) // n_tokens + np.arange(n_tokens) % 3
    rising.divergence[:] = np.where(depths[:, None] < settles, 0.625, 0)
    _write_runs(results, folder)


# Ratios of powers of two are exact, so BLAS may add their differences in any order.
_SWEEP_MODELS = (("Qwen/Qwen2.5-32B", 64), ("nobody/small", 16))
_SWEEP_TASKS = (
    TaskChoice("gsm8k", data="gsm8k.json", examples=6),
    TaskChoice("commonsense", examples=6),
    *(TaskChoice("addition", str(level), examples=6) for level in (1, 2, 3)),
)
_SWEEP_RUN = RunSettings(
    metrics=("contributions", "logit_lens", "settling", "skip_effects"), skip_everywhere=True
)


def _sweep(folder: Path) -> None:
    """Two models on five cells each, with everything that can be missing or doubted."""
    models = [
        model_info(ModelSpec(name), layers, parameters=layers * 1_000_000)
        for name, layers in _SWEEP_MODELS
    ]
    absent = ModelSpec("nobody/absent", quantize="4bit")
    plan = SweepPlan((*(model.spec for model in models), absent), _SWEEP_TASKS, _SWEEP_RUN)
    records = {
        Cell(model.spec, task): _records(model, task) for model in models for task in _SWEEP_TASKS
    }
    doubted, short, unrun = (Cell(models[1].spec, task) for task in _SWEEP_TASKS[:3])
    records[doubted][0] = replace(
        records[doubted][0], model=replace(models[1], fingerprint="0" * 16)
    )
    records[short] = records[short][:3]
    records[unrun] = []
    failures = [
        Failure("nobody/absent, 4bit", "", None, "There is no such model."),
        Failure.of(short, 3, "The prompt is too long."),
    ]
    _write_sweep(Outcome(plan, records, failures), folder)


def _records(model: ModelInfo, task: TaskChoice) -> list[Record]:
    cell = Cell(model.spec, task)
    records = []
    for number in range(task.examples):
        # A prompt's length seeds the noise of its result.
        text = f"{task.title}: {_TEXTS[number]} {'m' * (2 * number + 1)}."
        prompt = Prompt(text, text[-4:], task.name, task.level)
        result = full_result(prompt, model, _SWEEP_RUN)
        assert result.get(LogitLens) is not None
        if task.level:
            # Harder levels need more layers, by the KL rule; by the overlap rule none is enough.
            late = np.arange(model.n_layers + 1) < 2 + 2 * int(task.level) + number % 2
            result.get(LogitLens).kl[:] = np.where(late, 4, 1)[:, None]
            result.get(LogitLens).overlap[:-1] = 0.25
        records.append(record_of(_exact(result), f"key {number}", cell, number))
    return records


def _empty_sweep(folder: Path) -> None:
    """A sweep in which nothing could be run."""
    plan = SweepPlan((ModelSpec("nobody/absent"),), (TaskChoice("facts", "1"),))
    failure = Failure("nobody/absent", "", None, "There is no such model.")
    _write_sweep(Outcome(plan, {}, [failure]), folder)


def _write_sweep(outcome: Outcome, folder: Path) -> None:
    summary = summarise_sweep(outcome)
    report = sweep_report(summary, questions(summary))
    report.write(folder)
    _print(folder / "terminal.txt", report.document)


def _card_of_parts(folder: Path) -> None:
    """The card of a model that was written without three parts, which a gate chose."""
    info = model_info(ModelSpec("nobody/small"), 8, revision="1a2b3c4", name="small")
    gate = Gate("kl", 0.5)
    order, kl = [6, 15, 8, 0], np.array([0.0, 0.125, 0.25, 0.375, 0.75])
    alike, prompts = np.zeros((8, 1)), np.arange(8.0)
    guess, tokens = np.full(8, 3.0), np.full(8, 5)
    choosing = LeftOutCosts(alike + kl, alike + 1, alike + 2, alike + np.nan, guess, tokens, tokens)
    right = np.array([[1.0] * 5, [1.0, 1.0, 1.0, 0.0, 0.0], *[[1.0] * 5] * 6])
    held_out = LeftOutCosts(
        np.outer(prompts / 8, kl / 0.375),
        np.tile([1, 0.75, 0.75, 0.75, 0.75], (8, 1)),
        2 + np.outer(prompts / 16, kl / 0.375),
        right,
        guess,
        tokens,
        tokens,
    )
    by = Choosing(gate, choosing, "8 texts that the model writes itself", "8 held-out prompts")
    choice = LayerChoice(order, 3, info.n_layers, "part", held_out, gate.option, "greedy", by)
    parts = NumberedParts.of(choice.left_out)
    folder.mkdir()
    pruned = PrunedModel(folder, tuple(range(info.n_layers)), info.parameters, 0.0, parts)
    command = "depthtui prune nobody/small --parts --keep kl=0.5"
    pruning = Pruning(info, choice, [mock.sentinel.prompt] * 8)
    write_card(pruning, pruned, folder, command)


def _diff(folder: Path) -> None:
    """Two recordings: with a fault, without one, in blocks, broken, hostile, of other tokens."""
    folder.mkdir()
    forms = ("layer_{l} as the stream after layer l", "{l}_attn as the attention's write")
    writes = [WriteDifference("stream", 0, -1, 0.0, 0.0)]
    for layer in range(6):
        off, floor = 0.002 * (layer + 1), 0.0081 * (layer + 1)
        for part in ("attention", "mlp", "layer"):
            writes.append(WriteDifference(part, layer, layer, off, floor))
    same = StreamDiff(forms, "bfloat16", 40, writes)
    fault = replace(writes[10], off=0.3149, floor=0.0042, token=3)
    later = [replace(write, off=0.5, floor=1.25) for write in writes[11:]]
    remarks = ("a/ alone has the stream at depth 7.",)
    blocks = [replace(write, part="layer", last=write.first + 2) for write in writes[1::6]]
    blocks[2] = replace(blocks[2], off=1.0, floor=0.1, token=0)
    single = replace(fault, token=2, stray=tuple(range(2, 37, 3)))
    beside = replace(writes[12], off=0.5, token=12, beside_parts=True)
    hostile = " ".join(HOSTILE.values())
    broken = f"{hostile} has nan at token 7, no number up to 1e+30"
    cases = {
        "fault": replace(same, writes=[*writes[:10], fault, *later], remarks=remarks),
        "single-tokens": replace(same, writes=[*writes[:10], single]),
        "same": same,
        "identical": replace(same, forms=(forms[0],) * 2, writes=writes[:1], is_equal=True),
        "blocks": replace(same, writes=blocks),
        "beside-its-parts": replace(same, writes=[*writes[:12], beside]),
        "first-state": replace(same, writes=[replace(writes[0], last=2, off=0.1, token=0)]),
        "hostile": StreamDiff(
            (hostile, forms[1]),
            "float32",
            40,
            [*writes[:5], replace(writes[5], broken=broken, token=7)],
            [hostile],
        ),
        "other-tokens": StreamDiff(forms, other_ids="The token ids differ, the first at token 5."),
    }
    for name, diff in cases.items():
        (folder / f"{name}.md").write_bytes(markdown_bytes(diff_document(diff)))
    (folder / "every-layer.md").write_bytes(markdown_bytes(diff_document(same, every_layer=True)))
    (folder / "fault.json").write_text(json.dumps(diff_json(cases["fault"]), indent=1) + "\n")
    _print(folder / "terminal.txt", lambda: diff_document(cases["fault"]))
    _print(folder / "hostile.txt", lambda: diff_document(cases["hostile"]))


CASES: dict[str, Callable[[Path], None]] = {
    "card-of-parts": _card_of_parts,
    "runs": _runs,
    "runs-without-first-token": _runs_without_first_token,
    "runs-through-a-lens": _runs_through_a_lens,
    "session": _session,
    "runs-of-two-models": _runs_of_two_models,
    "lacking-runs": _lacking_runs,
    "shortest-runs": _shortest_runs,
    "hybrid": _hybrid,
    "hostile-run": _hostile_run,
    "hostile-sweep": _hostile_sweep,
    "what-if": _what_if,
    "what-if-of-one-prompt": _what_if_of_one_prompt,
    "written": _written,
    "sweep": _sweep,
    "empty-sweep": _empty_sweep,
    "diff": _diff,
}
"""The cases by the folder of their files."""
