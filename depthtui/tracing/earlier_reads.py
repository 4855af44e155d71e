"""Finds which streams of earlier depths layers read, by changing the streams one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from depthtui.errors import DepthError
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.carried import CarriedStreams, lay_out
from depthtui.tracing.layer_arguments import LayerArguments, empty_output
from depthtui.tracing.layer_runs import ProbePass, is_same, serves
from depthtui.tracing.modules import decoder

_SEED = 2029


def find_carried(model: nn.Module, probe: ProbePass) -> CarriedStreams | None:
    """Which earlier streams a model's states carry beside their own, or None.

    None too where layers pass on more than streams: a layer then gives another output when all
    streams before it are given.
    """
    try:
        with torch.no_grad():
            return _find_carried(model, probe)
    except DepthError:
        return None
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return None


def _find_carried(model: nn.Module, probe: ProbePass) -> CarriedStreams | None:
    runs = probe.runs
    if runs[0].streams != 1:
        return None
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    writes_first = torch.equal(embedding(probe.ids).to(runs[0].before), runs[0].before)
    given_pass = _StreamPass(
        model,
        probe,
        outputs=[empty_output(run.output, probe.ids.shape[1]) for run in runs],
        carried=CarriedStreams(
            runs[0].before.shape[-1], ((),), True, embedding if writes_first else None
        ),
    )
    streams = [runs[0].before, *(run.after for run in runs)]
    clean = given_pass.run(streams)
    for layer, run in enumerate(runs):
        # In a separate pass: a layer must find no state that another layer has left.
        call = given_pass.call(streams, layer)
        if not (is_same(call.states, run.before) and serves(run, call)):
            return None
    readers = [given_pass.readers(streams, depth, clean) for depth in range(len(runs))]
    if not writes_first:
        readers[0] = {0}
    beside = [layers - {depth} for depth, layers in enumerate(readers)]
    between = dict.fromkeys(module for run in runs[1:] for module in run.between)
    return CarriedStreams(
        width=runs[0].before.shape[-1],
        slots=lay_out([*readers, set()]),
        readout_reads=any(len(runs) in layers for layers in beside),
        embedding=embedding if beside[0] else None,
        between=tuple(dict.fromkeys((*between, *probe.behind))),
    )


@dataclass(frozen=True)
class _PassRecord:
    """The arguments of the layers in a pass, and the decoder's output."""

    calls: list[LayerArguments]
    output: Tensor | None


@dataclass(frozen=True)
class _StreamPass:
    """Passes of the probe's tokens in which the streams of all depths are given."""

    model: nn.Module
    probe: ProbePass
    outputs: list[Any]
    carried: CarriedStreams

    def run(self, streams: Sequence[Tensor]) -> _PassRecord:
        """Run a pass with the given streams of depths 0 … L, each `[1, T, d]`."""
        return _PassRecord(*self._calls(streams))

    def call(self, streams: Sequence[Tensor], layer: int) -> LayerArguments:
        """The call of one layer in a pass that ends there."""
        return self._calls(streams, until=layer)[0][-1]

    def _calls(
        self, streams: Sequence[Tensor], until: int | None = None
    ) -> tuple[list[LayerArguments], Tensor | None]:
        output: Tensor | None = None

        def decode() -> None:
            nonlocal output
            output = decoder(self.model)(input_ids=self.probe.ids, use_cache=False)[0]

        blocks, stream_of_depth = [run.block for run in self.probe.runs], dict(enumerate(streams))
        calls = self.carried.calls(stream_of_depth, blocks, self.outputs, 0, decode, until)
        return calls, output

    def readers(self, streams: Sequence[Tensor], depth: int, clean: _PassRecord) -> set[int]:
        """The layers that read the stream of a depth; L stands for the readout."""
        noise = torch.randn(streams[depth].shape, generator=torch.Generator().manual_seed(_SEED))
        size = streams[depth].float().square().mean().sqrt()
        changed_streams = list(streams)
        changed_streams[depth] = streams[depth] + (noise.to(size) * size).to(streams[depth])
        changed_record = self.run(changed_streams)
        pairs = zip(clean.calls, changed_record.calls, strict=True)
        readers = {layer for layer, pair in enumerate(pairs) if not _is_same_call(*pair)}
        return (
            readers
            if is_same(clean.output, changed_record.output)
            else readers | {len(clean.calls)}
        )


def _is_same_call(first: LayerArguments, second: LayerArguments) -> bool:
    return is_same(
        (first.args, dict(first.kwargs), first.states),
        (second.args, dict(second.kwargs), second.states),
    )
