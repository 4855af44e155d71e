"""Maps that make up for layers that leave, against ReplaceMe's formula and against hooks."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from depthtui.data.pieces import Piece
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, Repeated
from depthtui.engine import healing, surgery
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.projections import Projection
from depthtui.errors import DepthError, RunStopped
from tests.engine.test_pruning import engine_of
from tests.naive import (
    layer_ends,
    layer_writes,
    naive_without,
    naive_without_parts,
    naive_writes,
    probabilities,
)
from tests.planted import without_writes
from tests.tiny_models import CORPUS, HIDDEN, on_few_models, random_ids, tiny_folder

RIDGE = 1e-2

HEALED = ("gpt2", "falcon", "bloom", "llama", "granite", "opt")
"""A weight `[inputs, d]` with a bias, a parallel block, a module that adds the residual itself, a
plain model, as in the tests below, a scaled write, and a projection that stands in the block."""

REFUSED = {
    "gemma3": "a norm stands between its MLP and the residual stream",
    "olmo2": "a norm stands between its MLP and the residual stream",
    "mixtral": r"its MLP \(MixtralSparseMoeBlock\) does not end in one projection",
    "granite_hybrid": "2 modules write for its MLP",
    "deepseek_v4": "its layers read several residual streams",
    "mamba": "MambaBlock has no attention and MLP modules",
    "hrm_text": "its blocks run in several passes",
}


@pytest.fixture
def texts(tmp_path: Path) -> str:
    """A file of calibration texts."""
    path = tmp_path / "texts.txt"
    lines = [line.replace("\n", " ") for line in CORPUS]
    path.write_text("\n".join(f"{before} {after}" for before in lines for after in lines))
    return str(path)


@pytest.fixture
def one_ridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one ridge is tried, and any map is better than none."""
    monkeypatch.setattr(healing, "RIDGES", (RIDGE,))
    falling = iter(range(0, -1000, -1))
    monkeypatch.setattr(healing._Fit, "kl", lambda *_: float(next(falling)))


def fitting_ids(folder: Path, texts: str) -> list[torch.Tensor]:
    """The texts that a map is fitted on: all but every tenth."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lines = Path(texts).read_text().splitlines()
    kept = [line for place, line in enumerate(lines) if place % 10 != 9]
    return [torch.tensor([tokenizer(line)["input_ids"]]) for line in kept]


def replaceme(whole, cut, ids, first, last):
    """ReplaceMe's map by least squares over the tokens' rows, float64: m A^T + y is to be h."""
    rows, targets = [], []
    for text in ids:
        *_, m, h_next = layer_writes(cut, text, first - 1)
        _, end = layer_ends(whole, text, last)
        rows.append(m[1:])
        targets.append(end[1:] - (h_next - m)[1:])
    m, target = np.concatenate(rows), np.concatenate(targets)
    pull = RIDGE * (m**2).sum(axis=0).mean()
    m = np.concatenate([m, np.sqrt(pull) * np.eye(HIDDEN)])
    target = np.concatenate([target, np.zeros((HIDDEN, HIDDEN))])
    return np.linalg.lstsq(m, target, rcond=None)[0].T


def image(linear_map: np.ndarray, projection: Projection, own: dict[str, torch.Tensor]):
    """A layer's own weight and bias behind a map."""
    weight = own["weight"].double().numpy()
    weight = weight @ linear_map.T if projection.outputs_last else linear_map @ weight
    return {"weight": weight} | {
        name: linear_map @ value.double().numpy() for name, value in own.items() if name == "bias"
    }


