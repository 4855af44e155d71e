"""The faster float32 product: same numbers, gradients included, and a model left as it was."""

import contextlib

import pytest
import torch
from torch import nn

from depthtui import analyze
from depthtui.engine.lenses import Lenses
from depthtui.tracing import products
from depthtui.tracing.products import (
    ProductShape,
    choose_products,
    fast_products,
    linear_into,
    product_of,
    raw_logits,
    untimed_products,
)
from tests.tiny_models import CORPUS, fresh, with_tokenizer


@pytest.fixture(params=[True, False], ids=["oneDNN", "torch"])
def faster(request, monkeypatch):
    """Whether oneDNN is, for weights of any size."""
    monkeypatch.setattr(products, "_one_dnn_is_faster", lambda *shape: request.param)
    monkeypatch.setattr(products, "_SMALLEST_WEIGHT", 0)
    return request.param


@pytest.fixture
def one_dnn(monkeypatch):
    """oneDNN is used everywhere; counts its products."""
    counted = []
    original = products.one_dnn_product

    def multiply(*args):
        counted.append(1)
        return original(*args)

    monkeypatch.setattr(products, "one_dnn_product", multiply)
    monkeypatch.setattr(products, "_one_dnn_is_faster", lambda *shape: True)
    monkeypatch.setattr(products, "_SMALLEST_WEIGHT", 0)
    return counted


def close(values, expected):
    torch.testing.assert_close(values.double(), expected.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 48), (2, 7, 48), (1, 48), (48,), (0, 48)])
def test_a_layer_computes_the_same(one_dnn, shape, bias):
    layer, rows = nn.Linear(48, 80, bias=bias), torch.randn(shape)
    with torch.no_grad():
        expected = layer.double()(rows.double())
        layer.float()
        with fast_products(layer):
            close(layer(rows), expected)
    assert bool(one_dnn) == (rows.numel() > 48)


def test_rows_that_lie_apart(one_dnn):
    layer, rows = nn.Linear(48, 80), torch.randn(3, 9, 48)[:, 4:]
    with torch.no_grad(), fast_products(layer):
        close(layer(rows), rows.double() @ layer.weight.double().T + layer.bias.double())
    assert one_dnn


@pytest.mark.parametrize("frozen", [True, False])
def test_gradients(one_dnn, frozen):
    layer = nn.Linear(48, 80).requires_grad_(not frozen)
    rows, weights = torch.randn(3, 6, 48, requires_grad=True), torch.randn(3, 6, 80)
    with fast_products(layer):
        (gradient,) = torch.autograd.grad((layer(rows).mul_(0.5).sin() * weights).sum(), rows)
    (expected,) = torch.autograd.grad((layer(rows).mul_(0.5).sin() * weights).sum(), rows)
    close(gradient, expected)
    assert len(one_dnn) == (2 if frozen else 0)


def test_into_columns_of_a_buffer(faster):
    rows, weight, buffer = torch.randn(6, 48), torch.randn(40, 48), torch.zeros(6, 100)
    bias = torch.randn(40)
    linear_into(buffer[:, 30:70], rows, weight, bias)
    close(buffer[:, 30:70], rows.double() @ weight.double().T + bias)
    assert (buffer[:, :30] == 0).all()
    assert (buffer[:, 70:] == 0).all()


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="no x86")
def test_a_rows_value_does_not_depend_on_how_many_there_are(one_dnn):
    layer, rows = nn.Linear(192, 320), torch.randn(140, 192)
    with torch.no_grad(), fast_products(layer):
        whole = layer(rows)
        for count in (2, 3, 5, 7, 16, 33, 64, 100):
            for first in (0, 40):
                part = slice(first, first + count)
                assert torch.equal(layer(rows[part]), whole[part])


