"""A loaded model is afterwards as it was, whatever state it is in and however the work ends."""

import dataclasses
from contextlib import suppress

import accelerate
import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from depthtui import Prompt, analyze
from depthtui.data.arrays import arrays_of
from depthtui.errors import DepthError
from depthtui.metrics.registry import METRIC_BY_NAME

pytestmark = pytest.mark.usefixtures("short_texts")

PROMPT = Prompt(
    "The ferry did not run, and seven plus five is twelve.",
    " twelve.",
    contrast="The river did not run, and seven plus five is seven.",
)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


SOME = ("contributions", "logit_lens", "heads", "integrated_gradients", "ablation")
"""Of the pass, of one with weights of attention, of gradients, of replayed layers."""


def measured(model, tokenizer, metrics=tuple(METRIC_BY_NAME)):
    return analyze(model, [PROMPT], tokenizer, metrics, progress=False)


def state(model):
    """All that a run could change, and what a person could see of it."""
    values = {"config": model.config.to_dict(), "attention": model.config._attn_implementation}
    for path, module in model.named_modules():
        values[path, "training"] = module.training
        values[path, "checkpointing"] = getattr(module, "gradient_checkpointing", None)
        values[path, "attributes"] = set(vars(module))
        values[path, "forward"] = vars(module).get("forward")
        for hooks in HOOKS:
            values[path, hooks] = list(getattr(module, hooks).items())
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            gradient = parameter.grad
            values[path, name] = (id(parameter), parameter.requires_grad, id(gradient))
            values[path, name, "values"] = [
                tensor.tolist()
                for tensor in (parameter, gradient)
                if tensor is not None and not tensor.is_meta
            ]
        for name, buffer in module.named_buffers(recurse=False):
            values[path, name] = buffer.tolist()
    return values


def assert_same(one, other, **tolerance):
    assert one.measured.keys() == other.measured.keys()
    for name, result in one.measured.items():
        if METRIC_BY_NAME[name].is_timed:
            continue
        for (field, a), (_, b) in zip(
            arrays_of(result), arrays_of(other.measured[name]), strict=True
        ):
            np.testing.assert_allclose(a, b, err_msg=f"{name}.{field}", **tolerance)


@pytest.fixture(scope="module")
def plain(make_model, tokenizer):
    """The run of a model as it comes from `from_pretrained`."""
    run = measured(make_model(), tokenizer)[0]
    # A Jacobian lens is never fitted unasked.
    assert run.measured.keys() == METRIC_BY_NAME.keys() - {
        "jacobian_lens",
        "experts",
        "adapter",
        "engine_distance",
        "task_guess",
    }
    return run


def in_training(model):
    model.train()
    model.model.layers[1].eval()
    return model


