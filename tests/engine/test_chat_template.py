"""Chat templates that fail, that are hostile, or that never end."""

from __future__ import annotations

import resource
import sys

import pytest

from depthtui.data.run import Prompt
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.errors import DepthError
from tests.tiny_models import tiny_tokenizer

LOOP = "{% for i in range(99999) %}"
ENDLESS = LOOP * 3 + "{% endfor %}" * 3


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('only for cats') }}", "only for cats"),
        ("{% for", "cannot be used"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ nothing.at.all }}", "nothing"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ range(10**10) }}", "[Rr]ange"),
        ("{{ 'a' * 10**10 }}", "too much memory"),
        ("{{ '%10000000000d' % 1 }}", "too much memory"),
        ("{{ 'a'.ljust(10**10) }}", "too much memory"),
        (ENDLESS, "takes too long"),
        ("{{ messages[0].content * 10**7 }}", "writes far more than the prompt"),
    ],
)
def test_a_bad_template_is_a_sentence(
    template: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if template is ENDLESS:
        monkeypatch.setattr("depthtui.engine.chat_template._MOST_SECONDS", 0.2)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    before = resource.getrlimit(resource.RLIMIT_AS), sys.gettrace()
    with pytest.raises(DepthError, match=words) as caught:
        tokenise(tokenizer, Prompt("Hello"), True, Vocabulary(tokenizer))
    assert "chat template" in str(caught.value)
    assert (resource.getrlimit(resource.RLIMIT_AS), sys.gettrace()) == before


def test_a_tokenizer_that_fails_is_a_sentence() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = "many"
    with pytest.raises(DepthError, match="tokenizer cannot read the prompt"):
        tokenise(tokenizer, Prompt("Hello"), False, Vocabulary(tokenizer))
