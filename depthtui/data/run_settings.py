"""Users' choices: a model, and the settings of runs, summaries and generated texts.

A field with an `Option` is a setting of the settings file (where `Settings` has it too), of
plans and of the command line. Imports no large packages: `--help` imports this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, Self

from depthtui.data.selection import positions_text, read_layers, read_positions
from depthtui.options import Option, WrongValue

MOST_EXAMPLES = 1_000_000
"""Most prompts of one task."""

EXAMPLES = 10
"""Default number of prompts of one task, as in the paper."""

LENSES = ("logit", "affine", "jacobian")
"""The lenses that the residual stream may be read through; the first is the default."""


def read_device(value: Any) -> str:
    """The name of a device; `WrongValue` for another text."""
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        raise WrongValue("auto, cpu, cuda, cuda:N or mps")
    return value


LensTopK = Annotated[
    int, Option("Tokens that the lens lists at each layer.", least=1, most=1000, group="Runs")
]
ChatTemplate = Annotated[bool, Option("Wrap prompts in the model's chat template.", group="Runs")]
Seed = Annotated[int, Option("Seed of everything random.", group="Runs")]
KlThreshold = Annotated[
    float,
    Option("KL rule: share of the largest KL.", most=1, label="KL threshold", group="Depths"),
]
OverlapThreshold = Annotated[
    float, Option("Overlap rule: overlap that is enough.", most=1, group="Depths")
]
Confidence = Annotated[float, Option("Early exit: how sure the lens must be.", most=1)]
SettlingThreshold = Annotated[
    float, Option("Settling depth: divergence in nats to stay below.", most=1)
]
AnswersWithin = Annotated[
    float,
    Option(
        "Right answers: the percentage points by which fewer may be right.",
        most=50,
        above_least=True,
    ),
]
Share = Annotated[
    float,
    Option("Knowledge kept: the share at which layers are counted.", least=0.01, most=0.999),
]
Within = Annotated[
    float,
    Option(
        "Knowledge kept: count layers at so many nats a token above the whole model's loss, not at "
        "a share.",
        most=10,
    ),
]
Lens = Annotated[
    str,
    Option(
        "The lens that depths are read through; a fitted one is computed.",
        choices=LENSES,
        group="Depths",
    ),
]
IncludeFirstToken = Annotated[
    bool,
    Option(
        "Leave token 0 out of the means.",
        switch="--skip-first-token",
        label="token 0 counts",
        group="Depths",
    ),
]


@dataclass(frozen=True)
class ModelSpec:
    """A model to load, and how.

    Attributes:
        name: `demo`, a hub id, a local folder or a GGUF file.
        revision: a hub revision, or empty for the default.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `auto`, `float32`, `bfloat16`, `float16`.
        quantize: empty, `8bit` or `4bit`.
        adapter: a folder or a hub id of a LoRA adapter that is merged into it, or empty.
        tensor_parallel: number of ranks that its weights are split over; 1 for no split.
    """

    name: Annotated[str, Option("A hub id, a local folder or a GGUF file.")] = "demo"
    revision: Annotated[
        str, Option("Revision of a model from the hub.", example="the default one")
    ] = ""
    device: Annotated[str, Option("auto, cpu, cuda, cuda:N or mps.", read=read_device)] = "auto"
    dtype: Annotated[
        str,
        Option(
            "Type of the weights in memory.",
            choices=("auto", "float32", "bfloat16", "float16"),
            aliases=(("fp32", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")),
        ),
    ] = "auto"
    quantize: Annotated[
        str,
        Option(
            "Load the weights in fewer bits, with bitsandbytes.",
            choices=("8bit", "4bit"),
            words=("no", "8bit", "4bit"),
        ),
    ] = ""
    adapter: Annotated[
        str,
        Option(
            "Merge a LoRA adapter of peft into it: a folder or a hub id.",
            example="none · a folder or a hub id",
        ),
    ] = ""
    tensor_parallel: Annotated[
        int,
        Option(
            "Ranks that each hold a part of every layer; torchrun starts them.", least=1, most=4096
        ),
    ] = 1


@dataclass(frozen=True)
class Skip:
    """A layer, or one of its sublayers, that a run leaves out.

    Attributes:
        layer: index of the layer, 0-based.
        part: `layer`, `attention` or `mlp`.
    """

    layer: int
    part: str = "layer"


@dataclass(frozen=True, order=True)
class Repeated:
    """A block of layers that run twice, one pass after the other.

    Attributes:
        first, last: first and last layer of the block, 0-based.
    """

    first: int
    last: int

    @property
    def layers(self) -> range:
        """The block's layers, in order."""
        return range(self.first, self.last + 1)


