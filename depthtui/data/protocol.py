"""What the explorer and the engine process say to each other.

Commands go down the pipe, events come up. Both are dataclasses that
`codec.encode` turns into bytes; nothing is pickled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from depthtui.data.arrays import MetricResult, arrays_of
from depthtui.data.generation import Continuation, Generation
from depthtui.data.inspection import Inspection
from depthtui.data.model import ModelInfo, ModelListing
from depthtui.data.run import Prompt, RunResult, Tokens
from depthtui.data.run_settings import GenerationSettings, ModelSpec, Repeated, RunSettings

DEVICE_LOST = 75
"""The engine's exit status after an error that cost it its GPU: a new process gets it back."""


@dataclass(frozen=True)
class Configure:
    """First command: where the cache is and how the engine shares the machine.

    The next one is answered by `EngineReady` first, unless it loads what is not at hand.
    `cache_dir` is empty for a session without a cache; `threads` is 0 for all cores but one.
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
    """List the models on the engine's disk; answered by `ModelsListed`, whatever else runs."""


@dataclass(frozen=True)
class FindModel:
    """See that a model is at hand; answered by `ModelFound`, whatever else runs."""

    spec: ModelSpec


@dataclass(frozen=True)
class LoadModel:
    """Load a model; answered by `Progress`…, then `ModelLoaded` or `Failed`."""

    spec: ModelSpec


@dataclass(frozen=True)
class StartRun:
    """Run a prompt; answered by `RunStarted`, rows, then `RunFinished` or `Failed`.

    With `step`, the forward pass halts after each layer until `Step` or `Continue`;
    with `fresh`, it runs even where the cache has the result. With `recall`, what the cache has
    of slower metrics that were not asked for comes too, and stands in the result's settings.
    """

    run_id: int
    prompt: Prompt
    settings: RunSettings
    step: bool = False
    fresh: bool = False
    recall: bool = False


@dataclass(frozen=True)
class StartGeneration:
    """Go on with a prompt; answered by `GenerationStarted`, `GeneratedTokens`…, then
    `GenerationFinished` or `Failed`."""

    run_id: int
    prompt: Prompt
    settings: GenerationSettings


@dataclass(frozen=True)
class CountTokens:
    """Say how many tokens a prompt has; answered by `TokensCounted` once nothing else runs."""

    prompt: Prompt
    chat_template: bool


@dataclass(frozen=True)
class InspectLayer:
    """Look into a layer at a token of a run; answered by `LayerInspected`.

    One that follows takes its place where it has not been answered yet. `lens` is the kind that
    the page is read through.
    """

    run_id: int
    prompt: Prompt
    settings: RunSettings
    layer: int
    token: int
    lens: str


@dataclass(frozen=True)
class StartSweep:
    """Run what a sweep lacks; answered by `SweepProgress`, `PromptDone` and `PromptFailed`, in
    the end `SweepFinished`.

    `plan` is JSON (see `sweep.saved`); records are kept in `folder`, of which an engine elsewhere
    takes the last name alone.
    """

    sweep_id: int
    folder: str
    plan: str


@dataclass(frozen=True)
class WriteModel:
    """Write the loaded model without some of its layers, or with some twice, to a folder that is
    not there yet; answered by `Progress`…, then `ModelWritten` or `Failed`.

    An engine elsewhere takes the folder's last name alone.
    """

    run_id: int
    left_out: tuple[int, ...]
    folder: str
    repeated: tuple[Repeated, ...] = ()


@dataclass(frozen=True)
class Step:
    """Let a halted run compute one more layer."""


@dataclass(frozen=True)
class Continue:
    """Let a halted run go on to its end."""


@dataclass(frozen=True)
class Stop:
    """Stop the run; what was done comes back as an incomplete `RunFinished`.

    A generation ends with `GenerationFinished` and the tokens that there are, a sweep with
    `SweepFinished`; its records stay.
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
    | StartGeneration
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
    """The models on the engine's disk; `problem` says why they cannot be listed, else empty."""

    models: tuple[ModelListing, ...]
    problem: str = ""


