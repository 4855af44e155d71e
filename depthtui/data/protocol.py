"""The messages between the explorer and the engine process.

The explorer sends commands, the engine sends events. Both are dataclasses that
`codec.encode` turns into bytes; nothing is pickled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from depthtui.data.arrays import MetricResult, arrays_of
from depthtui.data.inspection import Inspection
from depthtui.data.model import ModelInfo, ModelListing
from depthtui.data.pieces import Piece
from depthtui.data.run import Prompt, PromptTokens, RunResult
from depthtui.data.run_settings import (
    ModelSpec,
    Repeated,
    RunSettings,
    Writing,
)

DEVICE_LOST = 75
"""The engine's exit status after an error that lost its GPU: a new process can use it again."""


@dataclass(frozen=True)
class Configure:
    """First command: the folders of the cache, and the engine's share of the machine.

    The next command is answered by `EngineReady` first, unless it loads a model that is not
    available.
    `cache_dir` is empty for a session without a cache; `threads` is 0 for all cores.
    """

    cache_dir: str
    models_dir: str
    cache_limit: int
    cache_activations: bool = True
    threads: int = 0
    activation_limit: int = 1 << 30


@dataclass(frozen=True)
class TrustModel:
    """Let a model's own Python code run in this process from now on: the user has agreed."""

    spec: ModelSpec


@dataclass(frozen=True)
class ListModels:
    """List the models on the engine's disk; answered by `ModelsListed`, even during other work."""


@dataclass(frozen=True)
class FindModel:
    """Check that a model is available; answered by `ModelFound`, even during other work."""

    spec: ModelSpec


@dataclass(frozen=True)
class LoadModel:
    """Load a model; answered by `Progress`…, then `ModelLoaded` or `Failed`."""

    spec: ModelSpec


@dataclass(frozen=True)
class StartRun:
    """Run a prompt; answered by `RunStarted`, rows, then `RunFinished` or `Failed`.

    With `write`, the model writes the answer first: `TokensWritten`… come before the rows.

    With `step`, the forward pass halts after each layer until `Step` or `Continue`;
    with `fresh`, it runs even where the cache has the result. With `recall`, slower metrics that
    were not asked for but are in the cache come too, and are added to the result's settings.
    """

    run_id: int
    prompt: Prompt
    settings: RunSettings
    step: bool = False
    fresh: bool = False
    recall: bool = False
    write: Writing | None = None


@dataclass(frozen=True)
class CountTokens:
    """Count the tokens of a prompt; answered by `TokensCounted` once nothing else runs."""

    prompt: Prompt
    chat_template: bool


@dataclass(frozen=True)
class InspectLayer:
    """Inspect a layer at a token of a run; answered by `LayerInspected`.

    A later command replaces one that has not been answered yet. `lens` is the kind of lens that the
    page is read through.
    """

    run_id: int
    prompt: Prompt
    settings: RunSettings
    layer: int
    token: int
    lens: str


@dataclass(frozen=True)
class StartSweep:
    """Run the missing prompts of a sweep; answered by `SweepProgress`, `PromptDone` and
    `PromptFailed`, in the end `SweepFinished`.

    `plan` is JSON (see `sweep.saved`); records are saved in `folder`; an engine on another machine
    uses only its last name.
    """

    sweep_id: int
    folder: str
    plan: str


@dataclass(frozen=True)
class WriteModel:
    """Write the loaded model without some of its layers, or with some twice, to a new folder;
    answered by `Progress`…, then `ModelWritten` or `Failed`.

    `left_out` are layers, or parts of layers, by `piece`. An engine on another
    machine uses only the folder's last name. `heals` is whether a map makes up for the layers,
    where that helps.
    """

    run_id: int
    left_out: tuple[int, ...]
    folder: str
    repeated: tuple[Repeated, ...] = ()
    heals: bool = False
    piece: Piece = "layer"


@dataclass(frozen=True)
class Step:
    """Let a halted run compute one more layer."""


@dataclass(frozen=True)
class Continue:
    """Let a halted run continue to its end."""


