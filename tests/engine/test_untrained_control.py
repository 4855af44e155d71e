"""What an untrained model of a model's shape knows, on tiny models."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.engine.untrained_control import known_untrained, untrained_parts
from depthtui.errors import RunStopped
from depthtui.metrics.kept import NAME
from depthtui.models.untrained import Blueprint
from tests.engine.test_controls import engine_with
from tests.naive import naive_without_parts
from tests.tiny_models import CORPUS, random_ids, with_tokenizer

TEXTS = [torch.tensor(ids) for ids in ([1, 5, 9, 4, 7, 30], [1, 8], [1, 2, 3, 9, 9, 20, 3])]


def no_check() -> None:
    """Never stop."""


@pytest.fixture(scope="module")
def tiny():
    return with_tokenizer("llama")


def ready(tiny, folder):
    return engine_with(*tiny, folder)._loaded_model()


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba"])
def test_it_is_the_loss_that_its_context_saves(name, tmp_path):
    model = ready(with_tokenizer(name), tmp_path)
    untrained = Blueprint.of(model.loaded).build(0).model
    with torch.no_grad():
        logs = [untrained(ids[None]).logits[0].double().log_softmax(-1) for ids in TEXTS]
    guess = torch.cat([log[1:].exp() for log in logs]).mean(0)
    losses = -(0.999 * guess + 0.001 / len(guess)).log()
    saved = [
        float(losses[token] + log[place + 1, token])
        for ids, log in zip(TEXTS, logs, strict=True)
        for place, token in enumerate(ids[2:])
    ]
    assert len(saved) == 4 + 0 + 5
    assert known_untrained(model, TEXTS, no_check) == pytest.approx(np.mean(saved), abs=1e-5)


@pytest.mark.parametrize("name", ["llama", "falcon"])
def test_it_takes_the_last_parts_of_its_order_to_stay_within_a_nat(name, tmp_path):
    model = ready(with_tokenizer(name), tmp_path)
    texts = [random_ids(9, seed)[0] for seed in range(4, 8)]
    build = Blueprint.build
    untrained = build(Blueprint.of(model.loaded), 0).model
    # As it is drawn, nothing that it leaves out moves its output by a nat.
    for parameter in untrained.parameters():
        parameter.mul_(4)

    def cost(left_out, of):
        logs = (
            naive_without_parts(untrained, ids[None], out) for ids in of for out in ((), left_out)
        )
        return np.mean(
            [
                (np.exp(clean) * (clean - other))[1:].sum(-1).mean()
                for clean, other in zip(logs, logs, strict=True)
            ]
        )

    alone = [cost([part], texts[::2]) for part in range(8)]
    order = sorted(range(8), key=lambda part: (alone[part], -part))
    gone, on_others = (
        next(count for count in range(9) if cost(order[:count], of) > 1) - 1
        for of in (texts[1::2], texts[::2])
    )
    assert 0 < gone < 8
    assert gone != on_others
    with pytest.MonkeyPatch.context() as patch:
        grown = replace(build(Blueprint.of(model.loaded), 0), model=untrained)
        patch.setattr(Blueprint, "build", lambda self, seed: grown)
        steps = []
        found = untrained_parts(
            model, texts, no_check, lambda done, total: steps.append((done, total))
        )
    assert found == tuple(order[gone:])
    assert steps == [(done, len(texts)) for done in range(len(texts))]


def test_there_is_none_without_room_for_it_beside_the_model(tiny, tmp_path, monkeypatch):
    model = ready(tiny, tmp_path)
    size = 2 * model.info.memory_bytes
    for free, is_known in ((size, True), (size - 1, False)):
        monkeypatch.setattr("depthtui.engine.untrained_control.free_memory", lambda free=free: free)
        assert (known_untrained(model, TEXTS, no_check) is not None) is is_known


def test_there_is_none_of_a_quantised_model(tiny, tmp_path):
    model = ready(tiny, tmp_path)
    model.loaded = replace(model.loaded, info=replace(model.loaded.info, quantize="8bit"))
    assert known_untrained(model, TEXTS, no_check) is None


def test_it_stands_in_a_run_and_is_computed_once(tiny, tmp_path, monkeypatch):
    built = []
    build = Blueprint.build
    monkeypatch.setattr(
        Blueprint, "build", lambda self, seed: built.append(seed) or build(self, seed)
    )
    settings = RunSettings(metrics=("contributions", "logit_lens", NAME))
    engine = engine_with(*tiny, tmp_path)
    nats = [engine.run(Prompt(text), settings).measured[NAME].untrained for text in CORPUS[:2]]
    assert nats[0] == nats[1] != 0
    again = engine_with(*tiny, tmp_path)
    monkeypatch.setattr(
        "depthtui.engine.lenses.Lenses.write_texts", lambda *_: pytest.fail("it is stored")
    )
    assert again.run(Prompt(CORPUS[0]), settings).measured[NAME].untrained == nats[0]
    assert built == [0]


@pytest.mark.parametrize(
    ("name", "suffix", "damages"),
    [
        ("known_untrained", ".untrained", ("", "null", "[1]", '"x"', "\x00")),
        ("untrained_parts", ".untrained-parts", ("", "null", "[-1]", "[8]", "[0.5]", "\x00")),
    ],
)
def test_a_damaged_file_is_computed_anew(name, suffix, damages, tiny, tmp_path):
    value = getattr(engine_with(*tiny, tmp_path).orders, name)(no_check)
    (file,) = (tmp_path / "lenses").glob(f"*{suffix}")
    whole = file.read_text()
    for damage in damages:
        file.write_text(damage)
        assert getattr(engine_with(*tiny, tmp_path).orders, name)(no_check) == value
        assert file.read_text() == whole


def test_a_stop_keeps_nothing(tiny, tmp_path):
    orders = engine_with(*tiny, tmp_path).orders
    orders.known_untrained(no_check)
    other = engine_with(copy.deepcopy(tiny[0]), tiny[1], tmp_path / "other").orders
    other._written = orders._written

    def stop() -> None:
        raise RunStopped

    with pytest.raises(RunStopped):
        other.known_untrained(stop)
    assert not list((tmp_path / "other").rglob("*.untrained"))
    assert other.known_untrained(no_check) is not None
