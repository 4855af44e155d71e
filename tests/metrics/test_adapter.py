"""A model with an adapter beside its base: against plain forwards, and where it was planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from depthtui import analyze
from depthtui.api.runs import Runs
from depthtui.data.run_settings import RunSettings, SummarySettings
from depthtui.depth.parting import parting_sentence
from depthtui.depth.reading import reading_of
from depthtui.metrics import adapter
from depthtui.metrics.adapter import AdapterChange
from depthtui.metrics.registry import OF_THE_PASS
from tests.builders.adapters import adapter_of, merged_folder
from tests.builders.results import run
from tests.naive import blocks
from tests.tiny_models import CORPUS, tiny_folder, tiny_tokenizer

TEXT = CORPUS[1]
ATTENTION = {"llama": "self_attn", "qwen2": "self_attn", "gpt2": "attn"}
LORA = {
    "llama": {"target_modules": ["q_proj", "v_proj", "down_proj"]},
    "qwen2": {"target_modules": "all-linear", "modules_to_save": ["lm_head"]},
    "gpt2": {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True},
}


def measured(base: Path, result: Path | str = "", metrics=RunSettings.metrics) -> Runs:
    options = {"adapter": str(result)} if result else {}
    return analyze(
        base, [TEXT, CORPUS[0]], metrics=metrics, progress=False, use_cache=False, **options
    )


class Recorded:
    """What each block of a model reads and makes in one plain forward, and its sublayers."""

    def __init__(self, model, name: str, ids: torch.Tensor, put: dict | None = None) -> None:
        """`put` are inputs in place of a module's own."""
        self.read: dict[object, torch.Tensor] = {}
        self.made: dict[object, torch.Tensor] = {}
        self.layers = blocks(model)
        handles = []
        for number, layer in enumerate(self.layers):
            modules = {"layer": layer, "attention": getattr(layer, ATTENTION[name])}
            for part, module in (modules | {"mlp": layer.mlp}).items():
                key = number, part
                handles.append(
                    module.register_forward_pre_hook(self.before(key, put or {}), with_kwargs=True)
                )
                handles.append(module.register_forward_hook(self.after(key)))
        with torch.no_grad():
            self.logits = model(ids[None]).logits[0]
        for handle in handles:
            handle.remove()

    def before(self, key, put):
        def hook(_, args, kwargs):
            states = args[0] if args else kwargs["hidden_states"]
            if key in put:
                states = put[key][None]
                args = (states, *args[1:]) if args else args
                kwargs = kwargs if args else kwargs | {"hidden_states": states}
            self.read[key] = states[0]
            return args, kwargs

        return hook

    def after(self, key):
        def hook(_, __, output):
            self.made[key] = (output if isinstance(output, torch.Tensor) else output[0])[0]

        return hook


def share(change, stream):
    return (
        torch.linalg.vector_norm(change, dim=-1) / torch.linalg.vector_norm(stream, dim=-1)
    ).numpy()


