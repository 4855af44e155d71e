"""One layer at one token: the tokens that it reads and writes, its heads, neurons and experts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from depthtui.data.plain import to_plain

Listed = tuple[tuple[str, float], ...]
"""Raw token texts, hostile until made printable, and a value of each."""


@dataclass(frozen=True)
class Readout:
    """The residual stream read by the lens.

    Attributes:
        top: the most probable next tokens and their probabilities.
        rank: rank of the target, from 1.
        probability: probability of the target.
        margin: log probability of the target minus that of the best other token, in nats.
    """

    top: Listed
    rank: int
    probability: float
    margin: float


@dataclass(frozen=True)
class TokensRead:
    """The earlier tokens that the layer reads.

    Attributes:
        heads: attention of each head to each token up to this one, `[heads, token + 1]`.
        value_weighted: `[token + 1]`, the sum over heads of the norm of the write for each token,
            ||alpha W_O v||; None where unknown.
        sink: mean over heads of the attention to the first token, or to a separate sink.
    """

    heads: np.ndarray
    value_weighted: np.ndarray | None
    sink: float


@dataclass(frozen=True)
class Written:
    """The write of a part of the layer to the residual stream.

    Attributes:
        promoted, suppressed: the tokens whose logits rise and fall most, and by how much, with
            the final norm's scale fixed; empty where the lens is unavailable.
        norm: its length over that of the residual stream before the layer.
        direct: its share of the target's logit minus the mean over the vocabulary; None where the
            logits are not a sum of parts.
    """

    promoted: Listed
    suppressed: Listed
    norm: float
    direct: float | None


@dataclass(frozen=True)
class Head:
    """One attention head.

    Attributes:
        head: its number.
        norm: the length of its write over that of the residual stream before the layer.
        direct: its share of the target's logit minus the mean over the vocabulary; None where the
            logits are not a sum of parts.
    """

    head: int
    norm: float
    direct: float | None


@dataclass(frozen=True)
class Neuron:
    """One neuron of the MLP.

    Attributes:
        neuron: its number.
        activation: its value.
        norm: the length of its write over that of the residual stream before the layer.
        promoted: the tokens whose logits its write raises most.
    """

    neuron: int
    activation: float
    norm: float
    promoted: Listed


@dataclass(frozen=True)
class Expert:
    """One chosen expert.

    Attributes:
        expert: its number.
        weight: the router's weight.
        norm: the length of its weighted output over that of all chosen experts.
        loss_without: rise of the target's loss without the expert at this token, in nats;
            None where the model cannot be run from here.
    """

    expert: int
    weight: float
    norm: float
    loss_without: float | None


@dataclass(frozen=True)
class Inspection:
    """A layer at a token.

    Attributes:
        layer, token: indices, from 0.
        n_layers: L.
        kind: the layer's type in a hybrid, such as `full attention`; empty where all are alike.
        tokens: texts of the tokens up to this one, as hostile as the raw ones.
        target: raw text of the token whose ranks and direct logits are given.
        target_is: `answer` where a token of the prompt's answer is predicted here, else `output`:
            the model's first choice at this token.
        lens: the lens of the readouts.
        before, after_attention, after: readouts of h, h + a, h_next; None where unavailable.
        written: by part, `attention`, `mlp`, `layer`.
        reads, heads, neurons, experts: None or empty where the model has no such part.
        closure: by name, `attention`, `heads`, `logit`, `experts`, the largest relative
            difference between the parts' sum and the whole.
        unavailable: why a part is missing, by its name.
    """

    layer: int
    token: int
    n_layers: int
    kind: str
    tokens: tuple[str, ...]
    target: str
    target_is: str
    lens: str
    before: Readout | None = None
    after_attention: Readout | None = None
    after: Readout | None = None
    written: dict[str, Written] = field(default_factory=dict)
    reads: TokensRead | None = None
    heads: tuple[Head, ...] = ()
    neurons: tuple[Neuron, ...] = ()
    experts: tuple[Expert, ...] = ()
    closure: dict[str, float] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    @property
    def entropy(self) -> np.ndarray | None:
        """Entropy of each head's attention in nats, `[heads]`; None without reads."""
        if self.reads is None:
            return None
        weights = self.reads.heads
        logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
        return -(weights * logs).sum(axis=-1)

    def to_json(self) -> dict[str, Any]:
        """The page for `depthtui inspect --format json`; a missing part has no key."""
        neurons = [
            {**vars(neuron), "promoted": [text for text, _ in neuron.promoted]}
            for neuron in self.neurons
        ]
        parts = {
            "layer": self.layer,
            "token": self.token,
            "kind": self.kind.replace(" ", "_") or None,
            "tokens": self.tokens,
            "target": {"token": self.target, "is": self.target_is},
            "lens": self.lens,
            "before": self.before,
            "after_attention": self.after_attention,
            "after": self.after,
            "reads": self.reads,
            "writes": self.written or None,
            "heads": self.heads or None,
            "neurons": neurons or None,
            "experts": self.experts or None,
            "closure": self.closure,
            "unavailable": self.unavailable or None,
        }
        page: dict[str, Any] = _without_nulls(to_plain(parts))
        return page


def _without_nulls(value: Any) -> Any:
    """JSON values without the keys whose value is null."""
    if isinstance(value, dict):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value