@pytest.mark.usefixtures("one_ridge")
@on_few_models(HEALED, HEALED[:3])
def test_a_map_is_replacemes_and_is_written_as_a_hook_applies_it(
    name: str, tmp_path: Path, texts: str
) -> None:
    folder, out = tiny_folder(tmp_path, name), tmp_path / "healed"
    engine = engine_of(folder)
    before = copy.deepcopy(engine.freed_model().loaded.model.state_dict())
    healed = surgery.heal(engine, [2], texts)
    torch.testing.assert_close(engine.freed_model().loaded.model.state_dict(), before)

    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    linear_map = replaceme(whole, whole, fitting_ids(folder, texts), 2, 2)
    (block,) = healed.blocks
    projection = block.projection
    assert (block.first, block.last, block.ridge, projection.layer) == (2, 2, RIDGE, 1)
    layer = engine.freed_model().anatomy.layers[1]
    own = dict(layer.get_submodule(projection.name).named_parameters())
    for parameter, value in image(linear_map, projection, own).items():
        np.testing.assert_allclose(
            projection.parameters[parameter], value, rtol=0, atol=1e-4 * np.abs(value).max()
        )

    surgery.prune(engine, [2], out, healed=healed)
    ids = random_ids(20)
    _, _, write, after = (torch.from_numpy(part[1]) for part in naive_writes(whole, ids))
    mapped = after - write + write @ torch.from_numpy(linear_map).T
    changes = [(1, lambda *_: mapped[None]), (2, lambda residual, _: residual)]
    expected = probabilities(whole, ids, changes).log()
    written = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    torch.testing.assert_close(
        torch.from_numpy(naive_without(written, ids, ())), expected, rtol=1e-4, atol=1e-4
    )
    cut = torch.from_numpy(naive_without(whole, ids, [2]))
    assert (cut - expected).abs().max() > 0.1


@pytest.mark.usefixtures("one_ridge")
def test_a_block_is_healed_in_the_model_that_is_healed_below(tmp_path: Path, texts: str) -> None:
    folder = tiny_folder(tmp_path)
    below, above = surgery.heal(engine_of(folder), [3, 1], texts).blocks
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    ids = fitting_ids(folder, texts)
    first_map = torch.from_numpy(replaceme(whole, whole, ids, 1, 1))
    cut = without_writes(whole, [1])
    with torch.no_grad():
        weight = cut.model.layers[0].mlp.down_proj.weight
        weight.copy_(first_map @ weight)
    assert below.projection.layer == 0
    healed_below = weight.detach().numpy()
    np.testing.assert_allclose(below.projection.parameters["weight"], healed_below, atol=1e-4)
    own = whole.model.layers[2].mlp.down_proj.weight.detach().numpy()
    second_map = replaceme(whole, cut, ids, 3, 3)
    np.testing.assert_allclose(above.projection.parameters["weight"], second_map @ own, atol=2e-4)
    # The model that is not healed below has another map.
    alone = replaceme(whole, without_writes(whole, [1]), ids, 3, 3)
    assert np.abs(alone @ own - second_map @ own).max() > 0.01


def with_linear_layer(parent: Path) -> Path:
    """A model whose layer 2 adds a linear function of what the MLP of layer 1 writes, no more.

    Dimension 0 is a constant so large that it alone is the scale of every norm. The last dimensions
    are written by the MLP of layer 1 alone, and layer 2 reads these alone, with a constant gate.
    """
    size, read = 1e4, slice(HIDDEN - 4, HIDDEN)
    folder = tiny_folder(parent)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        embeddings = model.get_input_embeddings().weight
        embeddings[:, read] = 0
        embeddings[:, 0] = size
        model.get_output_embeddings().weight[:, 0] = 0
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.fill_(size / HIDDEN**0.5)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter[0] = 0
                parameter[read] = 0
            elif "layers" in name:
                parameter[:, 0] = 0
        writer, linear = model.model.layers[1].mlp, model.model.layers[2]
        drawn = torch.randn(4, writer.down_proj.in_features, generator=torch.Generator())
        writer.down_proj.weight.zero_()[read] = drawn / 7
        linear.self_attn.o_proj.weight.zero_()
        linear.mlp.gate_proj.weight.zero_()[:, 0] = 1 / size
        linear.mlp.up_proj.weight[:, : HIDDEN - 4] = 0
        linear.mlp.down_proj.weight[1:] *= 3
    model.save_pretrained(folder)
    return folder