@dataclass(frozen=True, order=True)
class PatchedCell:
    """A state of the text that a run is patched from, in place of the run's own.

    Attributes:
        layer: index of the layer, 0-based.
        token: index of the token, 0-based.
        part: `layer` for the layer's input, `attention` or `mlp` for the write of this sublayer.
    """

    layer: int
    token: int
    part: str = "layer"


def why_not_repeated(repeated: Iterable[Repeated], n_layers: int) -> str:
    """Why blocks cannot run twice in a model of `n_layers`, in words; empty where they can."""
    blocks = sorted(repeated)
    for block in blocks:
        if not 0 <= block.first <= block.last < n_layers:
            return f"there is no block of layers {block.first} to {block.last}"
    for block, next_block in pairwise(blocks):
        if next_block.first <= block.last:
            return f"layer {next_block.first} is in two blocks that run twice"
    return ""


def path_of(n_layers: int, repeated: Iterable[Repeated]) -> tuple[int, ...]:
    """The layers that run, in order: the layers of a repeated block come again after it."""
    layers_after = {block.last: block.layers for block in repeated}
    return tuple(
        passed for layer in range(n_layers) for passed in (layer, *layers_after.get(layer, ()))
    )


OF_A_PART = (
    "layers",
    "skip_part",
    "skip_everywhere",
    "skip_positions",
    "ablate",
    "keep_first_token",
    "erase_tokens",
    "erase_search",
    "erase_threshold",
    "patch_from",
    "patch_part",
)
"""Fields of `RunSettings` that choose which part of a run slower metrics measure, and how."""


