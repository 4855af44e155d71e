"""Parts of work, and their halves where the memory runs out."""

import gc
import itertools
import weakref

import pytest
import torch

from depthtui.tracing.batching import at_once, in_smaller_parts, slices


def test_what_fits_is_taken_together():
    assert at_once(100, 64, 8) == 8
    assert at_once(5, 64, 8) == 5
    assert at_once(100, 64, 1000) == 1
    assert at_once(0, 64, 8) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_parts_are_halved_down_to_one(count):
    """However much more would fit by the count of bytes than there is."""
    taken = []

    def work():
        taken.append(at_once(count, 1 << 20, 8))
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        in_smaller_parts(work)
    assert (taken[0], taken[-1]) == (count, 1)
    assert all(after <= before // 2 for before, after in itertools.pairwise(taken))


def test_every_kind_of_part_comes_down_to_one():
    taken = []

    def work():
        taken.append((at_once(64, 1 << 20, 8), at_once(1000, 1000, 10)))
        raise MemoryError

    with pytest.raises(MemoryError):
        in_smaller_parts(work)
    assert (taken[0], taken[-1]) == ((64, 100), (1, 1))
    assert len(set(taken)) == len(taken), "an attempt like the one before it"


def test_the_first_parts_that_fit_do_the_work():
    def work():
        size = at_once(40, 1000, 1)
        if size > 10:
            raise RuntimeError("CUDA error: out of memory")
        return size

    assert in_smaller_parts(work) == 10
    assert at_once(40, 1000, 1) == 40


def test_other_errors_are_not_tried_again():
    tried = []

    def work():
        tried.append(at_once(40, 1000, 1))
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_smaller_parts(work)
    assert tried == [40]


def test_what_an_attempt_held_is_free_before_the_next():
    class Held:
        pass

    blocks = []

    def work():
        assert all(before() is None for before in blocks)
        mine = Held()
        blocks.append(weakref.ref(mine))
        if at_once(40, 1000, 1) > 1:
            raise MemoryError

    gc.disable()
    try:
        in_smaller_parts(work)
    finally:
        gc.enable()
    assert len(blocks) > 3


def test_slices_cover_everything_once() -> None:
    assert list(slices(7, 3)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(slices(6, 3)) == [slice(0, 3), slice(3, 6)]
    assert list(slices(0, 3)) == []
