"""`analyze` measures what the engine does, and says what it cannot take."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertForMaskedLM
from transformers.utils import logging

from depthtui import Prompt, Writing, analyze
from depthtui.data.arrays import arrays_of
from depthtui.data.run_settings import ModelSpec, RunSettings
from depthtui.data.store import open_store
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError
from depthtui.manual import source
from depthtui.metrics.needed_settings import with_lengths_before
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.models.in_memory import adopt
from depthtui.prompts.tasks import baseline_texts
from tests.tiny_models import tiny_folder

pytestmark = pytest.mark.usefixtures("short_texts")

PROMPTS = (
    Prompt(
        "The ferry did not run, and seven plus five is twelve.",
        " twelve.",
        contrast="The river did not run, and seven plus five is seven.",
    ),
    Prompt(
        "She wound the clock, closed the shutters and went up to bed.",
        " bed.",
        contrast="She wound the ferry, closed the shutters and went up to river.",
    ),
)
ALL = tuple(METRIC_BY_NAME)
SOME = ("contributions", "logit_lens", "skip_effects", "ablation")
"""Of the pass, of the lens, of the prompts before, and of replayed layers."""

HAD = METRIC_BY_NAME.keys() - {
    "jacobian_lens",
    "experts",
    "adapter",
    "engine_distance",
    "task_guess",
}
"""What a run here of a dense model has, without a lens that is never fitted unasked."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture
def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def engine_runs(folder, tmp_path, metrics):
    engine = Engine(
        open_store(None, 0, pytest.fail),
        tmp_path,
        lambda event: None,
        baseline_texts=baseline_texts,
    )
    engine.load(ModelSpec(str(folder), device="cpu"))
    settings, runs = RunSettings(metrics=metrics), []
    for prompt in PROMPTS:
        runs.append(engine.run(prompt, with_lengths_before(settings, runs)))
    return runs


def assert_same(runs, others, metrics):
    for run, other in zip(runs, others, strict=True):
        assert run.prompt == other.prompt
        assert run.measured.keys() == other.measured.keys() == HAD & {*metrics}
        for name, result in run.measured.items():
            if METRIC_BY_NAME[name].is_timed:
                continue
            for (field, a), (_, b) in zip(
                arrays_of(result), arrays_of(other.measured[name]), strict=True
            ):
                np.testing.assert_array_equal(a, b, err_msg=f"{name}.{field}")


@pytest.mark.parametrize(
    "metrics", [SOME, pytest.param(ALL, marks=pytest.mark.by_hand)], ids=["some", "all"]
)
def test_a_named_and_a_loaded_model_give_what_the_engine_gives(folder, loaded, tmp_path, metrics):
    expected = engine_runs(folder, tmp_path, metrics)
    assert_same(analyze(folder, PROMPTS, metrics=metrics, progress=False), expected, metrics)
    model, tokenizer = loaded
    runs = analyze(model, PROMPTS, tokenizer, metrics=",".join(metrics), progress=False)
    assert_same(runs, expected, metrics)


def test_what_a_loaded_model_is_called_and_is(folder, loaded):
    named = analyze(str(folder), "Seven.", progress=False).model
    info = analyze(*loaded[:1], "Seven.", loaded[1], progress=False).model
    alike = (
        "name architecture n_layers d_model vocab_size parameters context_length dtype device "
        "memory_bytes has_chat_template layer_parameters attention_parameters mlp_parameters"
    )
    for field in alike.split():
        assert getattr(info, field) == getattr(named, field), field
    assert info.source.startswith("in memory")
    assert info.fingerprint == ""
    assert analyze(loaded[0], "Seven.", loaded[1], name="step 9", progress=False).model.name == (
        "step 9"
    )


def test_results_of_a_named_model_are_cached_as_those_of_the_command_line(folder):
    first, again = (analyze(folder, "Seven plus five.", progress=False)[0] for _ in range(2))
    assert not first.provenance.cached
    assert again.provenance.cached
    assert not analyze(folder, "Seven plus five.", use_cache=False, progress=False)[
        0
    ].provenance.cached


def test_nothing_is_cached_of_a_model_without_a_fingerprint(make_model, tokenizer, tmp_path):
    store = open_store(tmp_path / "results", 1 << 30, pytest.fail)
    engine = Engine(store, tmp_path, lambda event: None)
    entropies = []
    for scale in (1.0, 1.1):
        model = make_model()
        model.lm_head.weight.mul_(scale)
        engine.use(adopt(model, tokenizer))
        run = engine.run(PROMPTS[0], RunSettings())
        assert not run.provenance.cached
        entropies.append(run.measured["logit_lens"].entropy)
    assert not np.allclose(*entropies)
    assert store.info().entries == 0