@dataclass(frozen=True)
class RunSettings:
    """The settings that a run's arrays depend on, beside the model and the prompt.

    Attributes:
        lens_top_k: number of tokens that the lens lists at each layer.
        chat_template: whether the prompt is wrapped in the chat template.
        metrics: names of the metrics to compute (see `metrics.registry.METRICS`).
        skipped: the parts that the run leaves out, a what-if; empty for a clean run.
        repeated: the blocks that run twice, also a what-if; none overlap.
        patched: the states that are replaced by those of the text `patch_from`, also a what-if.
        answer_start: index of the answer's first token where the user marked it, else -1.
        seed: seed of the positions of the skip effects.
        lengths_before: token counts of the prompts before this one, over which the random
            choice of positions continues (paper, metric 2).
        skip_part: the part of a layer that skip effects and similar metrics leave out: `layer`,
            `attention` or `mlp`.
        skip_everywhere: skip at all tokens instead of those before a position.
        tolerance: target completeness error of integrated gradients.
        riemann_steps: if positive, left-Riemann steps instead of adaptive ones (paper: 256).
        baseline: texts whose mean residual replaces erased ones; empty for ten grade-school
            prompts.
        layers: layers that slower metrics go through, in the notation of `data.selection`; empty
            for all. Residual erasure erases at the inputs of these layers.
        skip_positions: the positions t of the skip effects; empty for random ones.
        erase_tokens: number of tokens that residual erasure draws, one from each of as many
            stretches of the prompt; 0 for all tokens.
        erase_search: `bisect` searches, for each token, the depth until which erasing it has an
            effect of at least `erase_threshold`; `spans` erases neighbouring tokens together, and
            splits them where they have this effect; empty for the effects at every depth.
        erase_threshold: smallest effect for `erase_search`, a distance |p - p~|.
        lens_texts: a file of texts that fitted lenses are fitted on; empty for an existing lens,
            else for texts that the model writes.
        lens_ridge: weight of the affine lens's pull towards the identity; 0 for the weight of an
            existing lens, else for the best weight on held-out texts.
        order_source: the order in which layers are left out together: `model`, found once on
            texts that the model writes, or `own`, found on other tokens of the prompts.
        order_search: how the order is found: `lazy`, one layer after another from a queue of their
            last costs; `ranked`, by the cost of each layer by itself; or `greedy`, with more layers
            tried each time.
        order_texts: the prompts on which an own order is found, the one that is read beside the
            model's included; empty for one half of the prompt's blocks of tokens, read on the
            other half.
        order_answers: the answer of each of them, at its end; empty where they have none.
        task_answers: the answers of the prompts of one task that are run together, the prompt's own
            among them; empty where they are too few for a guess of the task.
        ablate: the write of a layer that is left out: nothing (`zero`), or its mean update over
            the baseline prompts (`mean`).
        keep_first_token: keep every layer at token 0, often an attention sink, where layers are
            left out at all tokens.
        patch_from: a text of as many tokens whose states are put into the prompt's pass; empty
            for the prompt's own contrast, where it has one.
        patch_part: the states that are put in: the residual before a layer (`layer`), or the
            write of the layer's `attention` or `mlp`.
    """

    lens_top_k: LensTopK = 10
    chat_template: ChatTemplate = False
    metrics: Annotated[
        tuple[str, ...],
        Option("Metrics in place of the default set; `depthtui metrics` lists them."),
    ] = ("contributions", "logit_lens")
    skipped: tuple[Skip, ...] = ()
    repeated: tuple[Repeated, ...] = ()
    patched: tuple[PatchedCell, ...] = ()
    answer_start: int = -1
    seed: Seed = 123
    lengths_before: tuple[int, ...] = ()
    skip_part: Annotated[
        str,
        Option(
            "What to leave out of a layer: all of it, its attention or its MLP.",
            choices=("layer", "attention", "mlp"),
            words=("layer", "attention", "MLP"),
            label="what is skipped",
        ),
    ] = "layer"
    skip_everywhere: Annotated[
        bool,
        Option(
            "Skip layers at all tokens, not only at earlier ones.", label="skipped at all tokens"
        ),
    ] = False
    tolerance: Annotated[
        float,
        Option("Completeness error that integrated gradients stop at.", above_least=True, most=1),
    ] = 0.01
    riemann_steps: Annotated[
        int,
        Option(
            "Integrate in so many left-Riemann steps (the paper: 256), whatever the error.",
            least=1,
            most=1_000_000,
        ),
    ] = 0
    baseline: tuple[str, ...] = ()
    layers: Annotated[
        str,
        Option(
            "Go through only these layers in slower metrics: 0-5,20, or /4 for every fourth.",
            read=read_layers,
            example="all · 0-5,20 · /4 for every fourth",
        ),
    ] = ""
    skip_positions: Annotated[
        tuple[int, ...],
        Option(
            "Skip layers before these tokens, such as 8,20, not before random ones.",
            read=read_positions,
            write=positions_text,
            label="skipped before",
            example="four random ones · 8,20",
        ),
    ] = ()
    erase_tokens: Annotated[
        int,
        Option(
            "Erase so many tokens, drawn from all over the prompt.",
            least=1,
            label="tokens to erase",
            example="all · 64 from all over the prompt",
        ),
    ] = 0
    erase_search: Annotated[
        str,
        Option(
            "Find until which depth each token matters, and no more: by bisection, or the same "
            "with spans of tokens erased first.",
            choices=("bisect", "spans"),
            words=("at every depth", "by bisection", "by spans"),
            label="erased",
        ),
    ] = ""
    erase_threshold: Annotated[
        float,
        Option(
            "Effect that an erased token must have to matter in a search of depths.",
            above_least=True,
            most=1,
            label="effect that counts",
        ),
    ] = 0.1
    lens_texts: Annotated[
        str,
        Option(
            "File of texts that lenses are fitted on: JSON lines with `text`, or plain lines; "
            "else the model writes some."
        ),
    ] = ""
    lens_ridge: Annotated[
        float,
        Option(
            "Pull of the affine lens towards the identity; 0 for what reads held-out texts best.",
            most=1e6,
        ),
    ] = 0.0
    order_source: Annotated[
        str,
        Option(
            "The order of layers to leave out: of texts of the model, or the prompts' other half.",
            choices=("model", "own"),
        ),
    ] = "model"
    order_search: Annotated[
        str,
        Option(
            "Find the order layer by layer from a queue of costs, by the cost of each layer alone, "
            "or with more layers tried each time, which is slow.",
            choices=("lazy", "ranked", "greedy"),
        ),
    ] = "lazy"
    order_texts: tuple[str, ...] = ()
    order_answers: tuple[str, ...] = ()
    task_answers: tuple[str, ...] = ()
    ablate: Annotated[
        str,
        Option(
            "What a layer left out writes: nothing, or its mean update over the baseline prompts.",
            choices=("zero", "mean"),
            words=("nothing", "its mean update"),
            label="a skipped layer writes",
        ),
    ] = "zero"
    keep_first_token: Annotated[
        bool,
        Option(
            "Keep every layer at token 0 where layers are left out.",
            label="token 0 keeps every layer",
        ),
    ] = False
    patch_from: Annotated[
        str,
        Option(
            "Text of as many tokens, its answer at the end, whose states `patch` puts into the "
            "prompt's.",
            label="patch from the text",
            example="the prompt's contrast, where it has one",
        ),
    ] = ""
    patch_part: Annotated[
        str,
        Option(
            "What `patch` puts in: the residual before a layer, or what one of its parts writes.",
            choices=("layer", "attention", "mlp"),
            label="patch in",
            words=("layer", "attention", "MLP"),
        ),
    ] = "layer"

    @property
    def is_clean(self) -> bool:
        """Whether every layer runs once, on its own states: no what-if."""
        return not (self.skipped or self.repeated or self.patched)

    @property
    def changed_parts(self) -> list[tuple[int, str]]:
        """The layers and parts that a what-if leaves out or patches."""
        skipped = [(skip.layer, skip.part) for skip in self.skipped]
        return [*skipped, *((cell.layer, cell.part) for cell in self.patched)]

    @property
    def clean(self) -> RunSettings:
        """The settings of the clean run."""
        return replace(self, skipped=(), repeated=(), patched=())