@dataclass(frozen=True)
class ModelFound:
    """Whether a model is at hand; `problem` says why it is not, else empty."""

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
    tokens: Tokens


@dataclass(frozen=True)
class Rows:
    """Rows `first`, `first + 1`, … of a metric of the forward pass; `metric` is its name.

    They begin at the token `from_token`, and may end before the last. `layers_done` layers have
    run. In a halted run the lens's KL and overlap are still NaN.
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
    """A slower metric as far as it is done; `metric` is its name.

    `done` of `total` units, such as layers or tokens, 0 of 0 where it begins. `value` is None
    where there is nothing to show of it yet, `seconds_left` negative where it cannot be told.
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
    """How quick the loaded model is; comes when a forward pass or a metric has been timed.

    Attributes:
        forward: seconds of a run's own pass for each of its tokens; NaN where none was timed.
        tokens: how many these were.
        metrics: by a metric's name, the same for as much of its work as one forward pass.
        prepared: names of metrics of which the model has everything that is found once.
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

    `keys` are the cache keys of the result's parts, as in `KeptRun`.
    """

    run_id: int
    result: RunResult
    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GenerationStarted:
    """The prompt was tokenised and the model reads it."""

    run_id: int
    tokens: Tokens


@dataclass(frozen=True)
class GeneratedTokens:
    """The next tokens of a generation."""

    run_id: int
    part: Continuation
    seconds: float


@dataclass(frozen=True)
class GenerationFinished:
    """The generation's end; `generation.complete` is False where it was stopped."""

    run_id: int
    generation: Generation


@dataclass(frozen=True)
class ModelWritten:
    """A model without some layers lies in `folder`, with so many layers and parameters."""

    run_id: int
    folder: str
    layers: int
    parameters: int


@dataclass(frozen=True)
class LayerInspected:
    """A layer at a token of a run; `problem` says why there is no inspection, else empty."""

    run_id: int
    layer: int
    token: int
    inspection: Inspection | None
    problem: str = ""


@dataclass(frozen=True)
class TokensCounted:
    """How many tokens a prompt has, wrapped in the chat template or not.

    `count` is -1 where it has none that could be counted, such as an empty one.
    """

    prompt: Prompt
    chat_template: bool
    count: int


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is: `done` of `total` prompts.

    `seconds_left` is negative where it cannot be told; `now` says what is being done.
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
    """Something that a sweep could not do; the fields are those of `sweep.folder.Failure`."""

    sweep_id: int
    model: str
    task: str
    prompt: int | None
    message: str


@dataclass(frozen=True)
class SweepFinished:
    """A sweep's end; `stopped` where the user asked for it, `problem` where it could not go on.

    `model` is what is loaded now.
    """

    sweep_id: int
    stopped: bool
    model: ModelInfo | None
    problem: str = ""


@dataclass(frozen=True)
class Failed:
    """Something went wrong, in words.

    `run_id` is -1 where it was not a run; `still_loaded` is the model from before where
    another one could not be loaded in its place; `code_in` is the folder of a model that could
    not be loaded without Python code of its own, else empty.
    """

    message: str
    hint: str = ""
    run_id: int = -1
    still_loaded: ModelInfo | None = None
    code_in: str = ""

    @property
    def words(self) -> str:
        """What went wrong and what to do about it."""
        return f"{self.message} {self.hint}".strip()


@dataclass(frozen=True)
class Notice:
    """Something worth a toast that is no failure, such as a damaged cache entry."""

    message: str


@dataclass(frozen=True)
class Memory:
    """What the engine process holds, and what its device has, in bytes."""

    used: int
    total: int


Event = (
    EngineReady
    | Progress
    | ModelsListed
    | ModelFound
    | ModelLoaded
    | RunStarted
    | Rows
    | MetricRows
    | Pace
    | Halted
    | RunFinished
    | GenerationStarted
    | GeneratedTokens
    | GenerationFinished
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
