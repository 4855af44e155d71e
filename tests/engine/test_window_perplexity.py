"""Windows of texts, and their loss without each layer: against a plain loop of hooks."""

import random

import numpy as np
import pytest
import torch

from depthtui.engine.window_perplexity import drawn_windows, losses_without_each
from depthtui.errors import DepthError
from tests.engine.test_controls import engine_with
from tests.naive import naive_without
from tests.tiny_models import CORPUS, random_ids, tiny_tokenizer, with_tokenizer

TEXTS = [" ".join(CORPUS[place % 4 :]) * (3 * (place % 5)) or "Short." for place in range(40)]


def naive_loss(model, ids, left_out):
    """The mean loss of tokens 1 … T-1 in nats, float64."""
    log = naive_without(model, torch.tensor([ids]), left_out)
    return -log[np.arange(len(ids) - 1), ids[1:]].mean()


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba"])
def test_the_loss_is_that_of_a_loop_with_a_hook(name, tmp_path):
    tiny, tokenizer = with_tokenizer(name)
    model = engine_with(tiny, tokenizer, tmp_path).freed_model()
    windows = [random_ids(9, seed)[0].tolist() for seed in range(3)]
    losses = losses_without_each(model, windows, lambda done: None)
    for (row, column), loss in np.ndenumerate(losses):
        left_out = [column - 1] if column else []
        assert loss == pytest.approx(naive_loss(tiny, windows[row], left_out), abs=1e-5)
    assert losses.shape == (3, 1 + model.info.n_layers)


@pytest.mark.parametrize("begins", [False, True])
def test_windows_are_those_of_the_published_draws(begins):
    """The published code draws from Python's own generator, whose seed it sets to 1234."""
    tokenizer, wanted, drawn = tiny_tokenizer(), [], []
    random.seed(1234)
    while len(wanted) < 10:
        number = random.randint(0, len(TEXTS) - 1)
        ids = tokenizer(TEXTS[number], add_special_tokens=not begins)["input_ids"]
        if len(ids) >= 128 and number not in drawn:
            drawn.append(number)
            window = ids[(start := random.randint(0, len(ids) - 128)) : start + 128]
            wanted.append([tokenizer.bos_token_id, *window[:127]] if begins else window)
    assert drawn_windows(tokenizer, TEXTS, begins) == wanted


def test_too_few_long_texts_are_refused():
    with pytest.raises(DepthError, match="9 of the 12 texts have 128 tokens or more; 10 are"):
        drawn_windows(tiny_tokenizer(), TEXTS[:12], begins=False)