def test_a_linear_layer_is_healed_to_nothing(tmp_path: Path, texts: str) -> None:
    folder, out = with_linear_layer(tmp_path), tmp_path / "healed"
    engine = engine_of(folder)
    healed = surgery.heal(engine, [2], texts)
    assert healed.kl_cut > 0.01
    assert healed.kl_healed < 1e-6
    surgery.prune(engine, [2], out, healed=healed)
    whole, written = (AutoModelForCausalLM.from_pretrained(at).eval() for at in (folder, out))
    ids = random_ids(20)
    expected = naive_without(whole, ids, ())
    np.testing.assert_allclose(naive_without(written, ids, ()), expected, atol=1e-4)
    assert np.abs(naive_without(whole, ids, [2]) - expected).max() > 0.1


@on_few_models(REFUSED, ("gemma3", "granite_hybrid", "mixtral"))
def test_where_a_map_cannot_be_folded_healing_is_refused(name: str, tmp_path: Path) -> None:
    engine = engine_of(tiny_folder(tmp_path, name))
    with pytest.raises(DepthError, match=f"cannot be healed: {REFUSED[name]}"):
        surgery.check_can_heal(engine)


def test_blocks_that_cannot_be_healed_are_named_and_cost_no_texts(tmp_path: Path) -> None:
    engine = engine_of(tiny_folder(tmp_path, "deepseek_v3"))
    # Its first layer alone has no experts.
    surgery.check_can_heal(engine)
    healed = surgery.heal(engine, [0, 2], str(tmp_path / "no file"))
    assert not healed.blocks
    assert healed.problems[0, 0] == "no layer stands before it"
    assert healed.problems[2, 2].startswith("layer 1 cannot be healed: its MLP (DeepseekV3MoE)")


def test_other_weights_than_those_of_the_files_are_not_healed(engine: Engine, texts: str) -> None:
    weight = engine.freed_model().anatomy.layers[1].mlp.down_proj.weight
    with torch.no_grad():
        weight[0, 0] += 1
    problem = surgery.heal(engine, [2], texts).problems[2, 2]
    assert problem == "layer 1 cannot be healed: its files have other weights than the loaded model"