@dataclass(frozen=True)
class Stop:
    """Stop the run; its results so far come back as an incomplete `RunFinished`.

    A generation ends with `GenerationFinished` and the tokens so far, a sweep with
    `SweepFinished`; its records are saved.
    """


@dataclass(frozen=True)
class Quit:
    """End the process."""


Command = (
    Configure
    | TrustModel
    | ListModels
    | FindModel
    | LoadModel
    | StartRun
    | StartSweep
    | WriteModel
    | CountTokens
    | InspectLayer
    | Step
    | Continue
    | Stop
    | Quit
)


@dataclass(frozen=True)
class EngineReady:
    """The process is up; `torch` and `transformers` are versions."""

    torch: str
    transformers: str


@dataclass(frozen=True)
class Progress:
    """Work with a known end, such as a download or a conversion.

    `total` is 0 where the end is unknown; `unit` is `B` for bytes or a plural noun.
    """

    stage: str
    done: int
    total: int
    unit: str


@dataclass(frozen=True)
class ModelsListed:
    """The models on the engine's disk; `problem` is why they cannot be listed, else empty."""

    models: tuple[ModelListing, ...]
    problem: str = ""


@dataclass(frozen=True)
class ModelFound:
    """Whether a model is available; `problem` is why it is not, else empty."""

    spec: ModelSpec
    problem: str = ""


@dataclass(frozen=True)
class ModelLoaded:
    """The model is ready for runs."""

    model: ModelInfo


@dataclass(frozen=True)
class RunStarted:
    """The prompt was tokenised and the forward pass begins."""

    run_id: int
    tokens: PromptTokens


@dataclass(frozen=True)
class TokensWritten:
    """The next tokens of the text that a run's model writes (see `RunResult.write_on`).

    The last ones come with the reason of the text's end, `stopped_by`; a text from the cache comes
    as a whole, without readings.
    """

    run_id: int
    ids: np.ndarray
    texts: list[str]
    readings: dict[str, MetricResult]
    seconds: float
    stopped_by: str = ""


@dataclass(frozen=True)
class Rows:
    """Rows `first`, `first + 1`, … of a metric of the forward pass; `metric` is its name.

    The rows begin at the token `from_token`, and may end before the last. `layers_done` layers
    have run. In a halted run the lens's KL and overlap are still NaN.
    """

    run_id: int
    metric: str
    first: int
    rows: MetricResult
    layers_done: int
    seconds: float
    from_token: int = 0

    @property
    def stop(self) -> int:
        """The first row after these."""
        return self.first + max(len(values) for _, values in arrays_of(self.rows))


@dataclass(frozen=True)
class MetricRows:
    """A slower metric's result so far; `metric` is its name.

    `done` of `total` units, such as layers or tokens, are done, 0 of 0 at the start. `value` is
    None where there is nothing to show yet, `seconds_left` negative where unknown.
    """

    run_id: int
    metric: str
    value: MetricResult | None
    done: int
    total: int
    seconds: float
    seconds_left: float = -1.0


@dataclass(frozen=True)
class Pace:
    """Speed of the loaded model; sent when a forward pass or a metric has been timed.

    Attributes:
        forward: seconds per token of a run's own pass; NaN where none was timed.
        tokens: number of tokens of this pass.
        metrics: by a metric's name, seconds per token for as much work as one forward pass.
        prepared: names of metrics whose preparation, done once per model, is complete.
    """

    forward: float = math.nan
    metrics: dict[str, float] = field(default_factory=dict)
    prepared: tuple[str, ...] = ()
    tokens: int = 0


@dataclass(frozen=True)
class Halted:
    """Step mode: layer `layer` has run and the forward pass waits for a key."""

    run_id: int
    layer: int


@dataclass(frozen=True)
class RunFinished:
    """The run's end; `result.complete` is False where it was stopped.

    `keys` are the cache keys of the result's parts, as in `SavedRun`.
    """

    run_id: int
    result: RunResult
    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelWritten:
    """A model was written to `folder`, with this many layers and parameters.

    `healing` is how it was healed, or why not, in words; `healed_kl` the KL to the whole model's
    output without and with healing, in nats, where it was.
    """

    run_id: int
    folder: str
    layers: int
    parameters: int
    healing: str = ""
    healed_kl: tuple[float, ...] = ()