def test_the_model_is_given_back_as_it_was(one_dnn):
    model = fresh("llama")
    seen = []
    handle = model.lm_head.register_forward_hook(lambda *_: seen.append(1))
    attributes = {name: dict(vars(module)) for name, module in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    ids = torch.arange(12)[None]
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        with contextlib.suppress(ZeroDivisionError), fast_products(model):
            close(model(input_ids=ids).logits, expected)
            assert len(seen) == 2, "hooks fire"
            assert len(one_dnn) == sum(type(module) is nn.Linear for module in model.modules())
            assert list(model.state_dict()) == list(state)
            1 / 0  # noqa: B018
        assert torch.equal(model(input_ids=ids).logits, expected)
    handle.remove()
    for name, module in model.named_modules():
        assert vars(module).keys() == attributes[name].keys()
        assert vars(module).get("forward") is attributes[name].get("forward")
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


def test_a_forward_that_someone_else_put_there_stays(one_dnn):
    layer = nn.Linear(48, 80)
    layer.forward = mine = lambda rows: rows * 2
    with fast_products(layer):
        assert layer.forward is mine
        assert torch.equal(layer(torch.ones(2, 48)), torch.full((2, 48), 2.0))
    assert layer.forward is mine


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(48, 80, dtype=torch.bfloat16), nn.Linear(48, 80, device="meta")],
    ids=["bfloat16", "meta"],
)
def test_other_layers_are_left_alone(one_dnn, layer):
    assert product_of(layer) == "torch"
    with fast_products(layer):
        assert "forward" not in vars(layer)


def test_small_layers_are_left_alone(monkeypatch):
    monkeypatch.setattr(products, "_one_dnn_is_faster", lambda *shape: True)
    assert product_of(nn.Linear(16, 16)) == "torch"
    assert product_of(nn.Linear(512, 512)) == "oneDNN"


def test_a_torch_without_that_product(monkeypatch):
    def missing(*_args):
        raise AttributeError("no such operator")

    monkeypatch.setattr(products, "one_dnn_product", missing)
    assert not products._one_dnn_is_faster.__wrapped__(SHAPE, 1)


SHAPE = ProductShape(16, 8)


