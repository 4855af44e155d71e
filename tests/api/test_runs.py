"""What `analyze` returns: arrays, depths, frames, reports."""

import copy
import itertools
import subprocess
import sys
from html import unescape

import numpy as np
import pytest

from depthtui import Prompt, Runs, analyze
from depthtui.data.arrays import arrays_of
from depthtui.depth import rules
from depthtui.errors import DepthError
from depthtui.metrics.registry import METRIC_BY_NAME
from tests.builders.answers import answered_runs
from tests.builders.results import lacking
from tests.hostile import HOSTILE, HOSTILE_PROMPT
from tests.tiny_models import tiny_folder

TEXTS = [
    Prompt(
        "The ferry did not run, and seven plus five is twelve.",
        " twelve.",
        contrast="The river did not run, and seven plus five is seven.",
    ),
    Prompt("She wound the clock."),
]


@pytest.fixture(scope="module")
def runs():
    from tests.tiny_models import draw_weights, fresh, tiny_tokenizer

    tokenizer = tiny_tokenizer()
    model = fresh("llama")
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    draw_weights(model, seed=1)
    return analyze(model, TEXTS, tokenizer, METRIC_BY_NAME, name="tiny", progress=False)


def test_right_answers_are_counted():
    answers = Runs(answered_runs(at=5)).right_answers()
    assert answers.lead is answers.chosen
    assert (answers.lead.n_right, answers.lead.questions) == (34, 50)
    assert answers.lead.without_first(4).lost == 0
    assert answers.lead.without_first(5).words().startswith("lost 4, gained 1 of 50: 6 points")
    assert answers.written.n_right == 34
    assert (
        Runs([lacking(run, "accuracy") for run in answered_runs(2, 0, 0, 0)]).right_answers()
        is None
    )


def test_they_are_a_sequence(runs):
    assert len(runs) == 2
    assert [run.prompt for run in runs] == TEXTS
    assert runs[-1] is runs[1]
    assert isinstance(runs[1:], Runs)
    assert [run.prompt for run in runs[1:]] == TEXTS[1:]
    assert runs.model.name == "tiny"


def test_arrays_are_attributes(runs):
    lens = runs[0].measured["logit_lens"]
    assert runs[0].logit_lens is lens
    assert runs.logit_lens == [run.measured["logit_lens"] for run in runs]
    assert runs.residual_erasure == [runs[0].residual_erasure, None]
    assert {"logit_lens", "residual_erasure"} <= set(dir(runs)) & set(dir(runs[0]))
    assert "residual_erasure" not in dir(runs[1])


def test_layers_to_keep_high(runs):
    layers = runs.layers_to_keep_high()
    parts = [run.quantisation for run in runs]
    kl = np.concatenate([part.kl_4 for part in parts], axis=1).mean(axis=1)
    assert layers.layers == tuple(np.argsort(-kl)[: len(layers.layers)])
    assert layers.share == pytest.approx(kl[list(layers.layers)].sum() / kl.sum(), rel=1e-5)
    assert layers.share >= 0.5 > layers.share - kl[layers.layers[-1]] / kl.sum()
    assert runs[0].quantisation.keep_high.option.startswith("--tensor-type")


def test_what_is_not_there_says_why(runs):
    with pytest.raises(AttributeError, match="no residual_erasure: the prompt has no known answer"):
        _ = runs[1].residual_erasure
    with pytest.raises(AttributeError, match="no attribute 'logits'"):
        _ = runs[0].logits
    with pytest.raises(AttributeError, match="no attribute 'logits'"):
        _ = runs.logits
    few = copy.deepcopy(runs)
    for run in few:
        run.drop(["ablation"])
    with pytest.raises(AttributeError, match="no ablation: it was not asked for"):
        _ = few.ablation
    assert not hasattr(few, "ablation")


def test_depths_have_count_layer_ratio_and_interval(runs, make_model, tokenizer):
    depths = runs.depths()
    assert list(depths) == [rule.name for rule in rules.ALL]
    # The tiny model does not answer rightly.
    assert depths.pop("margin").layer is None
    for depth in depths.values():
        assert depth.layer is not None
        assert depth.count == depth.layer + 1
        assert depth.ratio == depth.count / 4
        assert depth.interval is None
    five = analyze(make_model(), [f"{n} plus five." for n in range(5)], tokenizer, progress=False)
    assert any(depth.interval for depth in five.depths().values())


