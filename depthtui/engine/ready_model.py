"""A loaded model with its anatomy and description, ready for runs."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import torch
import transformers
from torch import Tensor

import depthtui
from depthtui.data.model import ModelInfo
from depthtui.data.protocol import Pace
from depthtui.data.run import Prompt, Provenance
from depthtui.engine import memory
from depthtui.engine.memory import Placement
from depthtui.engine.metric_context import Baselines, most_at_once
from depthtui.engine.tokens import Vocabulary, tokenise
from depthtui.errors import DepthError, first_line
from depthtui.metrics.costs import Sizes
from depthtui.models.devices import execution_device, hardware
from depthtui.models.loading import LoadedModel
from depthtui.models.out_of_memory import is_out_of_memory
from depthtui.tracing.anatomy import Anatomy
from depthtui.tracing.batching import at_once
from depthtui.tracing.decoding import reads_on
from depthtui.tracing.layer_call import why_no_experts
from depthtui.tracing.layer_parameters import with_parameters
from depthtui.tracing.layer_types import layer_types
from depthtui.tracing.probe import probe_architecture
from depthtui.tracing.products import choose_products, product_of
from depthtui.tracing.replay import Replay


@dataclass
class ReadyModel:
    """A model that is ready for runs.

    `reads_on` is whether it continues correctly from its cache of keys and values, None where
    that has not been tried yet.
    """

    loaded: LoadedModel
    anatomy: Anatomy
    info: ModelInfo
    vocabulary: Vocabulary
    baselines: Baselines
    reads_on: bool | None = None
    pace: Pace = field(default_factory=Pace)

    @functools.cached_property
    def placement(self) -> Placement:
        """The devices on which it computes."""
        return Placement.of(self.anatomy)

    def can_read_on(self) -> bool:
        """Whether the model continues correctly from its cache; tried once."""
        if self.reads_on is None:
            self.reads_on = reads_on(self.loaded.model, self.anatomy)
        return self.reads_on

    def sizes(self, n_tokens: int, answer_start: int) -> Sizes:
        """The sizes on which the memory of a run of this many tokens depends."""
        n_answer = max(0, n_tokens - answer_start)
        return memory.sizes_of(self.loaded.model, self.info, n_tokens, n_answer)

    def replay(self, ids: Tensor, checkpoint: Callable[[], None]) -> Replay:
        """The clean pass of a text, for runs that start from it.

        Args:
            ids: `[T]` token ids, on any device.
            checkpoint: called before every layer; raising there ends the work.
        """
        model = self.loaded.model
        device = execution_device(model.get_input_embeddings())
        most = max(256, most_at_once(device))
        return Replay(model, self.anatomy, ids.to(device), checkpoint, most)

    def rows_at_once(self, rows: int, n_tokens: int, share: int = 1) -> int:
        """How many rows of residuals fit in memory together, each with keys and values.

        Args:
            rows: how many are needed.
            n_tokens: tokens of a row.
            share: how many texts share the memory.
        """
        sizes, room = self.sizes(n_tokens, n_tokens), min(self.placement.rooms().values())
        return at_once(rows, room // 3 // share, 4 * n_tokens * sizes.width * sizes.item)

    def check_ids(self, ids: np.ndarray) -> None:
        """Refuse tokens of the tokenizer that the model does not have.

        Raises:
            DepthError: there is such a token.
        """
        n_embeddings: int = self.loaded.model.get_input_embeddings().num_embeddings  # type: ignore[assignment]
        beyond = ids[ids >= n_embeddings]
        if len(beyond):
            text = ascii(self.vocabulary.text(int(beyond[0])))
            raise DepthError(
                f"The tokenizer makes the token {text} (id {beyond[0]}), but the model's "
                f"embedding ends at {n_embeddings - 1}.",
                "Leave that token out of the prompt.",
            )

    def does_not_fit(self, sizes: Sizes) -> DepthError:
        """The error for a prompt at which the memory ran out."""
        return memory.does_not_fit(self.info, sizes, self.placement, self.placement.rooms())

    def provenance(self, started: datetime, seconds: float) -> Provenance:
        """The provenance of its results."""
        return Provenance(
            depthtui=depthtui.__version__,
            torch=torch.__version__,
            transformers=transformers.__version__,
            python=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
            started=started.isoformat(timespec="seconds"),
            seconds=seconds,
            product=product_of(self.loaded.model),
            device=hardware(self.info.device),
        )


def make_ready(
    loaded: LoadedModel,
    baseline_texts: Callable[[], Sequence[str]],
    keep_details: Callable[[Exception], None],
) -> ReadyModel:
    """Probe a model that is in memory.

    Args:
        loaded: the model.
        baseline_texts: the prompts of the mean baseline where a run names none.
        keep_details: logs the error of a model that cannot be run.

    Raises:
        DepthError: its layers cannot be traced, or too little memory is left to try.
    """
    anatomy = _probe(loaded, keep_details)
    info = replace(
        loaded.info,
        parallel=anatomy.parallel,
        split_missing=anatomy.split_missing,
        lens_missing=anatomy.lens_missing,
        experts_missing=why_no_experts(anatomy.layers),
        layer_types=layer_types(loaded.model, anatomy.layers),
        n_layers=loaded.info.n_layers if loaded.is_readout else len(anatomy.layers),
        d_model=anatomy.width,
        streams=anatomy.streams,
        calls=anatomy.calls,
        broken_at=tuple(anatomy.between),
        reads_earlier=anatomy.carried is not None,
        mixes_depths=anatomy.carried is not None and anatomy.carried.readout_reads,
    )
    if not loaded.is_readout:
        info = with_parameters(info, loaded.model, anatomy, loaded.parameter_counts)
    # Chosen here: later the choice would count into the first time that is measured.
    choose_products(loaded.model)
    vocabulary = Vocabulary(loaded.tokenizer)

    def ids_of(text: str) -> Tensor:
        ids = tokenise(loaded.tokenizer, Prompt(text), False, vocabulary).ids
        return torch.from_numpy(ids).to(execution_device(loaded.model.get_input_embeddings()))

    baselines = Baselines(loaded.model, anatomy, ids_of, baseline_texts)
    return ReadyModel(loaded, anatomy, info, vocabulary, baselines)


def _probe(loaded: LoadedModel, keep_details: Callable[[Exception], None]) -> Anatomy:
    name = loaded.info.name
    try:
        return probe_architecture(loaded.model)
    except DepthError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise DepthError(
                f"{name} is loaded, and leaves too little memory to run a few tokens.",
                "Use --dtype bfloat16, --quantize 4bit, or a smaller model.",
            ) from error
        keep_details(error)
        if loaded.info.spec.tensor_parallel > 1:
            raise DepthError(
                f"{name} was cut by transformers' plan and cannot be run: {first_line(error)}.",
                "The plan may not fit it: start one process.",
            ) from error
        raise DepthError(
            f"{name} is loaded and cannot be run: {first_line(error)}.",
            "It may need more than the tokens of a text, such as an image; or its "
            "config.json is damaged.",
        ) from error
