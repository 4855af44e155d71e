"""What the logit lens sums up over the vocabulary, against float64, and which way is taken.

The kernel itself needs a GPU, or Triton's interpreter, which runs it on a CPU:

    pip install --target FOLDER triton
    TRITON_INTERPRET=1 PYTHONPATH=FOLDER pytest -n0 -m by_hand tests/metrics/test_row_sums.py
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from importlib.util import find_spec

import pytest
import torch

from depthtui.metrics.logit_lens import compute, fused
from depthtui.metrics.logit_lens.row_sums import GROUP, RowSums, add_columns, padded
from tests.metrics.streams import stream
from tests.tiny_models import random_ids, tiny

CPU = torch.device("cpu")
DEPTHS, TOKENS = 2, 3
FIELDS = ("shift", "total", "logit", "reference", "maxima")


def logits_of(kind, vocab, device=CPU):
    normal = torch.randn(DEPTHS * TOKENS, vocab, generator=torch.Generator().manual_seed(vocab))
    made = {
        "ordinary": 3 * normal,
        "far below 0": normal - 1e4,
        "large": 1e4 * normal,
        "capped": 30 * normal.tanh(),
        "capped, all alike": torch.full_like(normal, 30.0),
        "growing": normal + torch.linspace(-300, 50, vocab),
        "falling": normal + torch.linspace(50, -300, vocab),
    }
    return made[kind].to(device)


KINDS = ("ordinary", "far below 0", "large", "capped", "capped, all alike", "growing", "falling")


def summed(add, logits, reference, block=None):
    """The sums, some columns at a time, in memory that others have used before."""
    rows, vocab = logits.shape
    whole = torch.full((rows, padded(vocab) + GROUP), 7e7, device=logits.device)
    sums = RowSums.of_nothing(whole.new_full((rows, padded(vocab) // GROUP), math.nan))
    for start in range(0, vocab, block or vocab):
        stop = min(start + (block or vocab), vocab)
        whole[:, start:stop] = logits[:, start:stop]
        whole[:, stop : padded(stop)] = -torch.inf
        add(sums, whole, reference, slice(start, stop), whole.new_empty)
    return sums


def largest_differences(sums, logits, reference):
    """How far each field is off from float64, as a share of the sum of absolute terms."""
    x = logits.double()
    weights = (x - sums.shift[:, None]).exp()
    r = torch.zeros_like(x) if reference is None else reference.double().repeat(DEPTHS, 1)
    groups = torch.nn.functional.pad(x, (0, -x.shape[1] % GROUP), value=-torch.inf)
    maxima = groups.unflatten(1, (-1, GROUP)).amax(-1)
    assert (sums.shift >= x.amax(1) - 60).all()
    assert (sums.shift <= x.amax(1)).all()

    def off(result, terms):
        scale = terms.abs().sum(1)
        error = (result - terms.sum(1)).abs()
        return torch.where(scale > 0, error / scale, error).max().item()

    return {
        "total": off(sums.total, weights),
        "logit": off(sums.logit, weights * x),
        "reference": off(sums.reference, weights * r),
        "maxima": (sums.maxima - maxima).abs().max().item(),
    }


def check(add, kind, vocab, block, compared, device=CPU):
    logits = logits_of(kind, vocab, device)
    reference = None
    if compared:
        # Rows lie as far apart as in the lens, and what lies between them is not to be read.
        wide = torch.full((TOKENS, padded(vocab)), math.nan, device=device)
        wide[:, :vocab] = logits_of("ordinary", vocab, device)[TOKENS:].flip(1)
        reference = wide[:, :vocab]
    sums = summed(add, logits, reference, block)
    differences = largest_differences(sums, logits, reference)
    assert differences.pop("maxima") == 0
    assert all(share < 3e-6 for share in differences.values()), differences


@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize(("vocab", "block"), [(1, None), (101, 64), (640, 128), (5003, 2048)])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_those_of_float64(kind, vocab, block, compared):
    check(add_columns, kind, vocab, block, compared)


class TestChoice:
    """One pass is taken only where it is right and faster."""

    @pytest.fixture
    def faster(self, monkeypatch):
        """Whatever is not the plain way takes half as long."""

        def seconds(add, *_logits):
            return 2.0 if add is add_columns else 1.0

        monkeypatch.setattr(fused, "_seconds", seconds)

    @pytest.fixture
    def told(self, caplog):
        caplog.set_level(logging.DEBUG, fused.__name__)
        return caplog

    def test_one_that_is_right_and_faster(self, faster):
        assert fused.chosen(as_good, CPU) is as_good

    @pytest.mark.parametrize("name", FIELDS)
    @pytest.mark.parametrize("change", ["by a thousandth", "to NaN"])
    def test_one_that_is_wrong(self, name, change, faster, told):
        def wrong(sums, *rest):
            add_columns(sums, *rest)
            value = getattr(sums, name)
            value[-1] = value[-1] * 1.001 if change == "by a thousandth" else math.nan

        assert fused.chosen(wrong, CPU) is add_columns
        assert "wrong" in told.text

    def test_one_that_counts_the_padding(self, faster):
        def wrong(sums, logits, reference, columns, scratch):
            logits[:, columns.stop :] = 0.0
            whole = slice(columns.start, padded(columns.stop))
            add_columns(sums, logits, None, whole, scratch)

        assert fused.chosen(wrong, CPU) is add_columns

    def test_one_that_takes_a_wrong_reference(self, faster):
        def wrong(sums, logits, reference, columns, scratch):
            other = None if reference is None else reference.flip(0)
            add_columns(sums, logits, other, columns, scratch)

        assert fused.chosen(wrong, CPU) is add_columns

    @pytest.mark.parametrize("error", [ImportError, RuntimeError, torch.OutOfMemoryError])
    def test_one_that_fails(self, error, faster, told):
        def failing(*_columns):
            raise error("not on this GPU")

        assert fused.chosen(failing, CPU) is add_columns
        assert "not on this GPU" in told.text

    @pytest.mark.parametrize("of_it", [1.0, 1.1, 3.0])
    def test_one_that_is_not_much_faster(self, of_it, monkeypatch, told):
        seconds = {add_columns: 1.0, as_good: 1.0 / of_it}
        monkeypatch.setattr(fused, "_seconds", lambda add, *_logits: seconds[add])
        chosen = fused.chosen(as_good, CPU)
        assert chosen is (as_good if of_it > 2 else add_columns)
        assert ("take longer" in told.text) == (of_it < 2)

    def test_both_are_timed_and_the_best_of_each_counts(self, monkeypatch):
        monkeypatch.setattr(fused, "_TIMED", (2, 3, 128))
        clock = [0.0]

        def timed(cost):
            calls = itertools.count()

            def add(*columns):
                # Most of the time something else keeps the machine busy.
                clock[0] += cost if next(calls) % fused._TIMINGS == 3 else 50.0
                add_columns(*columns)

            return add

        slow, fast = timed(2.0), timed(1.0)
        monkeypatch.setattr(fused.time, "perf_counter", lambda: clock[0])
        monkeypatch.setattr(fused, "add_columns", slow)
        assert fused._is_faster(fast, CPU)
        monkeypatch.setattr(fused, "add_columns", fast)
        assert not fused._is_faster(slow, CPU)

    def test_random_numbers_of_others_stay(self, faster):
        before = torch.get_rng_state()
        fused.chosen(as_good, CPU)
        assert torch.equal(torch.get_rng_state(), before)

    def test_it_is_asked_for_on_cuda_alone_and_once(self, monkeypatch):
        asked = []

        def chosen(candidate, device):
            asked.append((candidate, device))
            return candidate

        monkeypatch.setattr(fused, "chosen", chosen)
        fused.add_columns_on.cache_clear()
        try:
            assert fused.add_columns_on(CPU) is add_columns
            assert fused.add_columns_on(torch.device("mps")) is add_columns
            assert asked == []
            for index in (0, 1, 0):
                device = torch.device("cuda", index)
                assert fused.add_columns_on(device) is fused.add_columns_fused
            assert asked == [
                (fused.add_columns_fused, torch.device("cuda", index)) for index in (0, 1)
            ]
        finally:
            fused.add_columns_on.cache_clear()

    @pytest.mark.skipif(find_spec("triton") is not None, reason="triton is there")
    def test_without_triton(self, told):
        assert fused.chosen(fused.add_columns_fused, CPU) is add_columns
        assert "No module named 'triton'" in told.text

    def test_the_lens_takes_what_is_chosen(self, monkeypatch):
        rows = []

        def counted(sums, logits, *rest):
            rows.append(len(logits))
            add_columns(sums, logits, *rest)

        monkeypatch.setattr(compute, "add_columns_on", lambda device: counted)
        lens("llama")
        assert rows


def as_good(*columns):
    add_columns(*columns)


def lens(name):
    """Every value of the lens on a tiny model."""
    values = {}

    def on_rows(depth, token, rows):
        for field, value in vars(rows).items():
            values[field, depth, token] = value.clone()

    ids = random_ids()
    unembedding, residuals = stream(tiny(name), ids)
    compute.read_lens(unembedding, residuals, ids[0], 7, on_rows)
    return values


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None or not (INTERPRETED or torch.cuda.is_available()),
    reason="needs triton, and a GPU or TRITON_INTERPRET=1",
)


@pytest.mark.by_hand
@needs_triton
class TestKernel:
    @pytest.fixture
    def device(self):
        return CPU if INTERPRETED else torch.device("cuda", 0)

    @pytest.mark.parametrize("compared", [True, False])
    @pytest.mark.parametrize(
        ("vocab", "block"),
        [(1, None), (64, None), (101, 64), (4096, None), (5003, None), (9001, 4160)],
    )
    @pytest.mark.parametrize("kind", KINDS)
    def test_its_sums_are_those_of_float64(self, kind, vocab, block, compared, device):
        check(fused.add_columns_fused, kind, vocab, block, compared, device)

    def test_it_agrees_with_the_plain_way(self, device):
        assert fused._agrees(fused.add_columns_fused, device)

    def test_nan_and_infinity_spread_as_in_the_plain_way(self, device):
        logits = logits_of("ordinary", 300, device)
        logits[0, 7], logits[1, 250], logits[2, 250] = math.nan, math.inf, -math.inf
        actual, expected = (
            summed(add, logits, None) for add in (fused.add_columns_fused, add_columns)
        )
        for name in ("total", "logit"):
            value, other = getattr(actual, name), getattr(expected, name)
            torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-5, equal_nan=True)
        # The group of a NaN, or of infinity, is the first that is looked at.
        assert (actual.maxima.argmax(1) == expected.maxima.argmax(1)).all()

    @pytest.mark.parametrize("name", ["llama", "gemma2"])
    def test_the_lens_is_the_same(self, name, monkeypatch):
        if not INTERPRETED:
            pytest.skip("the tiny models lie on the CPU")
        expected = lens(name)
        monkeypatch.setattr(compute, "add_columns_on", lambda device: fused.add_columns_fused)
        actual = lens(name)
        assert actual.keys() == expected.keys()
        for place, value in expected.items():
            torch.testing.assert_close(
                actual[place], value, rtol=1e-5, atol=1e-5, equal_nan=True, msg=str(place)
            )
