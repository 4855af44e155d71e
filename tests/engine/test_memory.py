"""What a prompt and its metrics need, on which device, and what would fit, in words."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from depthtui.engine import memory
from depthtui.engine.memory import Placement
from depthtui.metrics.costs import MemoryNeed, Sizes, backward, row_of_logits
from depthtui.metrics.registry import METRIC_BY_NAME
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.replay import Replay
from tests.builders.models import model_info
from tests.tiny_models import tiny

CPU = Placement((torch.device("cpu"),) * 4, torch.device("cpu"))
FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)
TWO = Placement((FIRST, FIRST, FIRST, SECOND), SECOND)
SIZES = Sizes(layers=4, tokens=1000, answer=20, width=64, vocabulary=5000, item=4, cached_width=16)


def plenty(placement, bytes_=1 << 40):
    return dict.fromkeys(placement.devices, bytes_)


def rooms_for(placement, need, spare=0):
    return {device: bytes_ + spare for device, bytes_ in placement.by_device(need).items()}


def test_what_would_fit_is_shorter_than_what_does_not():
    rooms = rooms_for(CPU, memory.of_the_pass(SIZES))
    error = memory.does_not_fit(model_info(), replace(SIZES, tokens=5000), CPU, rooms)
    assert "5,000 tokens does not fit" in error.message
    assert error.hint == "About 1,000 tokens would fit."


@pytest.mark.parametrize(("tokens", "half"), [(2301, "1,150"), (1, "1")])
def test_memory_that_ran_out_beside_plenty_of_free_memory(tokens, half):
    error = memory.does_not_fit(model_info(), replace(SIZES, tokens=tokens), CPU, plenty(CPU))
    assert "ran out" in error.message
    assert f"Try one of {half}, or" in error.hint


def test_what_the_pass_keeps_is_counted():
    recorded_bytes = (3 * SIZES.layers + 1) * SIZES.residual_bytes
    assert memory.of_the_pass(SIZES).first > recorded_bytes


def test_each_device_holds_what_lies_on_it():
    need = MemoryNeed(first=1000, layers=(100,) * 4, block=10, head=1)
    assert TWO.by_device(need) == {FIRST: 1000 + 3 * 100 + 10, SECOND: 100 + 10 + 1}


@pytest.mark.parametrize("short", [FIRST, SECOND])
def test_a_device_without_room_is_found(short):
    need = MemoryNeed(first=1000, layers=(100,) * 4, block=10, head=1)
    rooms = rooms_for(TWO, need)
    assert TWO.lacks(need, rooms) is None
    assert TWO.lacks(need, {**rooms, short: rooms[short] - 1}) == short


@pytest.mark.parametrize("name", ["residual_erasure", "integrated_gradients", "settling"])
def test_a_metric_that_does_not_fit_says_what_would(name):
    metric = METRIC_BY_NAME[name]
    rooms = rooms_for(CPU, memory.of_metric(metric, replace(SIZES, tokens=500)))
    assert memory.why_not(metric, model_info(), replace(SIZES, tokens=500), CPU, rooms) == ""
    reason = memory.why_not(metric, model_info(), SIZES, CPU, rooms)
    assert "at 1,000 tokens" in reason
    assert "try a prompt of about 500 tokens or bfloat16 or a smaller model" in reason


def need_of(name, **choice):
    return memory.of_metric(METRIC_BY_NAME[name], replace(SIZES, **choice))


@pytest.mark.parametrize(
    ("choice", "depths"), [({}, 5), ({"chosen": (0, 3)}, 2), ({"bisects": True}, 1)]
)
def test_erasure_takes_as_much_as_it_has_depths_at_once(choice, depths):
    logits = row_of_logits(SIZES).head
    need = need_of("residual_erasure", **choice)
    assert need.head - logits == depths * SIZES.residual_bytes


@pytest.mark.parametrize(("chosen", "behind"), [((), 4), ((0,), 4), ((2, 3), 2), ((3,), 1)])
def test_integrated_gradients_keep_what_lies_behind_the_first_layer(chosen, behind):
    needs = [
        ours - others
        for ours, others in zip(
            need_of("integrated_gradients", chosen=chosen).layers,
            need_of("skip_effects").layers,
            strict=True,
        )
    ]
    assert needs == [0] * (4 - behind) + [SIZES.residual_bytes] * behind


@pytest.mark.parametrize(
    ("name", "chosen", "fewer", "words"),
    [
        ("residual_erasure", (), (0, 1), "--layers 2-3 or --erase-search bisect"),
        ("residual_erasure", (0, 1, 3), (0,), "--layers 3 or --erase-search bisect"),
        ("integrated_gradients", (), (1, 2), "--layers 1-3"),
        ("integrated_gradients", (0, 1, 3), (1,), "--layers 1,3"),
    ],
)
def test_fewer_layers_help_where_they_fit(name, chosen, fewer, words):
    rooms = rooms_for(CPU, need_of(name, chosen=fewer))
    info, sizes = model_info(), replace(SIZES, chosen=chosen)
    reason = memory.why_not(METRIC_BY_NAME[name], info, sizes, CPU, rooms)
    assert f"are free: try {words} (L in the explorer) or " in reason


@pytest.mark.parametrize("name", ["residual_erasure", "integrated_gradients", "ablation"])
def test_fewer_layers_are_no_help_where_they_fit_no_better(name):
    metric = METRIC_BY_NAME[name]
    rooms = rooms_for(CPU, memory.of_metric(metric, replace(SIZES, tokens=20)))
    reason = memory.why_not(metric, model_info(), SIZES, CPU, rooms)
    assert "about" in reason
    assert "--" not in reason


def test_what_ran_out_may_go_through_half_of_the_layers():
    metric = METRIC_BY_NAME["residual_erasure"]
    reason = memory.ran_out(metric, model_info(), SIZES, CPU, plenty(CPU))
    assert "smallest parts too: try --layers 2-3 or --erase-search bisect (L in" in reason
    least = replace(SIZES, chosen=(3,), bisects=True)
    assert "--" not in memory.ran_out(metric, model_info(), least, CPU, plenty(CPU))
    ablation = METRIC_BY_NAME["ablation"]
    assert "--" not in memory.ran_out(ablation, model_info(), SIZES, CPU, plenty(CPU))


def test_a_metric_that_ran_out_where_it_should_have_fitted():
    metric = METRIC_BY_NAME["integrated_gradients"]
    reason = memory.ran_out(metric, model_info(dtype="bfloat16"), SIZES, TWO, plenty(TWO))
    assert "ran out at 1,000 tokens" in reason
    assert reason.endswith(" or a prompt of about 500 tokens or a smaller model")


@pytest.mark.parametrize("name", sorted(METRIC_BY_NAME))
def test_more_of_anything_never_takes_less(name):
    metric = METRIC_BY_NAME[name]

    def total(sizes):
        return sum(TWO.by_device(memory.of_metric(metric, sizes)).values())

    for size in ("layers", "tokens", "answer", "width", "vocabulary", "cached_width"):
        assert total(replace(SIZES, **{size: 2 * getattr(SIZES, size)})) >= total(SIZES), size
    assert total(replace(SIZES, tokens=2000)) > total(SIZES) or not metric.on_demand


def test_gradients_grow_with_layers_answer_and_vocabulary():
    need = backward(SIZES)
    # The logits, their float32 copy, its logarithms and two gradients.
    assert need.head == 20 * 5000 * 20
    assert need.layers == (SIZES.tokens * SIZES.saved_bytes,) * 4


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_backward_pass_keeps_no_less_than_is_reckoned_with(attention):
    """In blocks of ordinary proportions; what would fit must not be left out."""
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    model.eval().requires_grad_(False)
    replay = Replay(model, probe_architecture(model), torch.arange(40))
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved = []

    def keep(tensor):
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        rows = replay.residual[0][None].clone().requires_grad_()
        for layer in range(3):
            rows = replay.run_layer(layer, rows)
    held = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in saved
    }
    kept = sum(bytes_ for place, bytes_ in held.items() if place not in weights)
    reckoned = memory.sizes_of(model, model_info(d_model=64, layers=3), 40)
    assert reckoned.scores == (4 if attention == "eager" else 0)
    assert kept / 2 < sum(backward(reckoned).layers) <= kept


def test_scores_that_are_held_whole_are_counted():
    eager = replace(SIZES, scores=8)
    more = memory.of_the_pass(eager).block - memory.of_the_pass(SIZES).block
    assert more == 8 * 1000 * 1000 * (4 + 4)


@pytest.mark.parametrize(
    ("name", "scores", "cached"),
    [("llama", 0, 16), ("bloom", 4, 32), ("qwen3_next", 0, 16), ("mamba", 0, 0)],
)
def test_the_sizes_are_read_off_the_model(name, scores, cached):
    model, info = tiny(name), model_info(d_model=32)
    sizes = memory.sizes_of(model, info, 100, 7)
    assert (sizes.tokens, sizes.answer, sizes.item) == (100, 7, 4)
    assert (sizes.layers, sizes.width, sizes.vocabulary) == (
        info.n_layers,
        info.d_model,
        info.vocab_size,
    )
    assert (sizes.scores, sizes.cached_width) == (scores, cached)


def test_the_memory_of_all_devices_is_told(monkeypatch):
    sizes = {FIRST: (3, 10), SECOND: (4, 20)}
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: sizes[device][0])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, sizes[device][1]))
    assert memory.used_and_total([FIRST, SECOND, FIRST]) == (7, 30)


def test_the_memory_of_a_mac_is_what_its_driver_grants(monkeypatch):
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 3)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 2)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 10)
    assert memory.used_and_total([torch.device("mps")]) == (3, 10)
    monkeypatch.setattr(memory, "free_memory", lambda: 100)
    assert memory.available(torch.device("mps")) == 8
    monkeypatch.setattr(memory, "free_memory", lambda: 5)
    assert memory.available(torch.device("mps")) == 5
