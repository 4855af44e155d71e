"""What the engine computes, as plain dataclasses of NumPy arrays and strings.

The same objects go through the pipe, into the cache, onto the screen and into
a report. L is the number of layers, T the number of tokens, k the number of
tokens that the lens lists. A value that is not known yet, or that an
architecture cannot give, is NaN (an id that is not known is -1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

OVERLAP_K = 5
"""The overlap compares the top five tokens (paper, metric 3)."""

_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True)
class Prompt:
    """A text that a model reads, teacher-forced.

    Attributes:
        text: the whole text, question and answer.
        answer: the suffix of `text` that is the answer, or empty.
        task: where it comes from, such as `commonsense` or `typed`.
        level: how hard it is, in the task's own unit, or empty.
    """

    text: str
    answer: str = ""
    task: str = "typed"
    level: str = ""

    @property
    def question(self) -> str:
        """The text before the answer."""
        return self.text[: len(self.text) - len(self.answer)]


@dataclass(frozen=True)
class ModelSpec:
    """Which model to load and how.

    Attributes:
        name: `demo`, a hub id, a local folder or a GGUF file.
        revision: a hub revision, or empty for the default.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `auto`, `float32`, `bfloat16`, `float16`.
        quantize: empty, `8bit` or `4bit`.
        trust_remote_code: whether the model's own Python may run.
    """

    name: str = "demo"
    revision: str = ""
    device: str = "auto"
    dtype: str = "auto"
    quantize: str = ""
    trust_remote_code: bool = False


@dataclass(frozen=True)
class ModelInfo:
    """A loaded model.

    Attributes:
        spec: what was asked for.
        name: a short name to show, such as `SmolLM2-135M-Instruct`.
        source: where the weights are, in words.
        revision: the hub commit, or empty.
        architecture: the class name, such as `LlamaForCausalLM`.
        n_layers: L.
        d_model: width of the residual stream.
        vocab_size: number of logits.
        parameters: number of parameters.
        context_length: longest prompt in tokens; 0 where unknown.
        dtype: of the weights in memory, such as `bfloat16`.
        device: such as `cpu` or `cuda:0, cuda:1`.
        quantize: empty, `8bit` or `4bit`.
        fingerprint: a hash that changes with the weights.
        memory_bytes: what the weights take.
        has_chat_template: whether the tokenizer brings a chat template.
        parallel: attention and MLP read the same input, so the MLP's
            contribution is relative to `h` and not to `h + a`.
        split_missing: why the attention/MLP split is unavailable, or empty.
        lens_missing: why the logit lens is unavailable, or empty.
        layer_parameters: how many parameters each layer holds; empty where unknown.
        attention_parameters, mlp_parameters: how many of these work for its attention or its
            MLP alone; empty where unknown.
    """

    spec: ModelSpec
    name: str
    source: str
    revision: str
    architecture: str
    n_layers: int
    d_model: int
    vocab_size: int
    parameters: int
    context_length: int
    dtype: str
    device: str
    quantize: str = ""
    fingerprint: str = ""
    memory_bytes: int = 0
    has_chat_template: bool = False
    parallel: bool = False
    split_missing: str = ""
    lens_missing: str = ""
    layer_parameters: tuple[int, ...] = ()
    attention_parameters: tuple[int, ...] = ()
    mlp_parameters: tuple[int, ...] = ()

    def parameters_of(self, silenced: Iterable[Silenced]) -> int | None:
        """How many parameters a run without these does not use; None where unknown."""
        held = {
            "layer": self.layer_parameters,
            "attention": self.attention_parameters,
            "mlp": self.mlp_parameters,
        }
        silenced = tuple(silenced)
        if not all(held[each.part] for each in silenced):
            return None
        return sum(held[each.part][each.layer] for each in silenced)


@dataclass(frozen=True)
class Silenced:
    """A layer, or one of its sublayers, that a run leaves out.

    Attributes:
        layer: its index, 0-based.
        part: `layer`, `attention` or `mlp`.
    """

    layer: int
    part: str = "layer"


@dataclass(frozen=True)
class RunSettings:
    """What a run's arrays depend on, beside the model and the prompt.

    Attributes:
        top_k: how many tokens the lens lists at each layer.
        chat_template: whether the prompt is wrapped in the chat template.
        metrics: names of the metrics to compute (see `engine.metrics.catalog`).
        silenced: what the run leaves out: a what-if; empty for a clean run.
        answer_start: index of the answer's first token where the user marked it, else -1.
        seed: of the positions of the skip effects.
        lengths_before: token counts of the prompts before this one, over which the random
            choice of positions runs on (paper, metric 2).
        skip_part: what the skip effects leave out: `layer`, `attention` or `mlp`.
        skip_everywhere: skip at all tokens instead of those before a position.
        tolerance: wanted completeness error of integrated gradients.
        riemann_steps: if positive, left-Riemann steps instead of adaptive ones (paper: 256).
        baseline: texts whose mean residual erasure puts in; empty for ten grade-school prompts.
    """

    top_k: int = 10
    chat_template: bool = False
    metrics: tuple[str, ...] = ("contributions", "logit_lens")
    silenced: tuple[Silenced, ...] = ()
    answer_start: int = -1
    seed: int = 123
    lengths_before: tuple[int, ...] = ()
    skip_part: str = "layer"
    skip_everywhere: bool = False
    tolerance: float = 0.01
    riemann_steps: int = 0
    baseline: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tokens:
    """A tokenised prompt.

    Attributes:
        ids: `[T]` token ids.
        texts: `[T]` raw texts, hostile until made printable.
        answer_start: index of the answer's first token, or T where there is none.
    """

    ids: np.ndarray
    texts: list[str]
    answer_start: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class Contributions:
    """What each sublayer adds to the residual stream (paper, metric 1).

    All arrays are `[L, T]`, float32, rows that have not been run are NaN.

    Attributes:
        attention_norm_ratio: |a| / |h|.
        attention_cosine: cos(a, h).
        mlp_norm_ratio: |m| / |h + a|, or |m| / |h| in a parallel block.
        mlp_cosine: cos(m, h + a), or cos(m, h) in a parallel block.
        layer_norm_ratio: |c| / |h| with c = h_next - h.
        layer_cosine: cos(c, h).
    """

    attention_norm_ratio: np.ndarray
    attention_cosine: np.ndarray
    mlp_norm_ratio: np.ndarray
    mlp_cosine: np.ndarray
    layer_norm_ratio: np.ndarray
    layer_cosine: np.ndarray

    @classmethod
    def empty(cls, layers: int, tokens: int) -> Contributions:
        return cls(*(np.full((layers, tokens), np.nan, np.float32) for _ in fields(cls)))


@dataclass
class LogitLens:
    """The model's output read off the residual stream (paper, metric 3).

    Row l is the residual entering layer l, row L the model's own output.

    Attributes:
        kl: `[L+1, T]`, KL(p_l || p) in nats.
        overlap: `[L+1, T]`, share of the final top five in the lens's top five.
        entropy: `[L+1, T]`, entropy of p_l in nats.
        top_ids: `[L+1, T, k]` token ids, most probable first; -1 unknown.
        top_probabilities: `[L+1, T, k]`.
        next_log_probability: `[L+1, T]`, log p_l of the prompt's own next token; NaN at
            the last token. Row L gives the model's loss.
        vocabulary: the raw text of every id in `top_ids`.
    """

    kl: np.ndarray
    overlap: np.ndarray
    entropy: np.ndarray
    top_ids: np.ndarray
    top_probabilities: np.ndarray
    next_log_probability: np.ndarray
    vocabulary: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, layers: int, tokens: int, top_k: int) -> LogitLens:
        shape = (layers + 1, tokens)
        return cls(
            kl=np.full(shape, np.nan, np.float32),
            overlap=np.full(shape, np.nan, np.float32),
            entropy=np.full(shape, np.nan, np.float32),
            top_ids=np.full((*shape, top_k), -1, np.int32),
            top_probabilities=np.full((*shape, top_k), np.nan, np.float32),
            next_log_probability=np.full(shape, np.nan, np.float32),
        )


@dataclass
class SkipEffects:
    """What skipping each layer does to later computation and to the output (paper, metric 2).

    Attributes:
        part: what was skipped: `layer`, `attention` or `mlp`.
        positions: the positions t; 0 alone where layers were skipped at all tokens.
        layers: `[L skipped, L measured]`, the largest relative change of c_l over positions
            and tokens; 0 up to and including the diagonal.
        mean_layers: `[L, L]`, the mean instead of the largest.
        output: `[L]`, the largest |p - p~|_2.
    """

    part: str
    positions: tuple[int, ...]
    layers: np.ndarray
    mean_layers: np.ndarray
    output: np.ndarray


@dataclass
class ResidualErasure:
    """What the answer loses when a token is erased at a depth (paper, metric 4).

    Attributes:
        effect: `[L+1, T]`, the largest |p - p~|_2 over the answer's tokens; NaN not done yet.
        answer_start: index of the answer's first token.
    """

    effect: np.ndarray
    answer_start: int


@dataclass
class IntegratedGradients:
    """Which tokens the answer's probability comes from, at each depth (paper, metric 5).

    Attributes:
        attribution: `[L, T]`, summed over the residual's dimensions; NaN not done yet.
        completeness_error: `[L]`, |sum of attributions - change of f| over that change.
        points: `[L]`, gradients that were taken.
        reached: `[L]`, whether the wanted error was reached.
        tolerance: the wanted completeness error.
        answer_start: index of the answer's first token.
    """

    attribution: np.ndarray
    completeness_error: np.ndarray
    points: np.ndarray
    reached: np.ndarray
    tolerance: float
    answer_start: int


@dataclass
class Ablation:
    """What the loss gains when a layer is left out at all tokens.

    Attributes:
        part: what was left out: `layer`, `attention` or `mlp`.
        loss: `[T-1]`, negative log-likelihood of the token after each, clean, in nats.
        loss_change: `[L, T-1]`, the same without layer l, less `loss`.
    """

    part: str
    loss: np.ndarray
    loss_change: np.ndarray


@dataclass
class Similarity:
    """How little layers turn the residual stream: what pruning by similarity goes by.

    Attributes:
        block_influence: `[L, T]`, 1 - cos(h_l, h_{l+1}) (arXiv 2403.03853).
        angular_distance: `[L, L]`, row n - 1: mean over tokens of
            arccos(cos(h_l, h_{l+n})) / pi at l (arXiv 2403.17887); NaN where l + n > L.
        angular_distance_without_first: the same with token 0 left out of the mean; NaN
            where it is the only one.
    """

    block_influence: np.ndarray
    angular_distance: np.ndarray
    angular_distance_without_first: np.ndarray


@dataclass
class Settling:
    """How far the lens is from the output, symmetrically (arXiv 2602.13517).

    Attributes:
        divergence: `[L+1, T]`, Jensen-Shannon divergence of p_l and p, in nats.
    """

    divergence: np.ndarray


@dataclass
class DirectLogits:
    """Which layer wrote the token that the model says.

    Attributes:
        token_ids: `[T]`, the model's most probable next token.
        attribution: `[L+1, T]`, row 0 the embedding's, row l + 1 layer l's share of that
            token's logit, with the final norm's scale held fixed.
    """

    token_ids: np.ndarray
    attribution: np.ndarray


CausalMetric = (
    SkipEffects
    | ResidualErasure
    | IntegratedGradients
    | Ablation
    | Similarity
    | Settling
    | DirectLogits
)


def arrays_of(
    part: Contributions | LogitLens | CausalMetric | TokenDepths,
) -> Iterator[tuple[str, np.ndarray]]:
    """The names and arrays of a metric's result."""
    for each in fields(part):
        value = getattr(part, each.name)
        if isinstance(value, np.ndarray):
            yield each.name, value