def test_the_verdict_is_a_sentence_with_its_evidence(runs):
    verdict = runs.verdict()
    assert verdict.n_layers == 4
    assert str(verdict.n_layers) in verdict.sentence
    counts = {measure.measure: measure.count for measure in verdict.evidence}
    depths = {rule: depth.count for rule, depth in runs.depths().items()}
    assert counts.items() >= depths.items()


def test_without_a_layer_there_is_no_count(make_model, tokenizer):
    runs = analyze(make_model(), "Seven plus five.", tokenizer, kl_threshold=0.0, progress=False)
    depth = runs.depths()["kl"]
    assert (depth.layer, depth.count, depth.ratio) == (None, None, None)
    assert "never falls" in depth.reason
    assert "KL –" in repr(runs)


def test_a_frame_has_a_row_for_each_place(runs):
    frame = runs.to_dataframe("logit_lens")
    assert set(frame.metric) == {"logit_lens"}
    kl = frame[frame.measure == "kl"]
    assert len(kl) == sum(5 * len(run.tokens) for run in runs)
    for number, run in enumerate(runs):
        values = kl[kl.prompt == number].pivot(index="depth", columns="token", values="value")
        np.testing.assert_array_equal(values.to_numpy(), run.logit_lens.kl)
    assert kl.text.iloc[1] == "·fer"


def test_frames_have_every_known_value_of_every_array(runs):
    frame = runs.to_dataframe()
    for number, run in enumerate(runs):
        of_run = frame[frame.prompt == number]
        for metric, result in run.measured.items():
            for name, array in arrays_of(result):
                values = of_run[(of_run.metric == metric) & (of_run.measure == name)].value
                unknown = type(result).shapes()[name].unknown_value
                is_known = array == array if array.dtype.kind == "f" else array != unknown
                if array.dtype.kind == "b":
                    is_known[:] = True
                np.testing.assert_array_equal(values, array[is_known], err_msg=f"{metric}.{name}")


@pytest.mark.parametrize(
    ("metric", "measure", "axes"),
    [
        ("similarity", "angular_distance", ["layer", "to_layer"]),
        ("ablation", "loss_change", ["layer", "token", "text"]),
        ("logit_lens", "top_ids", ["depth", "token", "rank", "text"]),
        ("heads", "sink", ["layer", "head", "token", "text"]),
    ],
)
def test_places_of_a_value_are_columns(runs, metric, measure, axes):
    frame = runs.to_dataframe(metric)
    rows = frame[frame.measure == measure].dropna(axis="columns", how="all")
    keys = ["model", "revision", "dtype", "changes", "task", "level"]
    assert [*rows][:10] == [*keys, "metric", "measure", "group", "prompt"]
    assert {*rows} == {*[*rows][:10], *axes, "value"}
    array = getattr(runs[0].measured[metric], measure)
    row = rows[rows.prompt == 0].iloc[-1]
    assert array[tuple(row[axis] for axis in axes if axis != "text")] == row.value


def test_a_prompt_is_its_index_in_the_runs(runs):
    # Of a prompt that was run twice, only the last run is read.
    again = Runs([runs[1], runs[0], runs[1]])
    for frame in (again.to_dataframe(), again.to_dataframe("logit_lens")):
        tokens = frame[frame.measure == "kl"].dropna(subset="prompt").groupby("prompt").token.max()
        for number, last in tokens.items():
            assert last == len(again[number].tokens) - 1


def test_what_is_read_from_all_runs_is_in_the_frame(runs):
    frame = runs.to_dataframe()
    read = frame[frame.prompt.isna()].set_index(["metric", "measure"])
    kl = runs.depths()["kl"]
    assert read.value["effective_depth", "kl"] == kl.count
    verdict = runs.verdict()
    curve = read.loc[("curves", "kl")].sort_values("depth").value
    assert len(curve) == 5
    assert verdict.evidence[0].measure in read.loc["evidence"].index


def test_layers_of_a_hybrid_have_their_type(make_model, tokenizer):
    hybrid = analyze(make_model("bamba"), "Seven plus five.", tokenizer, progress=False)
    types = ("mamba", "full attention") * 2
    assert hybrid.model.layer_types == types
    frame = hybrid.to_dataframe("contributions")
    assert list(frame.layer_type) == [types[layer] for layer in frame.layer]
    assert "layer_type" not in hybrid.to_dataframe("logit_lens"), "a depth is no layer"
    mamba, attention = hybrid.by_type()
    assert (mamba.name, mamba.layers, attention.layers) == ("mamba", (0, 2), (1, 3))
    ratios = hybrid[0].contributions.layer_norm_ratio
    assert mamba.means["contribution"] == pytest.approx(ratios[[0, 2]].mean(), rel=1e-5)