def test_after_a_model_in_memory_a_named_one_is_cached(folder, make_model, tokenizer, tmp_path):
    store = open_store(tmp_path / "results", 1 << 30, pytest.fail)
    engine = Engine(store, tmp_path, lambda event: None)
    engine.use(adopt(make_model(), tokenizer))
    engine.load(ModelSpec(str(folder), device="cpu"))
    assert not engine.run(PROMPTS[0], RunSettings()).provenance.cached
    assert engine.run(PROMPTS[0], RunSettings()).provenance.cached


def test_options_are_those_of_the_command_line(make_model, tokenizer):
    runs = analyze(
        make_model(),
        "Seven plus five is twelve.",
        tokenizer,
        ["logit_lens"],
        lens_top_k=3,
        kl_threshold=0.9,
        include_first_token=False,
        skipped=[1],
        progress=False,
    )
    assert runs[0].logit_lens.top_ids.shape[-1] == 3
    assert runs[0].settings.skipped[0].layer == 1
    assert runs.settings.kl_threshold == 0.9
    assert runs.depths()["kl"].threshold == 0.9


def test_the_settings_file_says_what_is_not_given(make_model, tokenizer, tmp_path):
    (tmp_path / "settings.toml").write_text("lens_top_k = 4\nkl_threshold = 0.25\n")
    runs = analyze(make_model(), "Seven plus five.", tokenizer, progress=False, kl_threshold=0.75)
    assert runs[0].logit_lens.top_ids.shape[-1] == 4
    assert runs.settings.kl_threshold == 0.75


def test_a_prompt_that_cannot_be_run_costs_itself_alone(make_model, tokenizer):
    texts = ["Seven.", "seven " * 300, "Twelve."]
    with pytest.warns(UserWarning, match=r"Prompt 1 was left out: The prompt has .* tokens"):
        runs = analyze(make_model(), texts, tokenizer, progress=False)
    assert [run.prompt.text for run in runs] == ["Seven.", "Twelve."]
    assert list(runs.failures) == [1]
    with pytest.raises(DepthError, match="reads at most 256"):
        analyze(make_model(), texts[1:2] * 2, tokenizer, progress=False)


def test_a_metric_that_no_prompt_can_have_is_told(make_model, tokenizer):
    model, metrics = make_model(), ("contributions", "ablation", "integrated_gradients")
    reason = r"Integrated gradients is unavailable on all 2 prompts: the prompt has no known answer"
    with pytest.warns(UserWarning, match=reason):
        runs = analyze(model, ["Seven.", "Twelve."], tokenizer, metrics, progress=False)
    with pytest.raises(AttributeError, match="the prompt has no known answer"):
        _ = runs.integrated_gradients


def test_a_lens_that_cannot_be_had_says_why(make_model, tokenizer):
    model = make_model()
    with torch.no_grad():
        # One product alone, so that the logit is infinite and still a number.
        model.get_output_embeddings().weight[5, 0] = float("inf")
    with pytest.warns(UserWarning, match="Logit lens is unavailable: final norm and LM head"):
        runs = analyze(model, "Seven.", tokenizer, progress=False)
    with pytest.raises(AttributeError, match="final norm and LM head do not reproduce"):
        _ = runs[0].logit_lens


def test_progress_is_shown_unless_it_is_switched_off(make_model, tokenizer, capsys):
    analyze(make_model(), ["Seven.", "Twelve."], tokenizer)
    assert "2/2" in capsys.readouterr().err
    analyze(make_model(), ["Seven.", "Twelve."], tokenizer, progress=False)
    assert capsys.readouterr().err == ""


def test_the_libraries_are_afterwards_as_talkative_as_before(folder):
    filters = list(warnings.filters)
    logging.set_verbosity_info()
    try:
        logging.enable_progress_bar()
        analyze(folder, "Seven.", progress=False)
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
    assert warnings.filters == filters


def compiled(model):
    return torch.compile(model)


def compiled_in_place(model):
    model.compile()
    return model


def compiled_forward(model):
    model.forward = torch.compile(model.forward)
    return model


def compiled_layer(model):
    model.model.layers[1] = torch.compile(model.model.layers[1])
    return model


@pytest.mark.parametrize("prepare", [compiled, compiled_in_place, compiled_forward, compiled_layer])
def test_a_compiled_model_is_refused(make_model, tokenizer, prepare):
    with pytest.raises(DepthError, match=r"compiled.* as it was before torch\.compile"):
        analyze(prepare(make_model()), "Seven.", tokenizer, progress=False)