@dataclass(frozen=True)
class LayerInspected:
    """A layer at a token of a run; `problem` is why there is no inspection, else empty."""

    run_id: int
    layer: int
    token: int
    inspection: Inspection | None
    problem: str = ""


@dataclass(frozen=True)
class TokensCounted:
    """The number of tokens of a prompt, wrapped in the chat template or not.

    `count` is -1 where the prompt cannot be counted, such as an empty one.
    """

    prompt: Prompt
    chat_template: bool
    count: int


@dataclass(frozen=True)
class SweepProgress:
    """Progress of a sweep: `done` of `total` prompts.

    `seconds_left` is negative where unknown; `now` is the current work.
    """

    sweep_id: int
    done: int
    total: int
    seconds_left: float
    now: str


@dataclass(frozen=True)
class PromptDone:
    """A prompt of a sweep was run, or found in its folder.

    `cell` is its place in the plan's cells, `record` JSON (see `sweep.records`).
    """

    sweep_id: int
    cell: int
    record: str


@dataclass(frozen=True)
class PromptFailed:
    """A cell or a prompt of a sweep failed; the fields are those of `sweep.folder.Failure`."""

    sweep_id: int
    model: str
    task: str
    prompt: int | None
    message: str


@dataclass(frozen=True)
class SweepFinished:
    """A sweep's end; `stopped` where the user stopped it, `problem` where it could not continue.

    `model` is the model that is loaded now.
    """

    sweep_id: int
    stopped: bool
    model: ModelInfo | None
    problem: str = ""


@dataclass(frozen=True)
class Failed:
    """An error, in words.

    `run_id` is -1 where no run failed; `still_loaded` is the earlier model where another one
    could not be loaded in its place; `code_in` is the folder of a model that could not be loaded
    without its own Python code, else empty.
    """

    message: str
    hint: str = ""
    run_id: int = -1
    still_loaded: ModelInfo | None = None
    code_in: str = ""

    @property
    def words(self) -> str:
        """The error and its remedy."""
        return f"{self.message} {self.hint}".strip()


@dataclass(frozen=True)
class Notice:
    """A message for a toast that is no failure, such as a damaged cache entry."""

    message: str


@dataclass(frozen=True)
class Memory:
    """Memory of the engine process and of its device, in bytes."""

    used: int
    total: int


Event = (
    EngineReady
    | Progress
    | ModelsListed
    | ModelFound
    | ModelLoaded
    | RunStarted
    | TokensWritten
    | Rows
    | MetricRows
    | Pace
    | Halted
    | RunFinished
    | ModelWritten
    | TokensCounted
    | LayerInspected
    | SweepProgress
    | PromptDone
    | PromptFailed
    | SweepFinished
    | Failed
    | Notice
    | Memory
)


LONGEST_WORDS = 2000
"""Most characters of a failure, a notice or a progress: a screen has room for fewer."""


def with_short_words(event: Event) -> Event:
    """The event; a failure, a notice or a progress with its texts cut to a length that is shown."""
    if not isinstance(event, Failed | Notice | Progress):
        return event
    cut: dict[str, Any] = {
        name: value[:LONGEST_WORDS] + "…"
        for name, value in vars(event).items()
        if isinstance(value, str) and len(value) > LONGEST_WORDS
    }
    return replace(event, **cut) if cut else event


def is_superseded(event: Event, following: Event) -> bool:
    """Whether nothing is lost where an event is left out before the one that follows it."""
    match event, following:
        case Progress(stage=stage), Progress(stage=following_stage):
            return stage == following_stage
        case SweepProgress(sweep_id=sweep_id), SweepProgress(sweep_id=following_id):
            return sweep_id == following_id
        case Memory(), Memory():
            return True
        case Notice(), Notice():
            return event == following
    return False