@pytest.mark.parametrize(("seconds", "expected"), [(1.9, True), (1.95, False), (2.2, False)])
def test_the_faster_one_is_taken_where_it_is_so_by_more_than_noise(monkeypatch, seconds, expected):
    """oneDNN takes `seconds`, torch two; one pair of each is disturbed."""
    timed = []

    def time_them(multiply):
        multiply()
        is_mine = multiply.func is products.one_dnn_product
        timed.append(is_mine)
        return (seconds if is_mine else 2.0) + 5 * (len(timed) in (3, 6))

    monkeypatch.setattr(products, "_seconds", time_them)
    assert products._one_dnn_is_faster.__wrapped__(SHAPE, 1) is expected
    assert len(timed) > 2 * len(products._ROWS)
    assert timed == [True, False] * (len(timed) // 2), "they take turns"


def test_few_and_many_rows_count_by_their_time(monkeypatch):
    """What is lost at few rows may be won at many: the number of rows chooses nothing."""
    times = {32: (2.0, 1.0), 128: (3.0, 4.0), 256: (6.0, 8.0)}
    monkeypatch.setattr(products, "_fastest", lambda rows, _: times[len(rows)])
    assert products._one_dnn_is_faster.__wrapped__(SHAPE, 1)
    times[256] = (6.0, 6.0)
    assert not products._one_dnn_is_faster.__wrapped__(SHAPE, 1)


def test_each_weight_has_its_product(monkeypatch):
    """One by oneDNN at any number of rows, one by torch."""
    multiplied = []
    original = products.one_dnn_product

    def multiply(rows, weight, bias=None):
        multiplied.append((len(rows), len(weight)))
        return original(rows, weight, bias)

    monkeypatch.setattr(
        products, "_one_dnn_is_faster", lambda shape, _: shape == ProductShape(192, 320)
    )
    monkeypatch.setattr(products, "one_dnn_product", multiply)
    model = nn.Sequential(nn.Linear(192, 320), nn.Linear(320, 192))
    with torch.no_grad(), fast_products(model):
        for count in (1, 2, 33, 500):
            rows = torch.randn(count, 192)
            first = rows.double() @ model[0].weight.double().T + model[0].bias.double()
            close(model(rows), first @ model[1].weight.double().T + model[1].bias.double())
    assert multiplied == [(2, 320), (33, 320), (500, 320)], "a single row is torch's"


def test_a_choice_is_made_once(monkeypatch):
    products._one_dnn_is_faster.cache_clear()
    timed = []
    monkeypatch.setattr(products, "_fastest", lambda *_: timed.append(1) or (1.0, 2.0))
    layer = nn.Linear(192, 320)
    assert set(choose_products(layer).values()) == {True}
    assert len(timed) == 3
    assert product_of(layer) == "oneDNN"
    with torch.no_grad(), fast_products(layer):
        layer(torch.randn(7, 192))
        layer(torch.randn(9, 192))
    assert len(timed) == 3
    products._one_dnn_is_faster.cache_clear()


def test_a_busy_machine_chooses_later(monkeypatch):
    monkeypatch.setattr(products, "_SECONDS_AT_ONCE", -1)
    assert choose_products(nn.Linear(192, 320)) == {}


def test_shapes_of_a_model(monkeypatch):
    monkeypatch.setattr(products, "_one_dnn_is_faster", lambda *shape: False)
    monkeypatch.setattr(products, "_SMALLEST_WEIGHT", 0)
    assert set(choose_products(fresh("llama"))) == {
        (32, 32),
        (32, 16),
        (32, 48),
        (48, 32),
        (32, 128),
    }
    assert ProductShape(9000, 9000).timed == ProductShape(2048, 2048), (
        "the outputs that the lens takes at a time"
    )


@pytest.mark.parametrize("bias", [True, False])
def test_logits_of_16_bit_weights_are_not_rounded_where_the_device_can(monkeypatch, bias):
    """The device that can is pretended: its product is of float32 copies here."""

    def wide(rows, weight):
        assert rows.dtype == weight.dtype == torch.bfloat16
        return rows.float() @ weight.float().T

    head = nn.Linear(48, 80, bias=bias, dtype=torch.bfloat16)
    normed = torch.randn(2, 7, 48, dtype=torch.bfloat16)
    buffer = torch.zeros(7, 80)
    with torch.no_grad():
        expected = normed.double() @ head.weight.double().T
        expected = expected + head.bias.double() if bias else expected
        assert raw_logits(head, normed).dtype == torch.bfloat16
        monkeypatch.setattr(products, "_wide_product", wide)
        monkeypatch.setattr(products, "_adds_up_in_float32", lambda device, dtype: True)
        logits = raw_logits(head, normed)
        linear_into(buffer, normed[0], head.weight, head.bias)
    assert logits.dtype == torch.float32
    close(logits, expected)
    close(buffer, expected[0])
    assert raw_logits(head, normed).requires_grad, "gradients take the head as it is"


def test_which_devices_can():
    can = products._adds_up_in_float32.__wrapped__
    assert not can(torch.device("cpu"), torch.bfloat16)
    assert not can(torch.device("cuda"), torch.float32)


def test_the_products_that_are_not_timed_can_be_asked_for(one_dnn):
    layer, rows = nn.Linear(48, 80), torch.randn(5, 48)
    with torch.no_grad(), fast_products(layer):
        with untimed_products(layer):
            untimed = layer(rows)
        assert not one_dnn
        layer(rows)
        assert one_dnn
    assert "forward" not in vars(layer)
    with torch.no_grad():
        assert torch.equal(untimed, layer(rows))


def test_no_timing_decides_which_texts_an_order_is_found_on(one_dnn, monkeypatch):
    """A token that is drawn near the border of two would be the other one."""
    counted = []
    original = Lenses.write_texts

    def write(*args):
        before = len(one_dnn)
        texts = original(*args)
        counted.append(len(one_dnn) - before)
        return texts

    monkeypatch.setattr(Lenses, "write_texts", write)
    model, tokenizer = with_tokenizer("llama")
    analyze(model, CORPUS[0], tokenizer, ["kept"], progress=False)
    # Those of the order, then the others of the guess.
    assert counted == [0, 0]
    assert one_dnn