@dataclass(frozen=True)
class Provenance:
    """Where and how a run was computed.

    Attributes:
        depthtui, torch, transformers, python: versions.
        platform: operating system and machine.
        started: when, ISO 8601 in UTC.
        seconds: how long the run took.
        cached: whether the result came from the disk cache.
    """

    depthtui: str
    torch: str
    transformers: str
    python: str
    platform: str
    started: str
    seconds: float
    cached: bool = False


@dataclass
class RunResult:
    """One prompt run through one model; filled row by row while it runs.

    Attributes:
        model: the model.
        prompt: the prompt.
        settings: what was asked for.
        tokens: the tokenised prompt.
        contributions: metric 1, or None where it was not asked for.
        logit_lens: metric 3, or None where it was not asked for or is unavailable.
        layers_done: how many layers have run.
        complete: whether everything asked for is there.
        provenance: None while the run goes on.
        skip_effects, residual_erasure, integrated_gradients, ablation, similarity, settling,
            direct_logits: None where they were not asked for, or not yet.
        unavailable: why a metric that was asked for cannot be had, by its name.
    """

    model: ModelInfo
    prompt: Prompt
    settings: RunSettings
    tokens: Tokens
    contributions: Contributions | None
    logit_lens: LogitLens | None
    layers_done: int = 0
    complete: bool = False
    provenance: Provenance | None = None
    skip_effects: SkipEffects | None = None
    residual_erasure: ResidualErasure | None = None
    integrated_gradients: IntegratedGradients | None = None
    ablation: Ablation | None = None
    similarity: Similarity | None = None
    settling: Settling | None = None
    direct_logits: DirectLogits | None = None
    unavailable: dict[str, str] = field(default_factory=dict)

    @property
    def answer_start(self) -> int:
        """Index of the answer's first token, marked or the prompt's own; T where there is none."""
        marked = self.settings.answer_start
        return marked if marked >= 0 else self.tokens.answer_start

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood of the prompt's tokens, in nats; NaN where unknown."""
        if self.logit_lens is None or len(self.tokens) < 2:
            return float("nan")
        return -float(np.mean(self.logit_lens.next_log_probability[-1, :-1]))

    @classmethod
    def empty(
        cls, model: ModelInfo, prompt: Prompt, settings: RunSettings, tokens: Tokens
    ) -> RunResult:
        """A result in which nothing has been computed yet."""
        wants_lens = "logit_lens" in settings.metrics and not model.lens_missing
        return cls(
            model=model,
            prompt=prompt,
            settings=settings,
            tokens=tokens,
            contributions=Contributions.empty(model.n_layers, len(tokens))
            if "contributions" in settings.metrics
            else None,
            logit_lens=LogitLens.empty(model.n_layers, len(tokens), settings.top_k)
            if wants_lens
            else None,
        )

    def put_contributions(self, first: int, rows: Contributions) -> None:
        """Fill in the rows of the layers from `first` on."""
        assert self.contributions is not None
        for name, values in arrays_of(rows):
            getattr(self.contributions, name)[first : first + len(values)] = values
        self.layers_done = max(self.layers_done, first + len(rows.layer_cosine))

    def put_lens(self, first: int, rows: LogitLens) -> None:
        """Fill in the lens rows from depth `first` on."""
        assert self.logit_lens is not None
        for name, values in arrays_of(rows):
            getattr(self.logit_lens, name)[first : first + len(values)] = values
        self.logit_lens.vocabulary.update(rows.vocabulary)