def test_a_sharded_model_is_refused(make_model, tokenizer):
    from torch.distributed import HashStore, destroy_process_group, init_process_group
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        model = make_model()
        for layer in model.model.layers:
            fully_shard(layer, mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(DepthError, match="sharded over processes"):
            analyze(model, "Seven.", tokenizer, progress=False)
    finally:
        destroy_process_group()


@pytest.mark.parametrize("mark", ["ds_id", "_is_flat_param"])
def test_a_parameter_of_deepspeed_or_fsdp_is_known_by_its_mark(make_model, tokenizer, mark):
    model = make_model()
    setattr(model.model.layers[3].mlp.up_proj.weight, mark, 1)
    with pytest.raises(DepthError, match="sharded over processes"):
        analyze(model, "Seven.", tokenizer, progress=False)


def test_what_is_no_model_is_refused(make_model, tokenizer, loaded):
    model = make_model()
    masked = BertForMaskedLM(
        BertConfig(
            vocab_size=99,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
        )
    )
    for wrong, words in (
        (None, "this is a NoneType"),
        (torch.nn.DataParallel(model), r"DataParallel.*model\.module"),
        (model.model, "LlamaModel is no causal language model"),
        (masked, "BertForMaskedLM is no causal language model"),
        (make_model().to("meta"), "has no weights"),
    ):
        with pytest.raises(DepthError, match=words):
            analyze(wrong, "Seven.", tokenizer, progress=False)


def test_a_name_that_means_nothing_is_refused():
    with pytest.raises(DepthError, match="no/such-model"):
        analyze("./no/such-model", "Seven.", progress=False)


def test_a_tokenizer_belongs_to_a_loaded_model_alone(make_model, tokenizer, folder):
    with pytest.raises(DepthError, match="needs its tokenizer"):
        analyze(make_model(), "Seven.")
    with pytest.raises(DepthError, match=r"transformers but a SimpleNamespace.*processor\.tok"):
        analyze(make_model(), "Seven.", SimpleNamespace(tokenizer=tokenizer))
    with pytest.raises(DepthError, match="brings its own tokenizer"):
        analyze(folder, "Seven.", tokenizer)


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([], "There is no prompt"),
        ("", "Prompt 0 is empty"),
        (["Seven.", ""], "Prompt 1 is empty"),
        (["Seven.", 7], "Prompt 1 is no text but a int"),
        (Prompt("Seven.", "Eight."), "answer of prompt 0 is not the end"),
    ],
)
def test_prompts_of_no_text_are_refused_before_a_model_is_looked_for(prompts, words):
    with pytest.raises(DepthError, match=words):
        analyze("no/such-model", prompts)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"metrics": "logit_lense"}, "no metric named logit_lense.*logit_lens.*settling"),
        ({"top_q": 5}, "There is no option top_q.*lens_top_k"),
        ({"metrics": ["logit_lens"], "lengths_before": (1,)}, "no option lengths_before"),
        ({"lens_top_k": 0}, "lens_top_k must be a whole number .*, not 0"),
        ({"lens_top_k": "many"}, "lens_top_k must be a whole number .*, not 'many'"),
        ({"dtype": "float64"}, "dtype must be .*, not 'float64'"),
        ({"device": "tpu"}, "device must be auto, cpu"),
        ({"skipped": [9]}, "There is no layer 9"),
    ],
)
def test_a_wrong_keyword_is_named(folder, keywords, words):
    with pytest.raises(DepthError, match=words):
        analyze(folder, "Seven.", progress=False, **keywords)


@pytest.mark.parametrize("option", [{"device": "cpu"}, {"dtype": "auto"}, {"use_cache": True}])
def test_how_to_load_is_no_option_of_a_loaded_model(make_model, tokenizer, option):
    with pytest.raises(DepthError, match="only for a model that is loaded by name"):
        analyze(make_model(), "Seven.", tokenizer, progress=False, **option)


def test_what_the_manual_shows_runs(folder, tmp_path):
    code = source("python").partition("```python\n")[2].partition("```")[0]
    # No model of the hub, and nothing is written beside the sources.
    for shown, here in (
        ("demo", folder),
        ("Qwen/Qwen2.5-1.5B-Instruct", folder),
        ("summary/", tmp_path),
    ):
        assert f'"{shown}"' in code
        code = code.replace(f'"{shown}"', repr(str(here)))
    exec(code, {})
    assert (tmp_path / "summary.html").is_file()


def test_a_model_writes_the_answers_first(loaded):
    model, tokenizer = loaded
    options = {"progress": False, "metrics": "logit_lens"}
    (run,) = analyze(model, PROMPTS[0], tokenizer, write=Writing(max_tokens=4), **options)
    assert run.prompt.question == PROMPTS[0].question
    assert len(run.prompt.written.ids) == 4
    (again,) = analyze(model, run.prompt, tokenizer, **options)
    assert again.tokens.ids.tolist() == run.tokens.ids.tolist()
    for name, values in arrays_of(again.logit_lens):
        np.testing.assert_array_equal(values, getattr(run.logit_lens, name))
