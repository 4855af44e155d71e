"""Types of transformers that predict text: which are measured, which refused, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from depthtui.manual.model_types import MEASURED, SAVED, saved_lines
from tests.tools.every_type import find, find_all, listed
from tests.tools.small_types import kinds

SOME = (
    "bart",  # the decoder of an encoder-decoder
    "blip-2",  # needs an image
    "blt",  # no number of layers
    "chameleon",  # rules tokens out
    "dory",  # blocks in passes that read the first layers again
    "gemma4_text",  # heads of several sizes
    "inkling_text",  # a convolution after attention and MLP
    "longcat_flash",  # two attentions a layer
    "mllama",  # layers that run for images alone
    "modernbert-decoder",  # the LM head is called a decoder
    "muse_glimmer",  # logits multiplied by a constant of the configuration
    "nemotron_h_omni",  # the LM head of a model within
    "qwen2_5_omni",  # a model that speaks: its class only holds others
    "rembert",  # several modules before the LM head
    "t5gemma2",  # an encoder-decoder
    "xlm",  # lists of attentions and MLPs, and none of layers
    "zaya",  # layers hand the router's state on
)

RENEW = "run python -m tests.tools.every_type --renew"

MOST_OFF = 5e-5
"""How far numbers in float32 may be from those of ordinary forwards, as a share."""

installed_differs = transformers.__version__ not in SAVED.read_text("utf-8").splitlines()[0]


@pytest.mark.skipif(installed_differs, reason="the list is of another transformers")
def test_the_list_has_every_type() -> None:
    assert sorted(saved_lines()) == kinds(), RENEW


@pytest.mark.skipif(installed_differs, reason="the list is of another transformers")
@pytest.mark.parametrize("kind", SOME)
def test_a_type_is_what_the_list_says(kind: str, tmp_path: Path) -> None:
    finding = find(kind, tmp_path)
    assert str(finding) == saved_lines()[kind], RENEW
    assert max(finding.misses.values(), default=0) < MOST_OFF
    if finding.outcome == MEASURED:
        assert set(finding.misses) == {"layer", "attention", "mlp", "lens", "skip", "skip output"}


@pytest.mark.by_hand
def test_every_type_is_what_the_list_says() -> None:
    findings = find_all(kinds())
    assert listed(findings) == SAVED.read_text("utf-8"), RENEW
    assert max(miss for one in findings.values() for miss in one.misses.values()) < MOST_OFF
