"""States that vLLM has served: read as a run's own, and beside what transformers makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from depthtui.data.arrays import arrays_of
from depthtui.data.protocol import Event
from depthtui.data.run import Prompt, RunResult
from depthtui.data.run_settings import ModelSpec, RunSettings, SummarySettings
from depthtui.data.store import open_store
from depthtui.depth.reading import reading_of
from depthtui.engine.engine import Engine
from depthtui.engine.lenses import LensChoice
from depthtui.engine.readout import load_for_states
from depthtui.engine.state_files import find_state_files, served_dtype
from depthtui.errors import DepthError
from depthtui.metrics import engine_distance
from depthtui.metrics.engine_distance import EngineDistance
from depthtui.metrics.registry import METRICS
from depthtui.models.in_memory import adopt
from tests.odd_files import ODD_FILES, put_odd_file
from tests.served import FROM_VLLM, IDS, served_folder, states_of, write_states
from tests.tiny_models import LAYERS, fresh, tiny_folder, tiny_tokenizer, with_tokenizer

TEXT = "The river was high after a week of rain, and the ferry did not run."
OF_STATES = ("contributions", "logit_lens", "similarity", "neighbours", "direct_logits", "settling")
"""What the states and the head alone tell."""

BESIDE = RunSettings(metrics=("contributions", "logit_lens", engine_distance.NAME))
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def ids() -> list[int]:
    _, tokenizer = with_tokenizer("llama")
    return [int(id_) for id_ in tokenizer(TEXT)["input_ids"]]


@pytest.fixture(scope="module")
def states(ids: list[int]) -> list[Tensor]:
    return states_of(with_tokenizer("llama")[0], ids)


def engine_of(
    folder: Path, here: Path, readout_only: bool = True, dtype: str = "float32", **options: object
) -> Engine:
    """An engine with a model, or with its readout alone."""
    store = open_store(here / "cache", 1 << 30, pytest.fail)
    engine = Engine(store, here / "models", lambda event: None, **options)  # type: ignore[arg-type]
    engine.load(ModelSpec(str(folder), device="cpu", dtype=dtype), readout_only=readout_only)
    return engine


@pytest.fixture(scope="module")
def readout(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine that has the head of the tiny model, and its first layer alone."""
    return engine_of(folder, tmp_path_factory.mktemp("readout"))


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine that has all of it."""
    return engine_of(folder, tmp_path_factory.mktemp("whole"), readout_only=False)


@pytest.fixture(scope="module")
def from_vllm(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    here = tmp_path_factory.mktemp("vllm")
    engine = engine_of(served_folder(here), here, readout_only=False, dtype="bfloat16")
    metrics = (*OF_STATES, engine_distance.NAME)
    return engine.read_states(FROM_VLLM, RunSettings(metrics=metrics))


def check_same(result: RunResult, expected: RunResult, names: Sequence[str]) -> None:
    """See that metrics have the same values, but for the sublayers, which no file has."""
    for name in names:
        for array, values in arrays_of(expected.measured[name]):
            read = getattr(result.measured[name], array)
            if array.startswith(("attention", "mlp")):
                assert np.isnan(read).all(), array
            else:
                np.testing.assert_allclose(read, values, rtol=2e-4, atol=2e-5, err_msg=array)


class TestReading:
    def test_the_states_of_a_run_tell_what_the_run_tells(
        self, readout: Engine, whole: Engine, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        settings = RunSettings(metrics=OF_STATES)
        expected = whole.run(Prompt(TEXT), settings)
        from_states = readout.read_states(
            write_states(tmp_path / "0.safetensors", ids, states), settings
        )
        assert from_states.complete
        assert from_states.unavailable == {}
        check_same(from_states, expected, OF_STATES)
        assert from_states.tokens.ids.tolist() == ids
        assert from_states.tokens.texts == expected.tokens.texts
        assert from_states.prompt == Prompt(TEXT, task="file", level="0.safetensors")
        assert from_states.loss == pytest.approx(expected.loss, rel=1e-4)

    def test_bfloat16_is_read_as_it_was_served(
        self, folder: Path, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        file = write_states(tmp_path / "a.safetensors", ids, states, torch.bfloat16)
        settings = RunSettings(metrics=OF_STATES)
        rounded = [state.bfloat16().double() for state in states]
        same = write_states(tmp_path / "b.safetensors", ids, rounded)
        engine = engine_of(folder, tmp_path)
        from_states, expected = (engine.read_states(path, settings) for path in (file, same))
        check_same(from_states, expected, OF_STATES)
        assert (from_states.model.dtype, expected.model.dtype) == ("bfloat16", "float32")
        narrow = engine_of(folder, tmp_path, dtype="bfloat16").read_states(file, settings)
        np.testing.assert_array_equal(
            narrow.measured["neighbours"].cosine, from_states.measured["neighbours"].cosine
        )

    def test_layer_0_need_not_be_asked_for(
        self, readout: Engine, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        settings = RunSettings(metrics=("contributions",))
        files = [
            write_states(tmp_path / f"{first}.safetensors", ids, states[first:]) for first in (0, 1)
        ]
        expected, from_states = (readout.read_states(file, settings) for file in files)
        check_same(from_states, expected, ["contributions"])

    def test_the_result_says_where_it_comes_from(
        self, readout: Engine, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        file = write_states(tmp_path / "served" / "0.safetensors", ids, states)
        info = readout.read_states(file, RunSettings(chat_template=True)).model
        assert (info.device, info.states_from) == ("vLLM", f"vLLM's files in {file.parent}")
        assert info.n_layers == LAYERS
        assert info.layer_parameters == ()

    def test_what_needs_the_layers_says_that_they_are_missing(
        self, readout: Engine, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        names = [metric.name for metric in METRICS if metric is not engine_distance.METRIC]
        file = write_states(tmp_path / "0.safetensors", ids, states)
        result = readout.read_states(file, RunSettings(metrics=tuple(names)))
        reasons = dict(result.unavailable)
        assert "has been fitted" in reasons.pop("affine_lens")
        assert "has been fitted" in reasons.pop("nonlinear")
        assert "has been fitted" in reasons.pop("jacobian_lens")
        assert set(reasons.values()) == {"its states are read from files: no layer is run"}
        assert set(result.measured) == {*OF_STATES}
        kinds = {one.kind for one in reading_of([result], SummarySettings()).evidence}
        assert kinds == {"readable", "geometric"}
        assert reading_of([result], SummarySettings()).missing_metrics == []

    def test_a_lens_that_was_fitted_before_is_read_through(
        self, folder: Path, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        texts = Path(__file__).parents[2] / "depthtui" / "prompts" / "commonsense.jsonl"
        settings = RunSettings(metrics=("logit_lens", "affine_lens"), lens_texts=str(texts))
        file = write_states(tmp_path / "0.safetensors", ids, states)
        whole = engine_of(folder, tmp_path, readout_only=False, lenses_dir=tmp_path / "lenses")
        whole.fit_lens(LensChoice("affine", str(texts)))
        readout = engine_of(folder, tmp_path, lenses_dir=tmp_path / "lenses")
        from_states = readout.read_states(file, settings)
        assert from_states.unavailable == {}
        check_same(from_states, whole.run(Prompt(TEXT), settings), settings.metrics)

    def test_nothing_of_it_is_cached(
        self, readout: Engine, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        settings, file = RunSettings(), tmp_path / "0.safetensors"
        first = readout.read_states(write_states(file, ids, states), settings)
        turned = [state.flip(-1) if depth else state for depth, state in enumerate(states)]
        second = readout.read_states(write_states(file, ids, turned), settings)
        assert first.loss != pytest.approx(second.loss, rel=1e-3)

    def test_a_readout_leaves_the_other_layers_on_the_disk(
        self, folder: Path, tmp_path: Path
    ) -> None:
        engine = engine_of(folder, tmp_path)
        model, info = engine.freed_model().loaded.model, engine.model
        assert info is not None
        assert len(model.model.layers) == 1
        whole = engine_of(folder, tmp_path, readout_only=False)._loaded_model().loaded
        assert torch.equal(model.lm_head.weight, whole.model.lm_head.weight)
        assert torch.equal(model.model.norm.weight, whole.model.model.norm.weight)
        assert info.memory_bytes < whole.info.memory_bytes
        assert (info.n_layers, info.parameters) == (LAYERS, whole.info.parameters)

    def test_where_the_first_layer_cannot_stand_alone_all_are_loaded(self, tmp_path: Path) -> None:
        folder, model = tiny_folder(tmp_path, "gemma4"), with_tokenizer("gemma4")[0]
        file = write_states(tmp_path / "0.safetensors", IDS, states_of(model, IDS))
        events: list[Event] = []
        engine = Engine(open_store(None, 0, pytest.fail), tmp_path / "models", events.append)
        spec, settings = ModelSpec(str(folder), device="cpu"), RunSettings(metrics=("logit_lens",))
        assert load_for_states(engine, spec, [file], settings, pytest.fail) == settings
        assert "its first layer cannot be loaded by itself" in str(events)
        assert engine.read_states(file, settings).unavailable == {}


class TestBeside:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layer", [None, 0, 2, 3])
    def test_the_layer_that_serves_otherwise_is_named(
        self, folder: Path, ids: list[int], tmp_path: Path, dtype: str, layer: int | None
    ) -> None:
        served = _served_otherwise(layer, ids)
        file = write_states(tmp_path / "0.safetensors", ids, served, DTYPES[dtype])
        engine = engine_of(folder, tmp_path, readout_only=False, dtype=dtype)
        result = engine.read_states(file, BESIDE)
        distance = result.measured[engine_distance.NAME]
        assert isinstance(distance, EngineDistance)
        assert distance.rounded_to == dtype
        above = np.flatnonzero(np.median(distance.own, axis=1) > distance.floor).tolist()
        assert above == ([] if layer is None else [layer + 1])
        finding = _finding(result)
        assert finding[0] == ("nowhere" if layer is None else f"at layer {layer}")
        assert "up to 8 is rounding" in finding[1]

    def test_distance_and_own_difference_are_what_they_are_called(
        self, whole: Engine, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        served = _served_otherwise(2, ids)
        result = whole.read_states(write_states(tmp_path / "0.safetensors", ids, served), BESIDE)
        distance = result.measured[engine_distance.NAME]
        assert isinstance(distance, EngineDistance)
        expected = [
            ((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).numpy()
            for ours, theirs in zip(served, states, strict=True)
        ]
        np.testing.assert_allclose(distance.distance, expected, rtol=1e-3, atol=2e-6)
        assert distance.distance[:3].max() < 1e-5 < distance.distance[3:].min()

    def test_another_embedding_is_named(
        self, whole: Engine, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        file = write_states(tmp_path / "0.safetensors", ids, [1.1 * states[0], *states[1:]])
        result = whole.read_states(file, BESIDE)
        assert _finding(result)[0] == "in the embedding"
        summary = _summary(result)
        assert (summary["layer"], summary["in_embedding"]) == (None, True)

    def test_several_layers_are_named_the_first_one_first(
        self, whole: Engine, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        # What layer 1 hands on is turned, and layer 2 reads it so: both make something else of it.
        turned = [state.flip(-1) if depth == 2 else state for depth, state in enumerate(states)]
        file = write_states(tmp_path / "0.safetensors", ids, turned)
        where, remark = _finding(whole.read_states(file, BESIDE))
        assert where == "at layer 1"
        assert remark.endswith("so is that of layer 2")
        assert _summary(whole.read_states(file, BESIDE))["layers_apart"] == [1, 2]

    def test_a_run_here_has_no_such_distance(self, whole: Engine) -> None:
        result = whole.run(Prompt(TEXT), BESIDE)
        reason = result.unavailable[engine_distance.NAME]
        assert reason == "it needs the states of another engine: run --states"


class TestVllm:
    """A file that vLLM itself has written."""

    def test_it_is_read(self, from_vllm: RunResult) -> None:
        assert served_dtype([FROM_VLLM]) == "bfloat16"
        assert from_vllm.tokens.ids.tolist() == list(IDS)
        assert from_vllm.unavailable == {}
        assert from_vllm.is_whole

    def test_vllm_and_transformers_part_nowhere(self, from_vllm: RunResult) -> None:
        assert _finding(from_vllm)[0] == "nowhere"
        distance = from_vllm.measured[engine_distance.NAME]
        assert isinstance(distance, EngineDistance)
        # They round otherwise: the file is no copy of what transformers does.
        assert 1e-4 < distance.distance[-1].mean() < 0.05
        assert distance.distance[0].max() == 0


def _served_otherwise(layer: int | None, ids: list[int]) -> list[Tensor]:
    """The states of the tiny model with other weights in a layer."""
    model, _ = with_tokenizer("llama")
    if layer is not None:
        generator = torch.Generator().manual_seed(7)
        for weight in model.model.layers[layer].mlp.parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            weight.data.add_(0.5 * weight.data.std() * drawn)
    return states_of(model, ids)


def _finding(result: RunResult) -> tuple[str, str]:
    """Where the engines part, and the remark on it."""
    reading = reading_of([result], SummarySettings())
    metric = engine_distance.METRIC
    (finding,) = metric.findings(reading.get(metric), reading)
    assert finding.title == "Parts from transformers"
    return finding.value, finding.remark


def _summary(result: RunResult) -> dict[str, object]:
    reading = reading_of([result], SummarySettings())
    metric = engine_distance.METRIC
    summary: dict[str, object] = metric.summary(reading.get(metric), reading)
    return summary


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def no_safetensors(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + bytes(1000))


def header(change: Callable[[dict[str, dict[str, object]]], object]) -> Callable[[Path], None]:
    """Changes what the header of a file says."""

    def damage(path: Path) -> None:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        entries = json.loads(data[8 : 8 + length])
        change(entries)
        written = json.dumps(entries).encode()
        path.write_bytes(len(written).to_bytes(8, "little") + written + data[8 + length :])

    return damage


def tensors(**others: Tensor) -> Callable[[Path], None]:
    """Writes other tensors."""

    def damage(path: Path) -> None:
        save_file(others, path)

    return damage


def _ids(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "shortened": (shorten, "bytes where it should have"),
    "empty": (empty, "is cut short, or no safetensors file"),
    "an archive": (no_safetensors, "is cut short, or no safetensors file"),
    "another tensor": (tensors(weight=torch.ones(2, 3)), "holds no hidden_states and no token_ids"),
    "no ids": (tensors(hidden_states=torch.ones(2, 5, 32)), "holds no token_ids"),
    "two sides": (
        tensors(hidden_states=torch.ones(2, 32), token_ids=_ids(3, 4)),
        "of shape (2, 32)",
    ),
    "no tokens": (
        tensors(hidden_states=torch.ones(0, 5, 32), token_ids=_ids().long()),
        "of shape (0, 5, 32)",
    ),
    "fewer ids": (tensors(hidden_states=torch.ones(2, 5, 32), token_ids=_ids(3)), "of shape (1,)"),
    "a narrower model": (
        tensors(hidden_states=torch.ones(2, 5, 16), token_ids=_ids(3, 4)),
        "has states of width 16",
    ),
    "four layers of an EAGLE": (
        tensors(hidden_states=torch.ones(2, 3, 32), token_ids=_ids(3, 4)),
        "has 3 states of each token",
    ),
    "another vocabulary": (
        tensors(hidden_states=torch.ones(2, 5, 32), token_ids=_ids(3, 99_999)),
        "has the token id 99,999",
    ),
    "a negative id": (
        tensors(hidden_states=torch.ones(2, 5, 32), token_ids=_ids(3, -4)),
        "has the token id -4",
    ),
    "another model": (
        tensors(
            hidden_states=torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1)),
            token_ids=_ids(3, 4),
        ),
        "does not begin with what",
    ),
    "eight bits": (
        tensors(hidden_states=torch.ones(2, 5, 32).to(torch.float8_e4m3fn), token_ids=_ids(3, 4)),
        "has hidden_states in 'F8_E4M3'",
    ),
    "ids that are no integers": (
        tensors(hidden_states=torch.ones(2, 5, 32), token_ids=torch.ones(2)),
        "has token_ids in 'F32'",
    ),
    "a shape of words": (
        header(lambda entries: entries["hidden_states"].update(shape=["a", 5, 32])),
        "has the shape",
    ),
    "a shape beyond the file": (
        header(lambda entries: entries["hidden_states"].update(shape=[1 << 40, 5, 32])),
        "of shape (1099511627776, 5, 32)",
    ),
    "a negative side": (
        header(lambda entries: entries["hidden_states"].update(shape=[-1, -5, 32])),
        "of shape (-1, -5, 32)",
    ),
    "an entry of words": (
        header(lambda entries: entries.update(hidden_states="x")),  # type: ignore[arg-type]
        "is damaged",
    ),
}


class TestBadFiles:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_file_that_cannot_be_read_is_told(
        self,
        readout: Engine,
        states: list[Tensor],
        ids: list[int],
        tmp_path: Path,
        damage: str,
    ) -> None:
        file = write_states(tmp_path / "0.safetensors", ids, states)
        spoil, words = DAMAGES[damage]
        spoil(file)
        with pytest.raises(DepthError, match=r"0\.safetensors") as error:
            readout.read_states(file, RunSettings())
        assert words in error.value.message

    @pytest.mark.parametrize("kind", ODD_FILES)
    def test_what_is_no_ordinary_file_is_told(
        self, readout: Engine, tmp_path: Path, kind: str
    ) -> None:
        put_odd_file(tmp_path / "0.safetensors", kind)
        (file,) = find_state_files(tmp_path)
        with pytest.raises(DepthError, match=r"0\.safetensors"):
            readout.read_states(file, RunSettings())

    @pytest.mark.parametrize(("depth", "where"), [(0, "before layer 0"), (4, "after the last")])
    def test_states_that_are_no_numbers_are_told(
        self,
        readout: Engine,
        states: list[Tensor],
        ids: list[int],
        tmp_path: Path,
        depth: int,
        where: str,
    ) -> None:
        broken = [state.clone() for state in states]
        broken[depth][3, 7] = torch.nan
        file = write_states(tmp_path / "0.safetensors", ids, broken)
        with pytest.raises(DepthError, match=f"{where}.*token 3"):
            readout.read_states(file, RunSettings())

    @pytest.mark.parametrize("lacks", [2, 4])
    def test_a_layer_that_lacks_is_told(
        self, readout: Engine, states: list[Tensor], ids: list[int], tmp_path: Path, lacks: int
    ) -> None:
        some = [state for depth, state in enumerate(states) if depth != lacks]
        file = write_states(tmp_path / "0.safetensors", ids, some)
        with pytest.raises(DepthError, match="lacks a state") as error:
            readout.read_states(file, RunSettings())
        assert "eagle_aux_hidden_state_layer_ids 0 to 4" in error.value.hint

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("first", [0, 1], ids=["all states", "without the first"])
    @pytest.mark.parametrize("places", [(1, 2), (1, 3)], ids=str)
    def test_an_exchange_of_the_first_layers_output_is_told(
        self,
        readout: Engine,
        states: list[Tensor],
        ids: list[int],
        tmp_path: Path,
        places: tuple[int, int],
        first: int,
        dtype: str,
    ) -> None:
        exchanged = list(states)
        exchanged[places[0]], exchanged[places[1]] = states[places[1]], states[places[0]]
        file = write_states(tmp_path / "0.safetensors", ids, exchanged[first:], DTYPES[dtype])
        with pytest.raises(DepthError, match=r"0\.safetensors .* layer 0") as error:
            readout.read_states(file, RunSettings())
        assert "ascending order" in error.value.hint

    @pytest.mark.parametrize("name", ["deepseek_v4", "looped"])
    def test_several_streams_or_passes_are_refused(
        self, states: list[Tensor], ids: list[int], tmp_path: Path, name: str
    ) -> None:
        engine = Engine(open_store(None, 0, pytest.fail), tmp_path, lambda event: None)
        engine.use(adopt(fresh(name), tiny_tokenizer()))
        file = write_states(tmp_path / "0.safetensors", ids, states)
        with pytest.raises(DepthError, match="in several residual streams"):
            engine.read_states(file, RunSettings())


class TestFolders:
    def test_files_come_in_the_order_of_their_numbers(self, tmp_path: Path) -> None:
        names = ["hs_10.safetensors", "hs_9.safetensors", "a.safetensors", "hs_9.safetensors.lock"]
        for name in names:
            (tmp_path / name).touch()
        in_order = [path.name for path in find_state_files(tmp_path)]
        assert in_order == ["a.safetensors", "hs_9.safetensors", "hs_10.safetensors"]

    def test_a_folder_without_states_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "summary.json").touch()
        with pytest.raises(DepthError, match=r"it has no \.safetensors file"):
            find_state_files(tmp_path)

    @pytest.mark.parametrize("name", ["absent", "file", "loop", "a\0b"])
    def test_what_is_no_folder_is_told(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(DepthError):
            find_state_files(tmp_path / name)

    def test_the_dtype_is_that_of_the_first_file_that_can_be_read(
        self, states: list[Tensor], ids: list[int], tmp_path: Path
    ) -> None:
        (tmp_path / "0.safetensors").touch()
        with pytest.raises(DepthError, match="cut short"):
            served_dtype(find_state_files(tmp_path))
        write_states(tmp_path / "1.safetensors", ids, states, torch.float16)
        assert served_dtype(find_state_files(tmp_path)) == "float16"
