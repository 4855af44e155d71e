"""Patching: activations of one prompt put into another, to find where a fact is.

A cell is a depth l and a token t. Only tokens from t to the one that predicts the answer run,
behind the prompt's own keys and values: earlier tokens do not change, later ones are not read. All
depths of a token run together; each joins at its layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depthtui.errors import DepthError
from depthtui.metrics.context import Context
from depthtui.metrics.logit_lens.compute import ROW_BYTES
from depthtui.metrics.part_bytes import part_bytes
from depthtui.metrics.patch import DO_NOT_PART, LEAST_MARGIN, Patch, PatchPair, pair_of, rows_of
from depthtui.models.devices import execution_device
from depthtui.tracing.anatomy import Sublayer, Tap, Unembedding
from depthtui.tracing.batching import at_once, slices
from depthtui.tracing.modules import hooks
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: Patch | None) -> Patch:
    """Compute the metric of a run; tokens already in `partial` are not patched again."""
    result = context.result
    part, source = result.settings.patch_part, result.source
    pair = pair_of(result)
    assert source is not None
    assert isinstance(pair, PatchPair)
    patching = Patching(
        context.replay,
        context.pass_of(source.ids),
        context.unembedding,
        pair,
        [] if part == "layer" else context.sublayers(part),
        context.layers_at_once(pair.place + 1),
    )
    texts = context.texts(patching.answers)
    about = {
        "part": part,
        "source": result.source_text,
        "at_texts": tuple(result.tokens.texts[token] for token in pair.at),
        "answers": tuple(texts[answer] for answer in patching.answers),
    }
    return patch(patching, context.report, partial, **about)


def patch(
    patching: Patching,
    on_tokens: Callable[[int, int, Patch | None], None] = lambda done, total, partial: None,
    partial: Patch | None = None,
    **about: Any,
) -> Patch:
    """Patch every token of the source in at every depth, the last token first.

    Args:
        patching: the two prompts.
        on_tokens: called after each token with the work done, all work, and the result so far.
        partial: the result so far, to continue from.
        about: fields of the result that describe its origin.

    Raises:
        DepthError: the two prompts' margins do not differ.
    """
    patching.check_parts()
    pair, n_tokens = patching.pair, patching.target.n_tokens
    result = partial
    if result is None:
        result = Patch.unknown(
            patching.target.n_layers,
            n_tokens,
            at=pair.at,
            place=pair.place,
            margins=patching.margins,
            **about,
        )
        rows = slice(patching.n_rows)
        result.recovered[rows, pair.place + 1 :] = 0.0
        result.recovered[rows, : patching.alike] = 0.0
    is_unknown = ~result.is_known
    columns = [(pair.at, n_tokens), *(((token,), token) for token in range(pair.place, -1, -1))]
    # The last token's curve is the one that a reader looks at first.
    columns[:2] = columns[1::-1]
    todo = [(tokens, column) for tokens, column in columns if is_unknown[column]]
    total = sum(patching.work(tokens) for tokens, _ in columns)
    done = total - sum(patching.work(tokens) for tokens, _ in todo)
    for tokens, column in todo:
        shares, floor = patching.shares(tokens)
        # Copied: the listener keeps a reference to a reported result.
        result = result.copied()
        values = result.differing if column == n_tokens else result.recovered[:, column]
        values[: len(shares)] = shares
        result.floor = max(result.floor, floor)
        done += patching.work(tokens)
        on_tokens(done, total, result)
    return result


@dataclass(eq=False)
class Patching:
    """Runs of a prompt with activations of another one put in.

    Attributes:
        target: the clean pass of the prompt.
        source: the clean pass of the other one.
        unembedding: final norm and LM head.
        pair: the alignment of the two.
        sublayers: the modules of each layer whose write is put in; none for the residual before
            each layer.
        rows_at_once: how many depths are in memory together; 0 for all.
        answers: the ids of the two answers, the source's first.
        margins: log p(answer of the source) - log p(answer of the prompt) of the source and of the
            prompt, in nats.
    """

    target: Replay
    source: Replay
    unembedding: Unembedding
    pair: PatchPair
    sublayers: Sequence[Sublayer] = ()
    rows_at_once: int = 0

    def __post_init__(self) -> None:
        place, answers = self.pair.place, self.pair.answers
        with torch.no_grad():
            ends = [replay.states[-1][place, None] for replay in (self.source, self.target)]
            logits = [self.unembedding.logits(end)[0].to("cpu") for end in ends]
            first = [int(row.argmax()) for row in logits]
            self.answers: tuple[int, int] = (
                first[0] if answers[0] is None else answers[0],
                first[1] if answers[1] is None else answers[1],
            )
            of_source, of_target = (
                float(row[self.answers[0]] - row[self.answers[1]]) for row in logits
            )
            self.margins = of_source, of_target
            self._writes = self._recorded() if self.sublayers else []

    @property
    def n_rows(self) -> int:
        """The number of depths, or layers, to patch at."""
        return rows_of("attention" if self.sublayers else "layer", self.target.n_layers)

    @property
    def alike(self) -> int:
        """The number of tokens with which both prompts begin; 0 where later tokens change these."""
        return self.pair.differing[0] if self.target.can_resume else 0

    def check_parts(self) -> None:
        """Raise `DepthError` where the two margins do not differ."""
        difference = abs(self.margins[0] - self.margins[1])
        if self.answers[0] == self.answers[1]:
            raise DepthError(f"{DO_NOT_PART}: the model answers both alike")
        if not difference >= LEAST_MARGIN:
            raise DepthError(
                f"{DO_NOT_PART}: between their answers the margin moves by {difference:.2g} nats"
            )

    def work(self, tokens: Sequence[int]) -> int:
        """The cost of patching some tokens, as a number of tokens that run."""
        return self.pair.place - self._start(tokens) + 1

    def shares(self, tokens: Sequence[int]) -> tuple[np.ndarray, float]:
        """The shares of the margin with some tokens put in together, and the largest by rounding.

        Returns:
            the share for each depth, or layer, and the largest size with the prompt's own states.

        Raises:
            DepthError: rounding alone gives all of the margin.
        """
        of_source, of_target = self.margins
        difference = of_source - of_target
        margins, unchanged = self.patched(tokens)
        floor = float(np.abs((unchanged - of_target) / difference).max())
        if not floor < 1:
            raise DepthError(f"{DO_NOT_PART}: rounding alone moves the margin as far")
        return ((margins - of_target) / difference).astype(np.float32), floor

    def patched(self, tokens: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The margins with some tokens put in together, by depth, and those with nothing put in.

        A margin with nothing put in is computed with each group of depths.
        """
        depths = list(range(self.n_rows))
        size = self.rows_at_once or len(depths)
        margins, unchanged = np.zeros(len(depths)), []
        with torch.no_grad():
            for rows in slices(len(depths), size):
                first, *others = self._run(tokens, depths[rows])
                margins[rows] = others
                unchanged.append(first)
        return margins, np.array(unchanged)

    def _start(self, tokens: Sequence[int]) -> int:
        """The first token that runs."""
        return min(tokens) if self.target.can_resume else 0

    def _run(self, tokens: Sequence[int], depths: Sequence[int]) -> list[float]:
        """The margins of the unchanged run and of each depth's, through one layer after another."""
        target, place = self.target, self.pair.place
        start, stop = self._start(tokens), target.end_for(place + 1)
        rows = target.states[depths[0]][None, start:stop]
        joining = set(depths)
        for layer in range(depths[0], target.n_layers):
            past = target.keys_values_before(layer, start) if start else None
            changed = None
            if layer in joining and not self.sublayers:
                rows = _append(rows, self._replaced(layer, tokens, start, stop))
            elif layer in joining:
                clean = target.states[layer][None, start:stop]
                with self._writing(layer, tokens, start):
                    changed = target.run_layer(layer, clean, start, past)[0]
            rows = target.run_layer(layer, rows, start, past)
            if changed is not None:
                rows = _append(rows, changed)
        if target.n_layers in joining:
            rows = _append(rows, self._replaced(target.n_layers, tokens, start, stop))
        return self._margins(rows[:, place - start])

    def _replaced(self, depth: int, tokens: Sequence[int], start: int, stop: int) -> Tensor:
        """The prompt's states at a depth with the source's at some tokens, `[tokens, D]`."""
        states = self.target.states[depth].clone()
        at = [token for token in tokens if token < stop]
        states[at] = self.source.states[depth][at].to(states)
        return states[start:stop]

    def _margins(self, ends: Tensor) -> list[float]:
        """The margin of each of some residuals `[rows, d]` behind the last layer."""
        head = self.unembedding
        room = part_bytes(ROW_BYTES, execution_device(head.head))
        size = at_once(len(ends), room, 4 * head.vocab_size)
        margins: list[float] = []
        for rows in slices(len(ends), size):
            ours, theirs = head.logits(ends[rows])[:, list(self.answers)].unbind(dim=1)
            margins += (ours - theirs).to("cpu").tolist()
        return margins

    def _recorded(self) -> list[list[Tensor]]:
        """The write of each module of each layer's sublayer in the source's pass, `[T, d]` each."""
        layer_writes: list[list[Tensor]] = []
        for layer, sublayer in enumerate(self.sublayers):
            writes: dict[Tap, Tensor] = {}
            like = self.source.residual[layer]

            def keep(
                tap: Tap, writes: dict[Tap, Tensor] = writes, like: Tensor = like
            ) -> Callable[..., None]:
                def hook(_module: object, args: tuple[Any, ...], output: Any) -> None:
                    writes[tap] = tap.write(args, output, like).clone()

                return hook

            with hooks() as handles:
                handles.extend(tap.module.register_forward_hook(keep(tap)) for tap in sublayer)
                self.source.run_layer(layer, self.source.states[layer][None])
            layer_writes.append([writes[tap] for tap in sublayer])
        return layer_writes

    @contextmanager
    def _writing(self, layer: int, tokens: Sequence[int], start: int) -> Iterator[None]:
        """Within the context, the layer's sublayer writes the source's values at some tokens."""
        places = [token - start for token in tokens]

        def replace(tap: Tap, writes: Tensor) -> Callable[..., Any]:
            def hook(_module: object, args: tuple[Any, ...], output: Any) -> Any:
                return tap.put(args, output, places, writes[list(tokens)])

            return hook

        with hooks() as handles:
            pairs = zip(self.sublayers[layer], self._writes[layer], strict=True)
            handles.extend(
                tap.module.register_forward_hook(replace(tap, writes)) for tap, writes in pairs
            )
            yield


def _append(rows: Tensor, row: Tensor) -> Tensor:
    return torch.cat([rows.to(row.device), row[None]])
