"""The final norm of a model whose readout mixes the streams of several depths, by its own code."""

from __future__ import annotations

from torch import Tensor, nn

from depthtui.tracing.carried import CarriedStreams
from depthtui.tracing.layer_arguments import empty_output
from depthtui.tracing.layer_runs import ProbePass
from depthtui.tracing.modules import decoder


class StatesReadout(nn.Module):
    """N(state), `[..., d]`, of the last states `[..., D]`: the decoder with all streams given.

    Each state is a text of one token, since the readout mixes no tokens.

    Args:
        model: the whole model; its parameters are not counted as the readout's.
        probe: a pass of the model.
        carried: the streams that are read.
    """

    def __init__(self, model: nn.Module, probe: ProbePass, carried: CarriedStreams) -> None:
        super().__init__()
        self.behind = nn.ModuleList(probe.behind)
        self._decoder = (decoder(model),)
        self._blocks = [run.block for run in probe.runs]
        self._outputs = [empty_output(run.output, probe.ids.shape[1]) for run in probe.runs]
        self._carried = carried
        self._token = probe.ids[:, :1]

    def forward(self, states: Tensor) -> Tensor:
        """N(state) of each state."""
        last, outputs = len(self._blocks), list[Tensor]()
        streams = self._carried.streams(last, states.reshape(-1, 1, states.shape[-1]))
        ids = self._token.expand(states[..., 0].numel(), 1)

        def decode() -> None:
            outputs.append(self._decoder[0](input_ids=ids, use_cache=False)[0])

        self._carried.calls(streams, self._blocks, self._outputs, 0, decode)
        (normed,) = outputs
        return normed.reshape(*states.shape[:-1], self._carried.width)
