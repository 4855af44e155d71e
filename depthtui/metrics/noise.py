"""What rounding alone leaves in a mean."""

from __future__ import annotations

import numpy as np


def mean_noise(unchanged: np.ndarray) -> float:
    """What the values of unchanged runs leave in a mean over them: its standard error."""
    return float(np.linalg.norm(unchanged.astype("f8")) / max(1, unchanged.size))