@pytest.mark.parametrize("name", LORA)
def test_against_plain_forwards(name, tmp_path) -> None:
    base = tiny_folder(tmp_path, name)
    actual = adapter_of(base, tmp_path / "ad", **LORA[name])
    change = measured(base, actual, "adapter")[0].adapter
    ids = torch.tensor(tiny_tokenizer()(TEXT)["input_ids"])
    plain = AutoModelForCausalLM.from_pretrained(base).eval()
    merged = AutoModelForCausalLM.from_pretrained(
        merged_folder(base, actual, tmp_path / "merged")
    ).eval()
    off, on = (Recorded(model, name, ids) for model in (plain, merged))
    close = {"rtol": 2e-3, "atol": 2e-5}
    for number in range(len(on.layers)):
        layer, attention, mlp = ((number, part) for part in ("layer", "attention", "mlp"))
        h = on.read[layer]
        moved = share(h - off.read[layer], off.read[layer])
        np.testing.assert_allclose(change.stream[number], moved, **close)
        same = Recorded(plain, name, ids, {layer: h})
        for values, part in ((change.layer, layer), (change.attention, attention)):
            expected = share(on.made[part] - same.made[part], h)
            np.testing.assert_allclose(values[number], expected, **close)
        behind = Recorded(plain, name, ids, {layer: h, mlp: on.read[mlp]})
        np.testing.assert_allclose(
            change.mlp[number], share(on.made[mlp] - behind.made[mlp], h), **close
        )
    last = len(on.layers) - 1, "layer"
    np.testing.assert_allclose(
        change.stream[-1], share(on.made[last] - off.made[last], off.made[last]), **close
    )
    losses = [
        torch.nn.functional.cross_entropy(side.logits[:-1], ids[1:], reduction="none")
        for side in (on, off)
    ]
    np.testing.assert_allclose(change.loss_change, losses[0] - losses[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("module", "part", "layer"),
    [("q_proj", "attention", 2), ("up_proj", "mlp", 1), ("o_proj", "attention", 0)],
)
def test_one_of_a_single_layer_is_found_there(module, part, layer, tmp_path) -> None:
    base = tiny_folder(tmp_path, "llama")
    result = adapter_of(base, tmp_path / "ad", target_modules=[module], layers_to_transform=[layer])
    runs, alone = measured(base, result), measured(base)
    change = runs[0].adapter
    others = [number for number in range(4) if number != layer]
    other = {"attention": "mlp", "mlp": "attention"}[part]
    assert (change.stream[: layer + 1] == 0).all()
    assert (change.stream[layer + 1 :].mean(axis=1) > 0).all()
    assert (change.layer[others] == 0).all()
    assert (getattr(change, part)[others] == 0).all()
    assert getattr(change, part)[layer].mean() > 0.01
    assert (getattr(change, other) == 0).all()
    words = f"layer {layer}, {'MLP' if part == 'mlp' else part}"
    says = {line.title: line.value for line in _findings(runs)}
    assert says["First layer that the adapter changes"] == words
    assert says["Layer that the adapter changes most"] == words
    # So do the two runs, compared as any others are.
    parted = parting_sentence(alone[0], runs[0], SummarySettings())
    assert parted.startswith(f"They part at layer {layer}, by {words.split(', ')[1]}:")


def _findings(runs: Runs) -> list:
    reading = reading_of(list(runs), SummarySettings())
    value = reading.get(adapter.METRIC)
    return adapter.METRIC.findings(value, reading)


def test_every_metric_of_a_pass_is_that_of_merged_weights(tmp_path) -> None:
    base = tiny_folder(tmp_path, "llama")
    result = adapter_of(base, tmp_path / "ad")
    merged = measured(merged_folder(base, result, tmp_path / "merged"))
    with_it = measured(base, result)
    for ours, theirs in zip(with_it, merged, strict=True):
        for metric in OF_THE_PASS:
            one, other = vars(getattr(ours, metric)), vars(getattr(theirs, metric))
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
        assert "adapter" in ours.measured
        assert "adapter" not in theirs.measured


def test_it_is_measured_where_no_metrics_are_named(tmp_path) -> None:
    base = tiny_folder(tmp_path, "llama")
    result = adapter_of(base, tmp_path / "ad")
    assert "adapter" in measured(base, result)[0].measured
    assert "adapter" not in measured(base, result, "logit_lens")[0].measured
    with pytest.warns(UserWarning, match="the model has no adapter"):
        measured(base, metrics="contributions,adapter")


def test_a_model_without_one_has_none() -> None:
    result = run("a b", tokens=3)
    assert adapter.METRIC.why_unavailable(result) == "the model has no adapter (--adapter)"


def _reduced(layer, attention, mlp, stream):
    values = [np.array(value, float) for value in (stream, layer, attention, mlp)]
    return adapter.ReducedAdapterChange(
        **dict(zip(("stream", "layer", "attention", "mlp"), values, strict=True)),
        mean_loss_change=-0.125,
        tokens=3,
    )


def test_what_it_says() -> None:
    result = _reduced(
        [0, 0.1, 0.3, 0.2, 0.1, 0.2],
        [0, 0, 0.3, 0, 0, 0],
        [0, 0.1, 0.1, 0.2, 0.1, 0.2],
        [0, 0, 0.1, 0.3, 0.2, 0.2, 0.4],
    )
    assert result.first == (1, "mlp")
    assert result.most == (2, "attention")
    assert result.around_most == range(2, 4)
    said = {line.title: (line.value, line.remark) for line in adapter.METRIC.findings(result, None)}
    assert said["Layer that the adapter changes most"][1].endswith("in layers 2 to 3")
    assert said["Stream moved by the adapter"] == (
        "0.4",
        "of |h| without it, at the output; half of that after layer 2",
    )
    assert said["Loss with the adapter"] == ("-0.125 nats", "beside the base's, on these tokens")
    summary = adapter.METRIC.summary(result, None)
    assert summary["first"] == {"layer": 1, "part": "mlp"}


def test_one_that_changes_nothing() -> None:
    result = _reduced([0, 0], [0, 0], [0, 0], [0, 0, 0])
    lines = list(adapter.METRIC.findings(result, None))
    assert (lines[0].title, lines[0].value) == ("Changed by the adapter", "no layer")
    assert adapter.METRIC.summary(result, None)["most"] is None


def test_without_a_split_and_a_lens() -> None:
    unknown = [np.nan, np.nan]
    result = _reduced([0, 0.2], unknown, unknown, [0, 0, 0.2])
    assert result.first == result.most == (1, "layer")
    assert [values.title for values in adapter.METRIC.per_layer(result)] == [
        "stream moved",
        "adapter's layer",
    ]


def test_one_token_has_no_loss() -> None:
    result = run("a", tokens=1)
    actual = adapter.METRIC.reduce(AdapterChange.unknown(4, 1), result, slice(None))
    assert np.isnan(actual.mean_loss_change)
    assert adapter.METRIC.summary(actual, None)["first"] is None
