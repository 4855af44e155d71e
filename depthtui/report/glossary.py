"""The words of the explorer and of reports that need a meaning, each in one line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from depthtui.data.lazy import LazyTuple
from depthtui.metrics.registry import ALL


@dataclass(frozen=True)
class Term:
    """A word or a sign with its meaning.

    Attributes:
        name: the word.
        meaning: a line, without a full stop.
        spellings: the spellings by which a text is searched; empty for the name alone. Only
            capitals and signs are searched for as they are.
    """

    name: str
    meaning: str
    spellings: tuple[str, ...] = ()

    def is_in(self, text: str) -> bool:
        """Whether a text has the word."""
        return self._pattern.search(text) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(_spelt, self.spellings or (self.name,))))


def _spelt(spelling: str) -> str:
    """A pattern for a spelling: whole words, with or without a capital, over a line's end too."""
    words = re.escape(spelling).replace(r"\ ", r"\s+")
    first = spelling[0]
    if first.islower():
        words = f"[{first}{first.upper()}]{words[1:]}"
    before, after = (r"\b" if end.isalnum() else "" for end in (first, spelling[-1]))
    return f"{before}{words}{after}"


_WORDS = (
    Term(
        "nat, nats",
        "unit of information by the natural logarithm: 1 nat is 1.44 bits",
        ("nat", "nats"),
    ),
    Term("loss", "mean of -log p(next token), in nats: the lower, the better the prediction"),
    Term("perplexity", "exp of the loss: among as many equally likely tokens one is as unsure"),
    Term("p", "a probability, or the model's distribution of next tokens", ("p(", "p_l", "p~")),
    Term(
        "KL",
        "Kullback-Leibler divergence: how far one distribution of next tokens is from another, in "
        "nats; 0 if they are equal",
    ),
    Term(
        "JSD",
        "Jensen-Shannon divergence: as KL, but symmetric, from 0 to 0.69 nats",
        ("JSD", "divergence"),
    ),
    Term(
        "entropy, H",
        "uncertainty of a distribution in nats: 0 if one token has all the probability",
        ("H", "entropy"),
    ),
    Term("overlap", "share of the output's five most probable tokens that a lens has in its five"),
    Term("top 1", "the most probable token; top 2 the second", ("top 1", "top-1", "top 2")),
    Term("first choice", "the most probable next token", ("first choice", "first choices")),
    Term("rank", "place of a token by probability: 1 is the most probable one"),
    Term("margin", "lead of a token over the best other one, as a difference of log p, in nats"),
    Term(
        "residual stream, h",
        "the vector of a token that every layer reads and adds to; h_l is the one before layer l",
        ("residual stream", "stream", "h_l", "|h|", "h_L"),
    ),
    Term(
        "a, m, c",
        "what attention, MLP and the whole layer write into the stream: c = a + m",
        ("a, m, c", "|a|", "|m|", "|c|", "cos(a", "cos(m", "cos(c"),
    ),
    Term(
        "|c| / |h|",
        "length of what a layer writes, over the length of the stream that it reads",
        ("|c| / |h|", "|c|/|h|"),
    ),
    Term(
        "cosine",
        "agreement of two directions: 1 the same, 0 at right angles, -1 opposed",
        ("cosine", "cosines", "cos"),
    ),
    Term("95th percentile", "the scale ends there, and larger values look like it"),
    Term("logit lens", "reads the stream at any depth as if it were the last: norm, then LM head"),
    Term(
        "affine lens",
        "a logit lens behind an affine map per depth, fitted on texts (as the tuned lens)",
    ),
    Term("Jacobian lens", "a logit lens behind the mean derivative of the final stream"),
    Term("LM head", "the matrix that turns the final stream into scores of tokens"),
    Term("logit", "a token's score before softmax", ("logit", "logits")),
    Term("lens", "a way to read next tokens from the stream between layers", ("lens",)),
    Term(
        "effective depth",
        "the number of layers up to the point that a rule finds",
        ("effective depth", "Effective depth"),
    ),
    Term("depth", "a place in the stack: depth 3 is behind layers 0, 1 and 2"),
    Term("rule", "a criterion on a curve over depth, with a threshold", ("rule", "rules")),
    Term("threshold", "the value at which a rule finds its depth"),
    Term("decided", "depth from which the lens keeps the answer first"),
    Term("settled", "depth at which half of the tokens have settled", ("settled",)),
    Term(
        "settling",
        "a token settles where the divergence of lens and output falls below its bar for good",
        ("settling", "settles"),
    ),
    Term(
        "kept",
        "nine tenths of what the model knows: of the loss that context saves it",
    ),
    Term("sequential depth", "layers that must run one after another, by their order"),
    Term(
        "angular distance",
        "angle between the stream before and after a block of layers, over pi: 0 to 1",
    ),
    Term("block influence", "1 - cosine of the stream before and after a layer"),
    Term("idle", "an idle layer writes nothing"),
    Term("what-if", "a run with layers left out, repeated or patched", ("what-if", "what if")),
    Term("ablation", "leaving a layer out, to see what changes"),
    Term("patched", "with a state of another prompt put in", ("patched",)),
    Term("lazy", "layer by layer, from a queue of the last known costs"),
    Term("greedy", "layer by layer, with more layers tried each time"),
    Term("teacher-forced", "each token is predicted from the given tokens before it"),
    Term(
        "attention sink",
        "a token, mostly token 0, that takes the attention that is not needed",
        ("attention sink", "sink", "token 0"),
    ),
    Term("firm", "the count stays within a tenth of the layers, whatever is varied"),
    Term("holds here", "as firm, for fewer than five prompts: no conclusion on others"),
    Term("fragile", "another threshold, lens, token or prompt gives another count"),
    Term(
        "interval",
        "95 % interval by bootstrap: prompts or blocks of tokens are drawn again, with repetition",
        ("interval", "intervals", "95 %"),
    ),
    Term("ratio", "a count over L, the number of layers, to compare models of different depth"),
    Term(
        "rank-biserial",
        "effect size from -1 to 1: share of prompts with a larger value less that with a smaller",
    ),
    Term("Holm", "correction of p values for several tests"),
    Term("noise", "change by rounding alone: smaller changes mean nothing", ("noise",)),
    Term("held-out", "not used in the fit or the choice that is tested"),
    Term("chat template", "the markup in which a chat model expects a conversation"),
)


def _of_metrics() -> tuple[Term, ...]:
    """A term for each metric that no word explains yet."""
    names = {term.name.lower() for term in _WORDS}
    return tuple(
        Term(metric.title, _as_meaning(metric.description), (metric.title, metric.title.lower()))
        for metric in ALL
        if metric.title.lower() not in names
    )


def _as_meaning(sentence: str) -> str:
    sentence = sentence.rstrip(".").replace("`", "")
    second = sentence[1:2]
    return sentence if second.isupper() else sentence[:1].lower() + sentence[1:]


TERMS = LazyTuple(
    lambda: sorted((*_WORDS, *_of_metrics()), key=lambda term: term.name.lower().lstrip("|"))
)
"""Every term, by name."""


def terms_in(text: str) -> tuple[Term, ...]:
    """The terms that a text uses."""
    return tuple(term for term in TERMS if term.is_in(text))