@dataclass(frozen=True)
class DepthEstimate:
    """One effective depth (paper, section on effective depth).

    Attributes:
        rule: `cosine`, `kl` or `overlap`.
        layer: 0-based layer index e, or None where no layer qualifies.
        ratio: (e + 1) / L, or None.
        threshold: the threshold used, or None for a rule without one.
        reason: why there is no layer; empty where there is one.
        warning: why to doubt the layer, such as a non-monotone crossing; may be empty.
        interval: bootstrap interval of the layer, or None.
    """

    rule: str
    layer: int | None
    ratio: float | None
    threshold: float | None
    reason: str = ""
    warning: str = ""
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class SummarySettings:
    """How per-token values become curves and effective depths.

    Attributes:
        kl_threshold: share of the largest KL (paper: 0.5).
        overlap_threshold: overlap that counts as enough (paper: 0.3).
        include_first_token: whether token 0, often an attention sink, is averaged in.
        seed: of everything random.
    """

    kl_threshold: float = 0.5
    overlap_threshold: float = 0.3
    include_first_token: bool = True
    seed: int = 123


@dataclass(frozen=True)
class Curves:
    """Means over tokens, one value a layer; None where a metric was not computed.

    `attention_*`, `mlp_*` and `layer_*` are `[L]`; `kl`, `overlap` and
    `entropy` are `[L+1]`. `mean_cosine` is the mean of the three cosines, or
    the layer's alone where the split is unavailable.
    """

    attention_norm_ratio: np.ndarray | None = None
    attention_cosine: np.ndarray | None = None
    mlp_norm_ratio: np.ndarray | None = None
    mlp_cosine: np.ndarray | None = None
    layer_norm_ratio: np.ndarray | None = None
    layer_cosine: np.ndarray | None = None
    mean_cosine: np.ndarray | None = None
    kl: np.ndarray | None = None
    overlap: np.ndarray | None = None
    entropy: np.ndarray | None = None


