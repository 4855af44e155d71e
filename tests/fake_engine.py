"""A scripted engine: the whole protocol on synthetic results, without a process."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from depthtui.engine.protocol import (
    Command,
    Configure,
    Continue,
    ContributionRows,
    EngineReady,
    Event,
    Failed,
    GeneratedTokens,
    GenerationFinished,
    GenerationStarted,
    Halted,
    LensRows,
    LoadModel,
    Memory,
    MetricRows,
    ModelLoaded,
    Progress,
    RunFinished,
    RunStarted,
    StartGeneration,
    StartRun,
    StartSweep,
    Step,
    Stop,
    SweepFinished,
)
from depthtui.engine.results import (
    Ablation,
    CausalMetric,
    Contributions,
    Generation,
    IntegratedGradients,
    LogitLens,
    ModelInfo,
    ModelSpec,
    Prompt,
    Provenance,
    ResidualErasure,
    RunResult,
    RunSettings,
    Settling,
    Similarity,
    SkipEffects,
    Tokens,
    arrays_of,
)
from depthtui.tui.engine_client import Post
from depthtui.tui.messages import EngineDied, EngineEvent
from tests.fake_generation import full_generation, part_of, parts_of

LAYERS = 30
VOCABULARY = [" the", " a", " of", " Paris", " city", " France", " is", "\n", "[/]", "\x1b[2J"]


def model_info(spec: ModelSpec | None = None, layers: int = LAYERS, **changes: object) -> ModelInfo:
    """A model as the engine would describe it."""
    spec = spec or ModelSpec()
    name = "SmolLM2-135M-Instruct" if spec.name == "demo" else spec.name.rsplit("/", 1)[-1]
    info = ModelInfo(
        spec=spec,
        name=name,
        source="a scripted engine",
        revision=spec.revision,
        architecture="LlamaForCausalLM",
        n_layers=layers,
        d_model=576,
        vocab_size=49152,
        parameters=134_515_008,
        context_length=8192,
        dtype="float32",
        device="cpu",
        fingerprint="f" * 16,
        memory_bytes=538_060_032,
        has_chat_template=True,
        layer_parameters=(3_540_096,) * layers,
        attention_parameters=(885_312,) * layers,
        mlp_parameters=(2_654_784,) * layers,
    )
    return replace(info, **changes)  # type: ignore[arg-type]


def tokens_of(prompt: Prompt) -> Tokens:
    """Split a text into words, each with the space before it."""
    texts = re.findall(r"\s?\S+|\s", prompt.text)
    question = len(re.findall(r"\s?\S+|\s", prompt.question))
    return Tokens(np.arange(len(texts), dtype=np.int64) + 300, texts, question)


def full_result(
    prompt: Prompt,
    model: ModelInfo | None = None,
    settings: RunSettings | None = None,
    cached: bool = False,
) -> RunResult:
    """A complete result: smooth curves that turn at two thirds of the depth."""
    model, settings = model or model_info(), settings or RunSettings()
    result = RunResult.empty(model, prompt, settings, tokens_of(prompt))
    noise = np.random.default_rng(len(prompt.text))
    depth = np.linspace(-1, 1, model.n_layers)[:, None]
    width = len(result.tokens)
    for index, (_, values) in enumerate(arrays_of(_contributions(result))):
        wave = noise.normal(0, 0.08, (model.n_layers, width))
        size = 0.15 + np.exp(-4 * (depth + 1) / 2) + 0.4 * (depth > 0.8)
        values[:] = np.abs(size + wave) if index % 2 == 0 else 0.7 * (depth - 0.35) + wave
    if result.logit_lens is not None:
        _fill_lens(result.logit_lens, noise)
        _silence(result)
    for metric in settings.metrics:
        if metric in CAUSAL:
            _fill_causal(result, metric)
    result.layers_done, result.complete = model.n_layers, True
    result.provenance = Provenance(
        "0", "2", "5", "3.11", "Linux", "2025-01-01T00:00:00Z", 0.4, cached
    )
    return result


def _contributions(result: RunResult) -> Contributions:
    return result.contributions or Contributions.empty(0, 0)


def _fill_lens(lens: LogitLens, noise: np.random.Generator) -> None:
    rows, tokens, top_k = lens.top_ids.shape
    left = np.linspace(1, 0, rows)[:, None]
    lens.kl[:] = 9 * left**0.7 * noise.uniform(0.8, 1.2, (rows, tokens))
    lens.overlap[:] = np.round(5 * (1 - left) ** 2 * noise.uniform(0.8, 1, (rows, tokens))) / 5
    lens.overlap[-1] = 1
    lens.entropy[:] = 6 * left + 0.2
    for token in range(tokens):
        final = noise.permutation(len(VOCABULARY))
        for row in range(rows):
            ids = noise.permutation(len(VOCABULARY)) if row < 2 * rows // 3 else final
            lens.top_ids[row, token] = np.resize(ids, top_k)
    shares = 0.5 ** np.arange(1, top_k + 1)
    lens.top_probabilities[:] = shares * (1 - left[..., None] * 0.6)
    lens.next_log_probability[:] = -1.5 - 8 * left * noise.uniform(0.8, 1.2, (rows, tokens))
    lens.next_log_probability[:, -1] = np.nan
    lens.vocabulary.update(enumerate(VOCABULARY))


def usefulness(layers: int) -> np.ndarray:
    """What the loss gains without each layer: much at both ends, little after the middle."""
    depth = np.linspace(0, 1, layers)
    wave = 0.02 * np.sin(7 * np.arange(layers))
    return (3 * np.exp(-9 * depth) + 0.6 * np.exp(-12 * (1 - depth)) + 0.03 + wave).astype("f4")


def _silence(result: RunResult) -> None:
    """What is left out makes the output flatter, and in the end another."""
    lens, settings = result.logit_lens, result.settings
    assert lens is not None
    useful = usefulness(result.model.n_layers)
    for each in settings.silenced:
        lost = useful[each.layer] * (1 if each.part == "layer" else 0.5)
        lens.next_log_probability[each.layer + 1 :] -= lost
        lens.top_probabilities[each.layer + 1 :] *= np.exp(-lost / 4)
        if result.contributions is not None and each.part == "layer":
            for _, values in arrays_of(result.contributions):
                values[each.layer] = 0
    if sum(useful[each.layer] for each in settings.silenced) > 1:
        lens.top_ids[-1] = np.roll(lens.top_ids[-1], 1, axis=-1)


CAUSAL = (
    "similarity",
    "settling",
    "ablation",
    "skip_effects",
    "residual_erasure",
    "integrated_gradients",
)


def _fill_causal(result: RunResult, metric: str) -> None:
    tokens = len(result.tokens)
    needs_answer = metric in ("residual_erasure", "integrated_gradients")
    if needs_answer and not 0 < result.answer_start < tokens:
        result.unavailable[metric] = "the prompt has no known answer"
        return
    setattr(result, metric, _causal(metric, result))


def _causal(metric: str, result: RunResult) -> CausalMetric:
    layers, tokens = result.model.n_layers, len(result.tokens)
    answer_start, settings = result.answer_start, result.settings
    useful = usefulness(layers)
    if settings.skip_part != "layer" and metric in ("ablation", "skip_effects"):
        useful = useful / 2
    wave = np.abs(np.sin(np.arange(layers + 1)[:, None] + np.arange(tokens)))
    fade = np.linspace(1, 0, layers + 1)[:, None]
    match metric:
        case "similarity":
            apart = 1 + np.arange(layers)[:, None]
            distance = (0.4 * (apart / layers) ** 0.5 + useful / 40).astype(np.float32)
            distance[apart + np.arange(layers) > layers] = np.nan
            influence = np.repeat((useful / 4)[:, None], tokens, axis=1).astype(np.float32)
            return Similarity(influence, distance, distance - np.float32(0.01))
        case "ablation":
            loss = np.full(tokens - 1, 1.5, np.float32)
            return Ablation(
                settings.skip_part, loss, np.repeat(useful[:, None], tokens - 1, axis=1)
            )
        case "settling":
            return Settling((np.log(2) * fade * (0.5 + wave / 2)).astype(np.float32))
        case "skip_effects":
            effect = np.triu(np.ones((layers, layers)), 1) * useful[:, None]
            effect = (effect / (1 + np.abs(np.subtract.outer(range(layers), range(layers))))) ** 0.5
            maps = effect.astype(np.float32)
            positions = (0,) if settings.skip_everywhere else (8,)
            output = (useful / 3).astype(np.float32)
            return SkipEffects(settings.skip_part, positions, maps, maps / 2, output)
        case "residual_erasure":
            return ResidualErasure((wave * fade).astype(np.float32), answer_start)
        case _:
            return IntegratedGradients(
                ((wave - 0.5) * fade).astype(np.float32)[:layers],
                np.full(layers, 0.004, np.float32),
                np.full(layers, 40, np.int32),
                np.ones(layers, bool),
                0.01,
                answer_start,
            )


Load = Callable[[ModelSpec], Iterator[Event]]


def loads(spec: ModelSpec) -> Iterator[Event]:
    """The events of a model that loads."""
    yield Progress("Loading weights", 1, 2, "tensors")
    yield ModelLoaded(model_info(spec))
    yield Memory(600_000_000, 8_000_000_000)


class FakeEngine:
    """Answers every command at once, on the app's own thread.

    Args:
        load: the events that answer `LoadModel`.
        manual: keep a run's events back until `advance` is called.
        cached: whether results claim to come from the cache.

    Attributes:
        hostile: whether texts that are generated are made of hostile tokens.
        sweep_halts_at: the run of a sweep, counted from 0, at which it waits for `Stop`; -1 for
            none.
        swept: the models and prompts that sweeps have run.
    """

    hostile = False
    sweep_halts_at = -1

    def __init__(self, load: Load = loads, manual: bool = False, cached: bool = False) -> None:
        self.commands: list[Command] = []
        self.load = load
        self.manual = manual
        self.cached = cached
        self.killed = False
        self._post: Post | None = None
        self._model: ModelInfo | None = None
        self._pending: Iterator[Event] = iter(())
        self._partial: RunResult | None = None
        self._text: Generation | None = None
        self._written = 0
        self._run_id = -1
        self._sweep_end: SweepFinished | None = None
        self.swept: list[tuple[str, str]] = []

    def start(self, post: Post) -> None:
        self._post = post

    def kill(self) -> None:
        self.killed = True

    def die(self, code: int = -9, last_line: str = "Out of memory") -> None:
        """End as a killed process would."""
        assert self._post is not None
        self._post(EngineDied(code, last_line, "engine.log"))

    def say(self, *events: Event) -> None:
        """Send events up."""
        assert self._post is not None, "the engine was not started"
        for event in events:
            if isinstance(event, ModelLoaded):
                self._model = event.model
            self._post(EngineEvent(event))

    def sent(self, kind: type[Command]) -> list[Command]:
        """The commands of one kind, in order."""
        return [each for each in self.commands if isinstance(each, kind)]

    def send(self, command: Command) -> None:
        self.commands.append(command)
        match command:
            case Configure():
                self.say(EngineReady("2.13", "5.24"))
            case LoadModel(spec=spec):
                self.say(*self.load(spec))
            case StartRun():
                self._run_id = command.run_id
                self._pending = self._run(command)
                if not self.manual:
                    self.advance(until=Halted if command.step else None)
            case StartGeneration():
                self._run_id = command.run_id
                self._pending = self._generate(command)
                if not self.manual:
                    self.advance()
            case StartSweep():
                self._sweep(command)
            case Step():
                self.advance(until=Halted)
            case Continue():
                self._pending = (each for each in self._pending if not isinstance(each, Halted))
                self.advance()
            case Stop():
                self._stop()

    def advance(self, count: int = 10_000, until: type[Event] | None = None) -> None:
        """Send a run's next events, up to `count` or one of the kind `until`."""
        for _, event in zip(range(count), self._pending, strict=False):
            self.say(event)
            if until is not None and isinstance(event, until):
                return

    def _run(self, command: StartRun) -> Iterator[Event]:
        assert self._model is not None, "no model was loaded"
        number = command.run_id
        if not command.prompt.text:
            yield Failed("The prompt is empty.", "Type a text.", number)
            return
        result = full_result(command.prompt, self._model, command.settings, self.cached)
        self._partial = RunResult.empty(
            self._model, command.prompt, command.settings, result.tokens
        )
        yield RunStarted(number, result.tokens)
        for layer in range(self._model.n_layers):
            seconds = (layer + 1) * 0.01
            if result.contributions is not None:
                rows = Contributions(
                    *(values[layer : layer + 1] for _, values in arrays_of(result.contributions))
                )
                self._partial.put_contributions(layer, rows)
                yield ContributionRows(number, layer, rows, seconds)
            if result.logit_lens is not None:
                last = layer == self._model.n_layers - 1
                lens = self._lens_rows(result.logit_lens, layer, layer + (2 if last else 1))
                self._partial.put_lens(layer, lens)
                yield LensRows(number, layer, lens, seconds)
            if command.step:
                yield Halted(number, layer)
        for metric in command.settings.metrics:
            value = getattr(result, metric) if metric in CAUSAL else None
            if value is not None:
                yield from self._metric_rows(number, metric, value)
        self._partial = None
        yield RunFinished(number, result)

    def _generate(self, command: StartGeneration) -> Iterator[Event]:
        assert self._model is not None, "no model was loaded"
        if not command.prompt.question:
            yield Failed("The prompt is empty.", "Type a text.", command.run_id)
            return
        text = full_generation(command.prompt, self._model, command.settings, self.hostile)
        self._text, self._written = text, 0
        yield GenerationStarted(command.run_id, text.tokens)
        for part in parts_of(text.continuation):
            self._written += len(part)
            yield GeneratedTokens(command.run_id, part, 0.1 * self._written)
        self._text = None
        yield GenerationFinished(command.run_id, text)

    def _metric_rows(self, number: int, metric: str, value: CausalMetric) -> Iterator[Event]:
        """A metric that is known half-way, then in full."""
        half = replace(value)
        for name, values in arrays_of(value):
            if values.dtype == np.float32:
                part = values.copy()
                part[len(part) // 2 :] = np.nan
                setattr(half, name, part)
        for known, done in ((half, 1), (value, 2)):
            assert self._partial is not None
            setattr(self._partial, metric, known)
            yield MetricRows(number, metric, known, done, 2, 0.5 * done)

    @staticmethod
    def _lens_rows(lens: LogitLens, first: int, end: int) -> LogitLens:
        rows = {name: values[first:end] for name, values in arrays_of(lens)}
        return LogitLens(**rows, vocabulary=dict(lens.vocabulary))

    def _sweep(self, command: StartSweep) -> None:
        from tests.fake_sweep import sweep_events

        events, engine = sweep_events(command, self._model, self.sweep_halts_at)
        self.swept += engine.runs
        *events, end = events
        assert isinstance(end, SweepFinished)
        self._model = end.model
        self._sweep_end = end if end.stopped else None
        self._pending = iter(events if end.stopped else [*events, end])
        if not self.manual:
            self.advance()

    def _stop(self) -> None:
        self._pending = iter(())
        if self._sweep_end is not None:
            self.say(self._sweep_end)
            self._sweep_end = None
        if self._partial is not None:
            partial, self._partial = self._partial, None
            self.say(RunFinished(self._run_id, partial))
        if self._text is not None:
            text, self._text = self._text, None
            written = part_of(text.continuation, slice(self._written))
            text = replace(text, continuation=written, stopped_by="user", complete=False)
            self.say(GenerationFinished(self._run_id, text))


def fails(message: str, hint: str = "") -> Load:
    """A model that does not load."""

    def events(spec: ModelSpec) -> Iterator[Event]:
        yield Failed(message, hint)

    return events
