"""Until which layer the earlier tokens still matter to the tokens that read them.

Tokens before `start` stay h_k in all layers from k on, or get the substitute for these layers.
Tokens from `start` on run in full, and read the keys and values of these states. In layer k itself
keys and values are the clean ones: a row joins behind it, and is only the tokens from `start` on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from depthtui.metrics.context import Context
from depthtui.metrics.context_depth import ContextDepth, start_of
from depthtui.metrics.loss_change_kernel import Ran, fill_rows, token_losses
from depthtui.tracing.left_out import Substitute, left_out
from depthtui.tracing.replay import Replay


def compute(context: Context, partial: ContextDepth | None) -> ContextDepth:
    """Let the tokens before `start` skip all layers from each depth on, and measure the loss.

    The last depths come first; those already in `partial` are not computed again.
    """
    replay, unembedding = context.replay, context.unembedding
    start, substitute = start_of(context.result), context.substitute
    count, ids = replay.n_layers, replay.ids[start - 1 :]
    at_once = context.rows_at_once(count, replay.n_tokens)

    def losses(before: Sequence[Tensor], later: Tensor) -> Tensor:
        """The losses of the tokens from `start` on; the token before predicts the first."""
        last = torch.stack([residual[start - 1 :].to(later.device) for residual in before])
        return token_losses(unembedding, torch.cat([last, later], dim=1), ids)

    with torch.no_grad():
        before, after = replay.states[count - 1][:start], replay.states[count][:start]
        skipped = left_out(replay, count - 1, before, after, substitute)
        clean_ends = replay.states[-1][None, start:].expand(3, -1, -1)
        clean, *last = losses([after, skipped, after], clean_ends)

        def fill(result: ContextDepth, group: list[int], ran: Ran) -> ContextDepth:
            rows = _Rows(replay, start, group[0], substitute)
            for layer in range(group[0], count):
                rows.run(layer)
                ran(len(rows.before))
                if layer in group:
                    rows.join(layer)
            changes = losses([after, *rows.before], rows.ends()) - clean
            return result.filled(group, changes.numpy())

        result = partial
        if result is None:
            result = ContextDepth.unknown(count, replay.n_tokens, start=start)
            columns = result.columns
            # The last layer's output at a token is not read by later tokens.
            result.loss_change[count - 1 :, columns] = (torch.stack(last) - clean).numpy()
            alone = torch.cat([replay.ids[:1], replay.ids[start:]])
            losses_alone = token_losses(unembedding, replay.last_states(alone)[None], alone)[0]
            result.without_context[columns] = (losses_alone - clean).numpy()
            result.unchanged[columns] = 0.0
        costs = {depth: count - 1 - depth for depth in range(count - 1)}
        return fill_rows(context, result, costs, at_once, fill)


class _Rows:
    """Runs whose tokens before `start` skip all layers from a depth on, through one layer after
    another.

    The first row is the unchanged run, which measures the change by the computation itself.

    Args:
        replay: the clean run.
        start: the first token that is run in full.
        first: the layer that the rows begin with.
        substitute: the substitute for a layer that is left out.

    Attributes:
        before: the states of the tokens before `start`, `[start, D]`, in each of the other rows.
    """

    def __init__(self, replay: Replay, start: int, first: int, substitute: Substitute) -> None:
        self.before: list[Tensor] = []
        self._replay = replay
        self._substitute = substitute
        self._start = start
        # The last token predicts no other.
        self._stop = replay.end_for(replay.n_tokens - 1)
        self._later = replay.states[first][None, start : self._stop]

    def join(self, layer: int) -> None:
        """Add the run that skips `layer` and all after it; its later tokens are clean so far."""
        clean = self._replay.states[layer + 1][None, self._start : self._stop]
        self._later = torch.cat([self._later.to(clean.device), clean])
        self.before.append(self._left_out(layer, self._replay.states[layer][: self._start]))

    def run(self, layer: int) -> None:
        """Send all rows through `layer`.

        Where tokens cannot be run behind others, whole prompts are run, and cut here.
        """
        replay, start = self._replay, self._start
        clean = replay.states[layer][:start]
        before = torch.stack([clean, *(residual.to(clean.device) for residual in self.before)])
        self.before = [self._left_out(layer, residual) for residual in self.before]
        if not self._later.shape[1]:
            return
        if replay.can_resume:
            past = replay.keys_values_of(layer, before)
            self._later = replay.run_layer(layer, self._later, start, past)
        else:
            all_rows = torch.cat([before, self._later.to(before.device)], dim=1)
            self._later = replay.run_layer(layer, all_rows)[:, start:]

    def _left_out(self, layer: int, before: Tensor) -> Tensor:
        clean = self._replay.states[layer + 1][: self._start]
        return left_out(self._replay, layer, before, clean, self._substitute)

    def ends(self) -> Tensor:
        """The residuals after the last layer from `start` on; 0 at a last token that is not run."""
        n_padded = self._replay.n_tokens - self._start - self._later.shape[1]
        return torch.nn.functional.pad(self._later, (0, 0, 0, n_padded))
