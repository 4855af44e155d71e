"""Tables and curves of token depths leave out tokens without a depth."""

from __future__ import annotations

import numpy as np
import pytest

from depthtui.data.token_depths import TokenDepths
from depthtui.report.token_depths import depths_of_text, rolling_mean


def test_quarters_are_means_of_tokens_with_a_depth() -> None:
    depths = TokenDepths(*(np.array([1, 3, 5, np.nan, 7, 7, np.nan, np.nan]) for _ in range(6)))
    settling = next(depth for depth in depths_of_text(depths) if depth.measure.name == "settling")
    assert (settling.mean, settling.median, settling.without) == (pytest.approx(4.6), 5, 3 / 8)
    assert settling.quarters == pytest.approx((2, 5, 7, np.nan), nan_ok=True)


def test_a_rolling_mean_leaves_out_tokens_without_a_depth() -> None:
    values = np.array([2.0, np.nan, 4.0, 6.0])
    np.testing.assert_allclose(rolling_mean(values, 2), [2, 2, 4, 5])
    assert np.isnan(rolling_mean(np.array([np.nan]))).all()