def test_a_wrong_frame_is_refused(runs):
    with pytest.raises(DepthError, match=r"have no 'kl'.*logit_lens"):
        runs.to_dataframe("logit_lens", "kl")


@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_a_frame_without_its_libraries_names_the_extra(runs, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DepthError, match=rf"needs {library}.*pip install .*\[notebook\]'"):
        runs.to_dataframe("logit_lens")


def test_they_are_written_as_the_command_line_writes_them(runs, tmp_path):
    paths = runs.export(tmp_path / "out", ["json", "html"])
    assert [path.name for path in paths] == ["summary.json", "summary.html"]
    assert all(path.is_file() for path in paths)
    assert runs.export(str(tmp_path), "md", name="mine") == [tmp_path / "mine.md"]
    with pytest.raises(DepthError, match=r"There is no format docx.*safetensors"):
        runs.export(tmp_path, "json,docx")
    with pytest.raises(DepthError, match=r"There is no palette .*pink.*amber"):
        runs.export(tmp_path, "html", palette="pink")


def test_they_are_told_in_two_lines(runs):
    first, second = repr(runs).splitlines()
    assert first.startswith(f"<Runs: 2 prompts, {runs.n_tokens} tokens, tiny; contributions, ")
    assert second.startswith(" effective depth of 4 layers: cosine ")
    assert repr(runs[1]) == f"<Run of {len(runs[1].tokens)} tokens: She wound the clock.>"


def test_hostile_texts_are_shown_harmless(runs):
    bad = copy.deepcopy(runs[0])
    texts = itertools.cycle(HOSTILE.values())
    bad.prompt = Prompt(HOSTILE_PROMPT)
    bad.tokens.texts[:] = [text for text, _ in zip(texts, bad.tokens.texts, strict=False)]
    assert "\x1b" not in repr(bad) + "".join(Runs([bad]).to_dataframe("logit_lens").text)
    assert "<script" not in Runs([bad])._repr_html_()


def test_a_notebook_shows_the_report_in_a_frame_of_its_own(runs):
    html = runs._repr_html_()
    assert html.startswith('<iframe sandbox="" ')
    assert html.endswith("</iframe>")
    assert html.count("<") == 2, "nothing of the report stands outside the frame"
    page = unescape(html.partition('srcdoc="')[2].partition('"')[0])
    assert page.startswith("<!doctype html>")
    assert "<h1>Effective depth</h1>" in page
    assert page.count("<svg") > 5


def test_a_long_report_leaves_its_heatmaps_out_of_the_notebook(runs, monkeypatch):
    monkeypatch.setattr("depthtui.api.runs._MOST_CELLS", 100)
    assert "Heatmaps are left out" in runs._repr_html_()


def test_importing_depthtui_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'pandas', 'numpy', 'textual', 'tqdm'}"
    script = (
        f"import sys, depthtui; assert not {heavy} & set(sys.modules), 'depthtui'\n"
        "from depthtui import analyze, Runs, Prompt\n"
        f"assert not ({heavy} - {{'numpy'}}) & set(sys.modules), 'analyze'\n"
        "assert 'analyze' in depthtui.__all__\n"
        "try: depthtui.analyse\n"
        "except AttributeError: print('fine')"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "fine\n"


def test_a_run_looks_into_its_layers(make_model, tokenizer, tmp_path):
    model = make_model()
    prompt = Prompt("The ferry did not run", " run")
    runs = analyze(model, [prompt], tokenizer, ("contributions",), progress=False)
    page = runs[0].layer(2, token=3)
    assert (page.layer, page.token, len(page.heads)) == (2, 3, 4)
    assert page.closure["heads"] < 1e-5
    assert runs[:][0].layer(1).token == len(runs[0].tokens) - 1
    # A model that was changed meanwhile is read as it is now.
    model.lm_head.weight.data.mul_(2)
    assert runs[0].layer(2, token=3).before.margin == pytest.approx(
        2 * page.before.margin, rel=1e-3
    )
    with pytest.raises(DepthError, match="no layer 4"):
        runs[0].layer(4)


def test_a_run_of_a_named_model_looks_into_its_layers_and_is_a_value(tmp_path):
    folder = tiny_folder(tmp_path)
    runs = analyze(str(folder), ["a ferry"], metrics="contributions", progress=False, device="cpu")
    assert runs[0].layer(0).layer == 0
    copied = copy.deepcopy(runs[0])
    assert copied.prompt == runs[0].prompt
    with pytest.raises(DepthError, match="does not know its model"):
        copied.layer(0)
