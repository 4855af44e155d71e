"""A loaded model runs without some layers, cache included, and is afterwards as it was."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM

from depthtui import without
from depthtui.data.run_settings import ModelSpec
from depthtui.data.store import open_store
from depthtui.engine import surgery
from depthtui.engine.engine import Engine
from depthtui.errors import DepthError
from depthtui.tracing.modules import find_blocks
from tests.api.test_borrowed import state
from tests.tiny_models import LAYERS, fresh, on_few_models, random_ids, tiny, tiny_folder

LAST_WEIGHTS = {
    "llama": ("self_attn.o_proj", "mlp.down_proj"),
    "falcon": ("self_attention.dense", "mlp.dense_4h_to_h"),
    "mixtral": ("self_attn.o_proj", "mlp.experts"),
}
"""For keys and values that heads share, a parallel block, and experts: the modules whose weights
are zero where attention and MLP write nothing."""

every_kind = pytest.mark.parametrize("name", LAST_WEIGHTS)


def logits(model):
    with torch.no_grad():
        return model(random_ids(20)).logits


def written(model, use_cache=True):
    """The 24 tokens that a model writes to two texts, one of which is padded."""
    ids = torch.cat([random_ids(9), random_ids(9, seed=1)])
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    options = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    return model.generate(ids, attention_mask=mask, use_cache=use_cache, **options)


def silenced(model, layers, part):
    """A copy of a model in which one part of some layers writes nothing, by its weights."""
    quiet = copy.deepcopy(model)
    blocks = find_blocks(quiet)
    for layer in layers:
        module = blocks[layer].get_submodule(part)
        for parameter in module.parameters():
            parameter.zero_()
    return quiet


@every_kind
def test_without_layers_it_is_the_model_that_prune_writes(name: str, tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path, name), tmp_path / "pruned"
    engine = Engine(open_store(None, 0, pytest.fail), tmp_path / "models", lambda _: None)
    engine.load(ModelSpec(str(folder), device="cpu"))
    surgery.prune(engine, (0, 2), out)
    model, pruned = (AutoModelForCausalLM.from_pretrained(path).eval() for path in (folder, out))
    whole = written(model)
    with without(model, [0, 2]):
        torch.testing.assert_close(logits(model), logits(pruned), rtol=0, atol=1e-5)
        assert torch.equal(written(model), written(pruned))
        assert torch.equal(written(model), written(model, use_cache=False))
        assert not torch.equal(written(model), whole)
    assert torch.equal(written(model), whole)


@every_kind
def test_without_a_part_it_is_the_model_whose_part_has_no_weights(name: str) -> None:
    model = tiny(name)
    for place, part in enumerate(LAST_WEIGHTS[name]):
        quiet = silenced(model, [0, 3], part)
        with without(model, **{("attention", "mlp")[place]: [0, 3]}):
            torch.testing.assert_close(logits(model), logits(quiet), rtol=0, atol=1e-5)
            assert torch.equal(written(model), written(quiet))
            assert torch.equal(written(model), written(model, use_cache=False))


@every_kind
def test_the_model_is_afterwards_as_it_was(name: str) -> None:
    model = fresh(name).train().requires_grad_(True)
    before, tensors = state(model), model.state_dict(keep_vars=True)
    with without(model, 1, attention=[0, 2], mlp=3):
        inside = logits(model)
        assert model.training
    with pytest.raises(ZeroDivisionError), without(model, [1, 2]):
        1 / 0  # noqa: B018
    assert state(model) == before
    afterwards = model.state_dict(keep_vars=True)
    assert tensors.keys() == afterwards.keys()
    assert all(afterwards[key] is tensor for key, tensor in tensors.items())
    assert not torch.equal(logits(model), inside)


def test_dropout_neither_disturbs_nor_is_disturbed() -> None:
    model = fresh("gpt2").train()
    drawn = torch.random.get_rng_state()
    with without(model, attention=[1]):
        assert torch.equal(torch.random.get_rng_state(), drawn)
        assert not torch.equal(logits(model), logits(model))


@on_few_models([*LAST_WEIGHTS, "bloom", "granite"], LAST_WEIGHTS)
def test_blocks_inside_each_other_add_up(name: str) -> None:
    model = tiny(name)
    whole = logits(model)
    with without(model, [1], mlp=[0]):
        outer = logits(model)
        with without(model, attention=[1, 3]), without(model, [2]):
            inner = logits(model)
        assert torch.equal(logits(model), outer)
    with without(model, [1, 2], attention=[3], mlp=[0]):
        assert torch.equal(logits(model), inner)
    assert torch.equal(logits(model), whole)
    with without(model):
        assert torch.equal(logits(model), whole)


def test_blocks_inside_each_other_keep_a_layer_together() -> None:
    model = tiny("llama")
    first, last = [0, 1], [1, 2, 3]
    with without(model, first):
        inside = logits(model)
        with pytest.raises(DepthError, match="keeps at least one"), without(model, last):
            pytest.fail("the block began")
        assert torch.equal(logits(model), inside)
    with without(model, last), without(tiny("gpt2"), first):
        pass


def test_blocks_may_end_in_any_order() -> None:
    model = tiny("llama")
    whole, outer = logits(model), without(model, [0])
    outer.__enter__()
    with without(model, [1, 2]):
        outer.__exit__(None, None, None)
        with without(model, attention=[0]), pytest.raises(DepthError, match="keeps at least one"):
            without(model, [0, 3]).__enter__()
    with without(model, [1, 2, 3]):
        assert not torch.equal(logits(model), whole)
    assert torch.equal(logits(model), whole)


def test_gradients_pass_by_what_is_left_out() -> None:
    model = fresh("llama").requires_grad_(True)
    ids = random_ids(12)
    with without(model, [1], attention=[2]):
        model(ids, labels=ids).loss.backward()
    layers = model.model.layers
    assert layers[0].mlp.down_proj.weight.grad.abs().sum() > 0
    assert layers[1].mlp.down_proj.weight.grad is None
    assert layers[2].self_attn.o_proj.weight.grad is None
    assert layers[2].mlp.down_proj.weight.grad.abs().sum() > 0


def test_hooks_of_the_caller_stay_and_run() -> None:
    model, calls = fresh("llama"), []
    with without(model, [1]):
        handle = model.model.layers[1].register_forward_hook(lambda *call: calls.append(call))
        logits(model)
    logits(model)
    handle.remove()
    assert len(calls) == 2


def test_each_pass_of_a_looped_block_is_a_layer_of_its_own() -> None:
    model, passes = tiny("looped"), []
    block, last = model.model.layers[1:]

    def return_input_at_the_second(_module, args, output):
        passes.append(output)
        return args[0] if len(passes) == 2 else output

    handle = block.register_forward_hook(return_input_at_the_second)
    expected = logits(model)
    handle.remove()
    with without(model, [4]):
        assert torch.equal(logits(model), expected)
        broken = last.register_forward_pre_hook(lambda *call: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            logits(model)
        broken.remove()
        assert torch.equal(logits(model), expected)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"layers": LAYERS}, f"There is no layer {LAYERS}. Layers are 0 to {LAYERS - 1}."),
        ({"layers": [-1]}, "There is no layer -1."),
        ({"attention": [0, 9]}, "There is no layer 9."),
        ({"layers": range(LAYERS)}, "A model keeps at least one layer."),
        ({"layers": "17+25"}, "'17+25' is no layer."),
        ({"mlp": [1.5]}, "1.5 is no layer."),
        ({"layers": True}, "True is no layer."),
    ],
)
def test_layers_that_cannot_be_left_out_are_refused(named: dict, words: str) -> None:
    with pytest.raises(DepthError) as caught, without(tiny("llama"), **named):
        pytest.fail("the block began")
    assert words in str(caught.value)


def test_a_model_without_a_split_is_left_without_layers_alone() -> None:
    model = tiny("openai_gpt")
    with pytest.raises(DepthError, match="cannot be told apart"), without(model, mlp=[1]):
        pytest.fail("the block began")
    whole = logits(model)
    with without(model, [1]):
        assert not torch.equal(logits(model), whole)


def test_what_cannot_be_followed_is_refused() -> None:
    bert = BertForMaskedLM(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    compiled = torch.compile(fresh("llama"), backend="eager")
    for model, words in (
        (bert, "no causal language model"),
        (compiled, "compiled"),
        ("demo", "this is a str"),
    ):
        with pytest.raises(DepthError, match=words), without(model, [0]):
            pytest.fail("the block began")


def test_a_model_whose_pass_fails_is_refused_in_words() -> None:
    model = fresh("llama")
    model.model.layers[1].register_forward_pre_hook(lambda *call: 1 / 0)
    with (
        pytest.raises(DepthError, match=r"cannot be run .*: division by zero"),
        without(model, [0]),
    ):
        pytest.fail("the block began")