def with_gradients(model):
    with_own_hooks(in_training(model)).requires_grad_(True)
    model.model.layers[2].requires_grad_(False)
    model(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().backward()
    return model


def checkpointing(model):
    model.train().requires_grad_(True)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.enable_input_require_grads()
    return model


def configured(model):
    model.set_attn_implementation("eager")
    model.config.use_cache = False
    model.config.return_dict = False
    model.config.output_hidden_states = True
    model.config.output_attentions = True
    return model


def with_own_hooks(model):
    layer = model.model.layers[1]
    layer.register_forward_hook(lambda module, args, output: None)
    layer.register_forward_pre_hook(lambda module, args: None)
    layer.mlp.register_full_backward_hook(lambda module, inputs, outputs: None)
    model.lm_head.register_forward_hook(lambda module, args, output: None)
    return model


def dispatched(model):
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    places |= {"model.rotary_emb": "cpu"}
    places |= {f"model.layers.{layer}": "cpu" for layer in range(4)}
    return accelerate.dispatch_model(model, places, main_device="cpu", force_hooks=True)


STATES = [
    with_gradients,
    configured,
    dispatched,
    pytest.param(checkpointing, marks=pytest.mark.by_hand),
]


@pytest.mark.parametrize("prepare", STATES)
def test_a_model_is_measured_in_any_state_and_left_in_it(make_model, tokenizer, plain, prepare):
    model = prepare(make_model())
    before = state(model)
    run = measured(model, tokenizer)[0]
    assert state(model) == before
    # Eager attention rounds in its own way.
    tolerance = 1e-4 if prepare is configured else 0
    assert_same(run, plain, rtol=tolerance, atol=tolerance)


def test_dropout_is_off_while_it_is_measured(make_model, tokenizer):
    model = make_model()
    model.model.layers[0].mlp = nn.Sequential(model.model.layers[0].mlp, nn.Dropout(0.5))
    plain = measured(model, tokenizer, SOME)[0]
    assert_same(measured(model.train(), tokenizer, SOME)[0], plain, rtol=0, atol=0)
    assert model.model.layers[0].mlp[1].training


def test_while_it_is_measured_no_parameter_takes_gradients_and_no_module_trains(
    make_model, tokenizer
):
    model = checkpointing(make_model())
    seen = set()

    def look(module, args, output):
        seen.update(weight.requires_grad for weight in model.parameters())
        seen.update(module.training for module in model.modules())

    model.model.layers[2].mlp.register_forward_hook(look)
    measured(model, tokenizer, ("contributions", "integrated_gradients"))
    assert seen == {False}


def test_bfloat16_is_measured_in_bfloat16(make_model, tokenizer, plain):
    model = make_model().bfloat16()
    before = state(model)
    run = measured(model, tokenizer, SOME)[0]
    assert state(model) == before
    assert run.model.dtype == "bfloat16"
    cosine = plain.contributions.layer_cosine
    np.testing.assert_allclose(run.contributions.layer_cosine, cosine, atol=0.05)
    assert not np.array_equal(run.contributions.layer_cosine, cosine)


@pytest.mark.parametrize("trainable", [True, pytest.param(False, marks=pytest.mark.by_hand)])
def test_a_model_that_is_offloaded_by_hand_stays_offloaded(make_model, tokenizer, plain, trainable):
    model = make_model().requires_grad_(trainable)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    before = state(model)
    run = measured(model, tokenizer)[0]
    assert state(model) == before
    assert all(parameter.is_meta for parameter in model.parameters())
    assert run.model.device == "cpu"
    # Direct logits need the weights of the LM head at hand.
    assert plain.measured.keys() - run.measured.keys() <= run.unavailable.keys()
    assert "integrated_gradients" in run.measured
    same_metrics = {name: plain.measured[name] for name in run.measured}
    heads = same_metrics["heads"]
    same_metrics["heads"] = dataclasses.replace(heads, direct=np.full_like(heads.direct, np.nan))
    assert_same(run, dataclasses.replace(plain, measured=same_metrics), rtol=0, atol=0)


def test_training_goes_on_where_it_was(make_model, tokenizer):
    """Two steps with an analysis between them end where two steps without one do."""

    def train(analyses):
        model = in_training(make_model().requires_grad_(True))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        ids = torch.tensor([[5, 6, 7, 8]])
        for step in range(2):
            model(input_ids=ids, labels=ids).loss.backward()
            if analyses:
                measured(model, tokenizer, ("contributions", "logit_lens"))
            optimizer.step()
            if step == 0:
                optimizer.zero_grad()
        return [*model.parameters()]

    for one, other in zip(train(analyses=True), train(analyses=False), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one.grad, other.grad)


def test_own_hooks_are_part_of_what_is_measured(make_model, tokenizer):
    model = make_model()
    plain = measured(model, tokenizer, "logit_lens")[0]
    quiet = model.model.layers[2].mlp.register_forward_hook(
        lambda module, args, output: torch.zeros_like(output)
    )
    changed = measured(model, tokenizer, "logit_lens")[0]
    assert np.array_equal(plain.logit_lens.entropy[2], changed.logit_lens.entropy[2])
    assert not np.allclose(plain.logit_lens.entropy[3], changed.logit_lens.entropy[3])
    quiet.remove()


@pytest.mark.parametrize("call", [1, 2, 3, 5])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_model_is_left_as_it_was(make_model, tokenizer, error, call):
    """The first call is the probe's, the second the pass's, the next are those of the metrics."""
    model = checkpointing(make_model())
    calls = []

    def interrupt(module, args, output):
        calls.append(module)
        if len(calls) == call:
            raise error

    model.model.layers[2].mlp.register_forward_hook(interrupt)
    before = state(model)
    # An error may cost one metric alone, an interrupt ends the work.
    with (
        pytest.raises(KeyboardInterrupt)
        if error is KeyboardInterrupt
        else suppress(error, DepthError)
    ):
        measured(model, tokenizer, ("logit_lens", "ablation", "integrated_gradients"))
    assert len(calls) >= call
    assert state(model) == before


def test_a_rotary_table_that_a_long_prompt_grows_is_no_tensor_of_inference(tokenizer):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=8,
        rope_parameters=rope,
    )
    model = LlamaForCausalLM(config)
    config.max_position_embeddings = 256
    rotary = model.model.rotary_emb
    table = rotary.inv_freq
    measured(model, tokenizer, "contributions")
    assert rotary.inv_freq is not table
    rotary.inv_freq.copy_(table)


def test_inside_inference_mode_gradients_are_taken_all_the_same(make_model, tokenizer):
    model = make_model()
    with torch.inference_mode():
        run = measured(model, tokenizer, "integrated_gradients")[0]
    assert run.integrated_gradients.reached.all()
