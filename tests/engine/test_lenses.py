"""Runs that read through fitted lenses: found, fitted, kept, refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depthtui.data.lens import AffineLens, JacobianLens, LogitLens
from depthtui.data.protocol import MetricRows, Notice, Progress, TokensWritten
from depthtui.data.run import Prompt
from depthtui.data.run_settings import ModelSpec, RunSettings, Writing
from depthtui.data.store import open_store
from depthtui.engine import lenses
from depthtui.engine.control import Control
from depthtui.engine.engine import Engine
from depthtui.engine.lenses import LensChoice
from depthtui.errors import DepthError, RunStopped
from depthtui.lenses.lens_files import LensFolder, read_published
from depthtui.metrics.margin import answer_margin
from depthtui.metrics.nonlinear import Nonlinear
from tests.naive import blocks, naive_lens, with_states
from tests.tiny_models import HIDDEN, LAYERS, tiny_folder

PROMPT = Prompt("Seven plus five is twelve, and twelve minus five is seven.", " is seven.")
THROUGH = RunSettings(metrics=("logit_lens", "affine_lens", "nonlinear"), lens_top_k=5)


def texts_file(folder, count=12, name="texts.txt"):
    words = PROMPT.text.split()
    lines = [
        " ".join(words[(row * step) % len(words)] for step in range(1, 20)) for row in range(count)
    ]
    path = folder / name
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def made(folder, tmp_path, events):
    """A function that makes engines which share a cache and a folder of lenses."""

    def make(name=folder, lenses_dir=tmp_path / "lenses"):
        store = open_store(tmp_path / "cache", 1 << 30, pytest.fail)
        engine = Engine(store, tmp_path / "models", events.append, lenses_dir=lenses_dir)
        engine.load(ModelSpec(str(name), device="cpu"))
        return engine

    return make


def test_a_run_fits_a_lens_where_there_is_none(made, tmp_path, events):
    engine = made()
    result = engine.run(PROMPT, THROUGH)
    lens = result.get(AffineLens)
    assert not result.unavailable
    assert lens.fit.source == "written by the model"
    assert lens.fit.texts > lens.fit.held_out_texts > 0
    assert lens.fit.ridge > 0
    shares = [event.done for event in events if isinstance(event, MetricRows)]
    assert shares == sorted(shares[: shares.index(100) + 1]) + shares[shares.index(100) + 1 :]
    (file,) = LensFolder(tmp_path / "lenses").files()
    assert file.fit == lens.fit
    share = result.get(Nonlinear).share
    assert share.shape == (LAYERS,)
    assert np.isfinite(share).all()


def test_the_lens_is_used_again_and_the_result_too(made, monkeypatch):
    first = made().run(PROMPT, THROUGH).get(AffineLens)
    engine = made()
    monkeypatch.setattr(type(engine.lenses), "fit", lambda *_: pytest.fail("fitted again"))
    again = engine.run(PROMPT, THROUGH)
    assert np.array_equal(again.get(AffineLens).kl, first.kl)
    other = engine.run(Prompt("The ferry did not run."), THROUGH).get(AffineLens)
    assert other.fit == first.fit


def test_another_fit_is_another_result(made, tmp_path):
    engine = made()
    plain = engine.run(PROMPT, THROUGH).get(AffineLens)
    texts = str(texts_file(tmp_path))
    settings = RunSettings(metrics=THROUGH.metrics, lens_top_k=5, lens_texts=texts, lens_ridge=0.5)
    other = engine.run(PROMPT, settings).get(AffineLens)
    assert (other.fit.source, other.fit.ridge) == ("texts.txt", 0.5)
    assert other.fit.digest != plain.fit.digest
    assert not np.allclose(other.kl, plain.kl)
    # Without saying which, the latest is taken.
    assert engine.run(PROMPT, THROUGH).get(AffineLens).fit == other.fit


def test_a_lens_reads_what_the_model_says_of_the_mapped_residual(made):
    """The naive lens: the last layer is made to return T_l(h_l)."""
    engine = made()
    result = engine.run(PROMPT, THROUGH)
    lens, maps = result.get(AffineLens), engine.lenses.find_or_fit(LensChoice("affine"), None, None)
    model = engine._model.loaded.model
    ids = torch.from_numpy(result.tokens.ids)[None]
    with torch.no_grad():
        final = model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
    place, margin = result.answer_start, answer_margin(lens, result)
    answer = ids[0, place]
    for depth in range(LAYERS):
        states = {}

        def keep(_module, args, kwargs, states=states):
            states["h"] = (args[0] if args else kwargs["hidden_states"]).clone()

        def put(_module, _args, output, states=states, depth=depth):
            h = states["h"].double()
            x = h / h.pow(2).mean(-1, keepdim=True).sqrt()
            depth_map = maps.at(depth)
            mapped = x @ depth_map.weight.double().T + depth_map.bias.double()
            return with_states(output, mapped.float())

        first = blocks(model)[depth].register_forward_pre_hook(keep, with_kwargs=True)
        last = blocks(model)[-1].register_forward_hook(put)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0]
        first.remove()
        last.remove()
        log_p = logits.double().log_softmax(-1)
        kl = (log_p.exp() * (log_p - final)).sum(-1)
        middle = (log_p.exp() + final.exp()) / 2
        apart = sum((one.exp() * (one - middle.log())).sum(-1) for one in (log_p, final)) / 2
        np.testing.assert_allclose(lens.kl[depth], kl, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(lens.divergence[depth], apart, rtol=2e-3, atol=1e-4)
        assert (lens.top_ids[depth, :, 0] == log_p.argmax(-1).numpy()).all()
        others = log_p[place - 1].index_fill(0, answer, -torch.inf)
        ahead = log_p[place - 1, answer] - others.max()
        np.testing.assert_allclose(margin[depth], ahead, rtol=2e-3, atol=1e-4)
    assert (lens.kl[-1] == 0).all()
    assert {int(id_) for id_ in np.unique(lens.top_ids)} == lens.vocabulary.keys()
    assert naive_lens(model, ids, 5)["kl"].shape == result.get(LogitLens).kl.shape


HUGE = {"J": {block: torch.full((HIDDEN, HIDDEN), 3e38) for block in range(LAYERS - 1)}}


def test_a_published_lens_that_overflows_is_refused(made, tmp_path):
    torch.save(HUGE, tmp_path / "lens.pt")
    engine = made()
    with pytest.raises(DepthError, match=r"lens\.pt makes values that are .* at depth 1"):
        engine.import_lens(tmp_path / "lens.pt")
    assert LensFolder(tmp_path / "lenses").files() == []


def test_a_lens_that_overflows_in_a_run_is_named_and_not_the_model(made, tmp_path):
    engine = made()
    torch.save(HUGE, tmp_path / "lens.pt")
    maps = read_published(tmp_path / "lens.pt", LAYERS, HIDDEN)
    engine.lenses.save(maps, "", LensChoice("jacobian"))
    result = engine.run(PROMPT, RunSettings(metrics=("logit_lens", "jacobian_lens")))
    reason = result.unavailable["jacobian_lens"]
    assert reason.startswith("the Jacobian lens makes values that are infinite or no numbers")
    assert result.get(JacobianLens) is None
    assert np.isfinite(result.get(LogitLens).kl).all()


def test_a_lens_that_cannot_be_kept_is_used_and_told(made, tmp_path, events, monkeypatch):
    (tmp_path / "file").touch()
    engine = made(lenses_dir=tmp_path / "file" / "lenses")
    lens = engine.run(PROMPT, THROUGH).get(AffineLens)
    assert np.isfinite(lens.kl).all()
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert notices[0].startswith("The affine lens is used now and was not saved: ")
    assert "could not be written" in notices[0]
    monkeypatch.setattr(lenses, "fit_affine", lambda *_: pytest.fail("fitted again"))
    other = engine.run(Prompt("The ferry did not run."), THROUGH).get(AffineLens)
    assert other.fit == lens.fit


def test_a_fit_by_itself_that_cannot_be_kept_is_an_error(made, tmp_path):
    (tmp_path / "file").touch()
    engine = made(lenses_dir=tmp_path / "file" / "lenses")
    with pytest.raises(DepthError, match="could not be written"):
        engine.fit_lens(LensChoice("affine"))


def test_a_model_without_a_fingerprint_keeps_its_lens_in_memory(made, tmp_path):
    engine = made(lenses_dir=None)
    first = engine.run(PROMPT, THROUGH).get(AffineLens)
    second = engine.run(Prompt("The ferry."), THROUGH).get(AffineLens)
    assert first.fit == second.fit
    assert not (tmp_path / "lenses").exists()


def test_a_lens_of_another_model_is_not_taken(made, tmp_path):
    first = made().run(PROMPT, THROUGH).get(AffineLens)
    other = tiny_folder(tmp_path / "other", "qwen2")
    second = made(other).run(PROMPT, THROUGH).get(AffineLens)
    assert first.fit.digest != second.fit.digest
    assert len(LensFolder(tmp_path / "lenses").files()) == 2


def test_while_a_lens_is_fitted_for_a_run_it_says_how_long_that_takes(made, events, monkeypatch):
    monkeypatch.setattr("depthtui.engine.prompt_run._SECONDS_BETWEEN_PARTS", 0)
    made().run(PROMPT, THROUGH)
    rows = [e for e in events if isinstance(e, MetricRows) and e.metric == "affine_lens"]
    fitting = [event for event in rows if event.total == 100]
    assert fitting[0].done < fitting[-1].done
    assert all(event.seconds_left >= 0 for event in fitting if event.done)


def test_without_a_jacobian_lens_it_says_how_to_have_one(made):
    result = made().run(PROMPT, RunSettings(metrics=("jacobian_lens",)))
    assert "depthtui lens fit" in result.unavailable["jacobian_lens"]
    assert result.complete


def test_texts_that_cannot_be_read_cost_the_metric_alone(made, tmp_path):
    settings = RunSettings(metrics=THROUGH.metrics, lens_texts=str(tmp_path / "none.txt"))
    result = made().run(PROMPT, settings)
    assert "cannot be read" in result.unavailable["affine_lens"]
    assert result.get(LogitLens) is not None


def test_a_jacobian_lens_is_fitted_and_read_through(made, events):
    engine = made()
    maps = engine.fit_lens(LensChoice("jacobian", prompts=2))
    assert (maps.fit.texts, maps.fit.ridge) == (2, None)
    assert np.isfinite(maps.held_out_kl).all()
    stages = {event.stage for event in events if isinstance(event, Progress)}
    assert {"Writing calibration texts", "Fitting the Jacobian lens"} <= stages
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert notice.message.startswith("Fitting the Jacobian lens takes about ")
    assert ": 2 prompts, " in notice.message
    writing = next(e for e in events if getattr(e, "stage", "").startswith("Writing"))
    assert events.index(notice) < events.index(writing)
    lens = engine.run(PROMPT, RunSettings(metrics=("jacobian_lens",))).get(JacobianLens)
    assert np.isfinite(lens.kl).all()
    assert (lens.kl[-1] == 0).all()


def test_a_jacobian_fit_goes_on_where_it_was_stopped(made, tmp_path):
    engine, control = made(), Control()
    texts = str(texts_file(tmp_path, 8, "long.txt"))
    choice = LensChoice("jacobian", texts=texts, prompts=3)
    done = []

    def report(stage, count, total):
        done.append((count, total))
        if "Jacobian" in stage and count > total // 3:
            control.stop()

    with pytest.raises(RunStopped):
        engine.lenses.fit(choice, report, control.checkpoint)
    done.clear()
    notices = []
    again = engine.lenses.fit(
        choice, lambda *step: done.append(step[1:]), lambda: None, notices.append
    )
    assert "1 of 3 prompts to go" in notices[0]
    assert done[0][0] > done[0][1] // 3
    assert again.fit.texts == 3
    whole = made(lenses_dir=None).fit_lens(choice)
    torch.testing.assert_close(again.at(1).weight, whole.at(1).weight)
    assert not list((tmp_path / "lenses").glob("*.unfinished"))


def test_a_stopped_run_has_no_lens_and_keeps_the_rest(made):
    engine, control = made(), Control()
    real = engine.lenses.find_or_fit

    def stop_then_fit(*arguments):
        control.stop()
        return real(*arguments)

    engine.lenses.find_or_fit = stop_then_fit
    result = engine.run(PROMPT, THROUGH, control)
    assert not result.complete
    assert result.get(AffineLens) is None
    assert np.isfinite(result.get(LogitLens).kl).all()


def test_a_published_lens_is_taken(made, tmp_path):
    engine = made()
    jacobians = {block: torch.eye(engine.model.d_model).half() for block in range(LAYERS)}
    torch.save({"J": jacobians, "n_prompts": 7}, tmp_path / "lens.pt")
    maps = engine.import_lens(tmp_path / "lens.pt")
    assert maps.fit.texts == 7
    # Through identities it is the logit lens.
    settings = RunSettings(metrics=("logit_lens", "jacobian_lens"), lens_top_k=5)
    result = engine.run(PROMPT, settings)
    lens, plain = result.get(JacobianLens), result.get(LogitLens)
    np.testing.assert_allclose(lens.kl[1:], plain.kl[1:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps.held_out_kl[1:], maps.logit_held_out_kl[1:], rtol=1e-4)
    # The format has no map of depth 0.
    assert np.isnan(lens.kl[0]).all()
    assert np.isnan(lens.divergence[0]).all()
    assert (lens.top_ids[0] == -1).all()


def test_a_published_lens_of_another_model_is_refused(made, tmp_path):
    engine = made()
    torch.save({"J": {0: torch.eye(5)}}, tmp_path / "lens.pt")
    with pytest.raises(DepthError, match="of another model"):
        engine.import_lens(tmp_path / "lens.pt")
    assert not list((tmp_path / "lenses").glob("*"))


def test_a_text_is_read_through_a_fitted_lens_as_its_run_is(made, events):
    writing = Writing(max_tokens=4)
    run = made().run(PROMPT, THROUGH, write=writing)
    written = [event for event in events if isinstance(event, TokensWritten)]
    parts = [event.readings for event in written if event.readings]
    assert {name for part in parts for name in part} == {"affine_lens"}
    kl = np.hstack([part["affine_lens"].kl for part in parts])
    expected = run.get(AffineLens)
    np.testing.assert_allclose(kl, expected.kl[:, run.answer_start - 1 : -1], rtol=1e-3, atol=1e-4)
    assert parts[0]["affine_lens"].fit == expected.fit
    # The lens chooses no token: the same text is read through another.
    plain = made().run(PROMPT, RunSettings(), write=writing)
    assert plain.tokens.ids.tolist() == run.tokens.ids.tolist()


def test_without_a_jacobian_lens_no_text_is_written_and_it_says_how_to_have_one(made):
    with pytest.raises(DepthError, match=r"lens fit .* --kind jacobian"):
        made().run(PROMPT, RunSettings(metrics=("jacobian_lens",)), write=Writing(max_tokens=2))