DEFAULT_METRICS = (*RunSettings.metrics, "kept")
"""The metrics of a command, a sweep or `analyze` that names none: the metrics of the pass, and the
knowledge kept without layers for the verdict's headline. The explorer computes them in turn."""

CHOICES = (
    "layers",
    "skip_positions",
    "erase_tokens",
    "erase_search",
    "erase_threshold",
    "lens_texts",
    "lens_ridge",
    "order_source",
    "order_search",
    "order_texts",
    "order_answers",
    "task_answers",
    "ablate",
    "keep_first_token",
    "patch_from",
    "patch_part",
)
"""Settings that choose a part of a metric. Files and keys contain them only where they differ from
their default."""

OF_OTHER_PROMPTS = ("order_texts", "order_answers", "task_answers")
"""Those of them that come from the prompts that are run together; they differ between these."""


def settings_keys(settings: RunSettings) -> dict[str, Any]:
    """The settings under their names in files; choices and changes only where there are any."""
    values = asdict(settings)
    for name in CHOICES:
        if values[name] == getattr(RunSettings, name):
            del values[name]
    for name in ("repeated", "patched"):
        if not values[name]:
            del values[name]
    return values


@dataclass(frozen=True)
class SummarySettings:
    """How per-token values become curves and effective depths.

    Attributes:
        kl_threshold: share of the largest KL (paper: 0.5).
        overlap_threshold: overlap that counts as enough (paper: 0.3).
        include_first_token: whether token 0, often an attention sink, counts in means.
        lens: lens of KL, overlap, entropy and values derived from them: `logit`, `affine` or
            `jacobian`.
        seed: seed of all random choices.
        confidence: early exit of a token: the probability that the lens's first choice must exceed.
        settling_threshold: settling depth of a token: the divergence to stay below, in nats.
        answers_within: layers for the answers: the points by which right answers may be fewer.
        share: knowledge kept: the share at which layers are counted.
        within: the nats a token above the whole model's loss at which they are counted instead;
            0 for the share.
    """

    kl_threshold: KlThreshold = 0.5
    overlap_threshold: OverlapThreshold = 0.3
    include_first_token: IncludeFirstToken = True
    lens: Lens = LENSES[0]
    seed: Seed = RunSettings.seed
    confidence: Confidence = 0.9
    settling_threshold: SettlingThreshold = 0.5
    answers_within: AnswersWithin = 5.0
    share: Share = 0.9
    within: Within = 0.0

    @property
    def tokens(self) -> slice:
        """The tokens of a prompt that count."""
        return slice(0 if self.include_first_token else 1, None)

    @property
    def tokens_in_words(self) -> str:
        """Whether token 0 counts, such as `token 0 counted`."""
        return f"token 0 {'counted' if self.include_first_token else 'left out'}"

    def where_left_out(self, note: str) -> str:
        """The note where token 0 is left out; else an empty text."""
        return "" if self.include_first_token else note

    def with_token_0_turned(self) -> Self:
        """The settings with `include_first_token` toggled."""
        return replace(self, include_first_token=not self.include_first_token)