@dataclass(frozen=True)
class PromptCurves:
    """One prompt's share of a pooled mean.

    Attributes:
        n_tokens: how many tokens were averaged, at least 1.
        curves: the means over these tokens.
    """

    n_tokens: int
    curves: Curves


@dataclass(frozen=True)
class DepthSummary:
    """Curves pooled over the tokens of `n_prompts` runs, and the depths they give."""

    settings: SummarySettings
    n_layers: int
    n_tokens: int
    curves: Curves
    depths: tuple[DepthEstimate, ...]
    n_prompts: int = 1


@dataclass(frozen=True)
class GenerationSettings:
    """How a model goes on with a prompt, and by which rules each token's depth is told.

    Attributes:
        max_tokens: most tokens to generate.
        temperature: what the logits are divided by; 0 always takes the most probable token.
        top_p: only the most probable tokens that together reach this share are drawn from.
        seed: of the random choices; one seed chooses alike on every device.
        chat_template: whether the prompt is wrapped in the chat template.
        top_k: how many tokens the lens lists at each depth.
        confidence: early exit: what the lens's first choice must exceed.
        settling_threshold: settling depth: what the divergence must stay below, in nats.
        kl_threshold: KL rule: share of the token's largest KL.
        overlap_threshold: overlap rule: the overlap that counts as enough.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 123
    chat_template: bool = False
    top_k: int = 10
    confidence: float = 0.9
    settling_threshold: float = 0.5
    kl_threshold: float = 0.5
    overlap_threshold: float = 0.3


@dataclass
class TokenDepths:
    """How deep each of N tokens is decided, by several measures.

    All arrays are `[N]`, float32: l is the residual entering layer l, L the model's output;
    NaN where a rule finds no layer.

    Attributes:
        prediction: from where on the lens's first choice stays the model's own.
        settling: from where on the lens stays close to the output.
        kl: the paper's KL rule on the token's own curve.
        overlap: the paper's overlap rule on the token's own curve.
        early_exit: where the lens is first sure enough, at least one layer having run.
        exit_agrees: whether the choice there is the model's own; bool.
    """

    prediction: np.ndarray
    settling: np.ndarray
    kl: np.ndarray
    overlap: np.ndarray
    early_exit: np.ndarray
    exit_agrees: np.ndarray


def utf8(text: str) -> bytes:
    """The text's bytes, those that tokens hold as lone surrogates (PEP 383) among them."""
    return _NO_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


