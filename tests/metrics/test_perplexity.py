"""Perplexity: three windows of a corpus against whole forwards of transformers, and Student's t."""

import numpy as np
import pytest
import torch
from scipy import stats

from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.left_out import PERPLEXITY
from depthtui.depth.reading import reading_of
from depthtui.metrics.perplexity import METRIC, perplexities
from depthtui.prompts.corpus import Corpus
from tests.engine.test_controls import engine_with
from tests.metrics.test_kept import naive_losses
from tests.tiny_models import CORPUS, on_few_models, with_tokenizer

pytestmark = pytest.mark.usefixtures("short_texts")


@on_few_models()
def test_three_windows_are_those_of_a_naive_loop(name, tmp_path):
    model, tokenizer = with_tokenizer(name)
    engine, text = engine_with(model, tokenizer, tmp_path), " ".join(CORPUS)
    windows = Corpus("a.txt", text, 16, 3).windows(engine.tokens_of, pytest.fail)
    runs = [engine.run(window, RunSettings(metrics=("perplexity",))) for window in windows]
    reading = reading_of(runs, SummarySettings(include_first_token=False))
    found = reading.get(METRIC)
    ids = torch.tensor(tokenizer(text)["input_ids"])

    def naive(left_out):
        parts = (ids[None, first : first + 16] for first in (0, 16, 32))
        return float(np.exp(np.mean([naive_losses(model, part, left_out) for part in parts])))

    order, n_layers = found.order, reading.n_layers
    along = [naive(order[:count]) for count in range(n_layers + 1)]
    np.testing.assert_allclose(found.along.values, along, rtol=1e-4)
    alone = [naive((layer,)) for layer in range(n_layers)]
    np.testing.assert_allclose(found.alone.values, alone, rtol=1e-4)
    assert found.tokens == 45
    assert reading.left_out.order == order
    assert reading.left_out.columns[PERPLEXITY] is found.along
    assert f"perplexity {along[1]:.4g}" in reading.left_out.sentence(n_layers - 1)


def test_the_interval_is_students_over_windows():
    losses = np.random.default_rng(1).normal(3, 0.4, (9, 2))
    column = perplexities(losses, np.full(9, 511))
    for place in (0, 1):
        ends = stats.ttest_1samp(losses[:, place], 0).confidence_interval(0.95)
        np.testing.assert_allclose(np.log(column.interval[:, place]), ends)
    assert perplexities(losses[:4], np.full(4, 511)).interval is None
    # Prompts of other lengths weigh as their tokens, as the residuals of a ratio.
    tokens = np.array([10, 20, 30, 40, 50])
    ratio = perplexities(losses[:5, :1], tokens)
    mean = (losses[:5, 0] * tokens).sum() / tokens.sum()
    error = np.std(tokens * (losses[:5, 0] - mean), ddof=1) / 30 / np.sqrt(5)
    ends = mean + stats.t(4).ppf([0.025, 0.975]) * error
    np.testing.assert_allclose(np.log(ratio.interval[:, 0]), ends)