@dataclass(frozen=True)
class Writing:
    """How a model writes the answer to a prompt.

    Attributes:
        max_tokens: most tokens to write.
        temperature: divisor of the logits; 0 always chooses the most probable token.
        top_k: tokens are drawn only from this many of the most probable ones; 0 for no limit.
        top_p: then they are drawn only from the most probable ones that together reach this share.
        seed: seed of the random choices; the same seed chooses the same on every device.
    """

    max_tokens: Annotated[
        int, Option("Most tokens to write.", least=1, label="most tokens", flag="--max-new-tokens")
    ] = 256
    temperature: Annotated[float, Option("0 always takes the most probable token.")] = 0.0
    top_k: Annotated[
        int,
        Option(
            "Draw from this many of the most probable tokens; 0 for all.",
            most=1_000_000,
            label="top-k",
        ),
    ] = 0
    top_p: Annotated[
        float,
        Option("Draw from the most probable tokens that reach this share.", most=1, label="top-p"),
    ] = 1.0
    seed: Seed = RunSettings.seed

    @property
    def effective(self) -> Writing:
        """The same choices, with what a greedy text does not depend on at its default."""
        return self if self.temperature else Writing(self.max_tokens)


@dataclass(frozen=True)
class Drawing:
    """How the prompts of a sweep's task are drawn; the fields are those of `TaskChoice`."""

    examples: Annotated[int, Option("Prompts of each task.", least=1, most=MOST_EXAMPLES)] = (
        EXAMPLES
    )
    max_tokens: Annotated[int, Option("Leave longer prompts out, and take the next ones.")] = 0
    sample: Annotated[bool, Option("Draw the prompts at random, by the seed.")] = False
    matched: Annotated[
        int, Option("Fill prompts up to this length in tokens with others.", least=1)
    ] = 0
    choices: Annotated[bool, Option("Ask with options to choose from.")] = False
    shots: Annotated[int, Option("Solved others of the task before each prompt.")] = 0


def reading_keys(settings: SummarySettings) -> dict[str, Any]:
    """The settings under their names in files; the lens only where it is not the default."""
    values = asdict(settings)
    if settings.lens == LENSES[0]:
        del values["lens"]
    return values