@dataclass
class Continuation:
    """N generated tokens, and what the lens read where each of them was predicted.

    Attributes:
        ids: `[N]` token ids.
        texts: `[N]` raw texts, hostile until made printable.
        lens: column n is the position that token n was predicted from, the one before it;
            `next_log_probability` is of token n itself, at temperature 1.
        settling: the same columns.
        depths: of each token.
    """

    ids: np.ndarray
    texts: list[str]
    lens: LogitLens
    settling: Settling
    depths: TokenDepths

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def text(self) -> str:
        """The tokens as one text; bytes that are no character become the replacement one."""
        return utf8("".join(self.texts)).decode("utf-8", "replace")

    @property
    def probability(self) -> np.ndarray:
        """`[N]`, what the model gave to each token, at temperature 1."""
        return np.asarray(np.exp(self.lens.next_log_probability[-1]))

    @classmethod
    def empty(cls, layers: int, top_k: int) -> Continuation:
        names = [each.name for each in fields(TokenDepths)]
        nothing = [np.zeros(0, bool if name == "exit_agrees" else np.float32) for name in names]
        return cls(
            ids=np.zeros(0, np.int64),
            texts=[],
            lens=LogitLens.empty(layers, 0, top_k),
            settling=Settling(np.zeros((layers + 1, 0), np.float32)),
            depths=TokenDepths(*nothing),
        )

    @classmethod
    def joined(cls, parts: Sequence[Continuation]) -> Continuation:
        """Parts that follow each other as one; at least one of them."""
        vocabulary: dict[int, str] = {}
        for each in parts:
            vocabulary.update(each.lens.vocabulary)

        def along(part: str, axis: int) -> dict[str, np.ndarray]:
            arrays = [dict(arrays_of(getattr(each, part))) for each in parts]
            return {
                name: np.concatenate([each[name] for each in arrays], axis=axis)
                for name in arrays[0]
            }

        return cls(
            ids=np.concatenate([each.ids for each in parts]),
            texts=[text for each in parts for text in each.texts],
            lens=LogitLens(**along("lens", 1), vocabulary=vocabulary),
            settling=Settling(**along("settling", 1)),
            depths=TokenDepths(**along("depths", 0)),
        )


@dataclass
class Generation:
    """A text that a model wrote after a prompt, measured token by token.

    Attributes:
        model: the model.
        prompt: what it read; without an answer, which is the model's to give.
        settings: how the tokens were chosen.
        tokens: of the prompt.
        continuation: the generated tokens.
        complete: whether the text came to its end and was not stopped.
        stopped_by: `end` (an end-of-text token, kept as the last one), `limit` (max_tokens),
            `context` (the model's context is full), `user`, `memory`; empty while it goes on.
        provenance: None while it goes on.
    """

    model: ModelInfo
    prompt: Prompt
    settings: GenerationSettings
    tokens: Tokens
    continuation: Continuation
    complete: bool = False
    stopped_by: str = ""
    provenance: Provenance | None = None

    @classmethod
    def empty(
        cls, model: ModelInfo, prompt: Prompt, settings: GenerationSettings, tokens: Tokens
    ) -> Generation:
        """A generation in which no token has been chosen yet."""
        nothing = Continuation.empty(model.n_layers, min(settings.top_k, model.vocab_size))
        return cls(model, prompt, settings, tokens, nothing)