def test_where_no_map_is_better_the_layers_are_cut_alone(
    engine: Engine, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(healing, "RIDGES", (1e12,))
    healed = surgery.heal(engine, [2], texts)
    assert healed.problems == {(2, 2): "no map lowers the KL on texts that it was not fitted on"}
    assert healed.kl_healed == healed.kl_cut > 0


def test_weights_beyond_the_dtype_of_the_files_are_not_written() -> None:
    weight = torch.full((2, 2), 6e4, dtype=torch.float16)
    projection = Projection(3, "mlp.down_proj", False, {"weight": weight})
    with pytest.raises(DepthError, match=r"layer 3 are beyond torch\.float16"):
        projection.folded(2 * torch.eye(2, dtype=torch.float64))


@pytest.mark.usefixtures("one_ridge")
def test_healing_that_is_stopped_leaves_the_model_as_it_was(
    engine: Engine, texts: str, tmp_path: Path
) -> None:
    module = engine.freed_model().loaded.model
    before = copy.deepcopy(module.state_dict())
    healed, control = surgery.heal(engine, [3, 1], texts), Control()
    emit = engine.emit

    def stop_late(event: object) -> None:
        if getattr(event, "stage", "") == "Healing" and event.done > 60:
            control.stop()
        emit(event)

    engine.emit = stop_late
    with pytest.raises(RunStopped):
        surgery.heal(engine, [3, 1], texts, control=control)
    torch.testing.assert_close(module.state_dict(), before)
    with pytest.raises(RunStopped):
        surgery.prune(engine, [3, 1], tmp_path / "out" / "healed", control, healed=healed)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.usefixtures("one_ridge")
def test_layers_that_run_twice_are_not_healed(engine: Engine, texts: str, tmp_path: Path) -> None:
    healed = surgery.heal(engine, [2], texts)
    with pytest.raises(DepthError, match="run twice cannot be healed"):
        surgery.prune(engine, [2], tmp_path / "x", repeated=[Repeated(1, 1)], healed=healed)
    assert not (tmp_path / "x").exists()


@pytest.mark.usefixtures("one_ridge")
def test_a_healed_model_costs_in_memory_what_it_costs_when_written(
    engine: Engine, texts: str, tmp_path: Path
) -> None:
    prompts = [Prompt(text, text[-3:]) for text in CORPUS[:3]]
    outputs = surgery.whole_outputs(engine, prompts, False)
    healed = surgery.heal(engine, [1, 3], texts)
    cut = surgery.compare(engine, outputs, left_out=[1, 3])
    expected = surgery.compare(engine, outputs, left_out=[1, 3], healed=healed)
    surgery.prune(engine, [1, 3], tmp_path / "healed", healed=healed)
    recipe = (tmp_path / "healed" / "mergekit_config.yml").read_text()
    assert recipe.startswith("# Of the layers alone")
    engine.load(ModelSpec(str(tmp_path / "healed"), device="cpu"))
    written = surgery.compare(engine, outputs)
    np.testing.assert_allclose(written.kl, expected.kl, rtol=1e-4)
    np.testing.assert_allclose(written.loss, expected.loss, rtol=1e-4)
    assert written.right.tolist() == expected.right.tolist()
    assert (np.abs(cut.kl - written.kl)[:, 1] > 1e-2 * written.kl[:, 1]).all()


def mean_writes(model, texts, part):
    """The mean write of each layer's attention or MLP, or of the layer, `[L, d]`."""
    writes = [naive_writes(model, ids[None]) for ids in texts]
    a, m = (np.concatenate([text[place][:, 1:] for text in writes], axis=1) for place in (1, 2))
    return {"attention": a, "mlp": m, "layer": a + m}[part].mean(axis=1)


@pytest.mark.parametrize("piece", ["layer", "part"])
@on_few_models(HEALED, ("gpt2", "llama", "granite"))
def test_a_mean_is_written_as_a_hook_adds_it(name: str, piece: Piece, tmp_path: Path) -> None:
    folder, out = tiny_folder(tmp_path, name), tmp_path / "out"
    engine = engine_of(folder)
    texts = engine.orders.written_texts(lambda *_: None, lambda: None)[:3]
    engine.orders.written_texts = lambda *_: texts
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    ids, left_out = random_ids(20), [1, 2] if piece == "layer" else [2, 5]
    surgery.prune(engine, left_out, out, healed=surgery.means(engine, left_out, piece), piece=piece)

    def plus(values):
        return lambda residual, _: residual + torch.from_numpy(values)

    if piece == "layer":
        means = mean_writes(whole, texts, "layer")
        changes = [(1, plus(means[1])), (2, plus(means[2]))]
        expected = probabilities(whole, ids, changes).log().numpy()
    else:
        attention, mlp = (mean_writes(whole, texts, part) for part in ("attention", "mlp"))
        # Granite multiplies a module's output on its way into the stream.
        means = [attention[1], mlp[2]] / np.array(getattr(whole.config, "residual_multiplier", 1))
        expected = naive_without_parts(whole, ids, left_out, means)
    written = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    np.testing.assert_allclose(naive_without(written, ids, ()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "left_out", "problem"),
    [
        ("llama", [0, 2], "for layer 0: no layer stands before it"),
        ("qwen2", [2], "no room for a mean as its bias: its last projection has none"),
        ("gemma3", [2], "no room for a mean as its bias: a norm stands between its MLP"),
    ],
)
def test_where_a_mean_has_no_room_it_is_refused(
    name: str, left_out: list[int], problem: str, tmp_path: Path
) -> None:
    engine = engine_of(tiny_folder(tmp_path, name))
    texts = engine.orders.written_texts(lambda *_: None, lambda: None)[:1]
    engine.orders.written_texts = lambda *_: texts
    with pytest.raises(DepthError, match=problem):
        surgery.prune(
            engine, left_out, tmp_path / "out", healed=surgery.means(engine, left_out, "layer")
        )
    assert not (tmp_path / "out").exists()
