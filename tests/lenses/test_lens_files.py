"""Lenses on disk: kept, found again, published; and files that are none."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from depthtui.data.lens import LensFit
from depthtui.errors import DepthError
from depthtui.lenses.calibration import read_texts
from depthtui.lenses.jacobian import JacobianSums
from depthtui.lenses.lens_files import (
    LensFolder,
    read_any,
    read_lens_file,
    read_published,
    with_digest,
    write_published,
)
from depthtui.lenses.maps import DepthMap, LensMaps, MappedResiduals

LAYERS, WIDTH = 3, 4


def maps(kind: str = "affine", seed: int = 0, ridge: float | None = 0.1) -> LensMaps:
    random = torch.Generator().manual_seed(seed)
    weights = torch.randn(LAYERS, WIDTH, WIDTH, generator=random)
    biases = torch.randn(LAYERS, WIDTH, generator=random)

    def at(depth: int) -> DepthMap:
        if kind == "jacobian":
            return DepthMap(weights[depth])
        return DepthMap(weights[depth], biases[depth], scales=True)

    fit = LensFit(kind, "texts.jsonl", 9, 100, ridge if kind == "affine" else None, 1)
    kl = np.arange(LAYERS, dtype=np.float32)
    return with_digest(LensMaps(fit, at, kl, kl + 1, kl + 2))


def same(maps: LensMaps, expected: LensMaps) -> None:
    assert maps.fit == expected.fit
    rows = torch.randn(5, WIDTH)
    for depth in range(LAYERS):
        torch.testing.assert_close(maps.at(depth)(rows), expected.at(depth)(rows))
    for name in ("held_out_kl", "logit_held_out_kl", "nonlinear"):
        np.testing.assert_array_equal(getattr(maps, name), getattr(expected, name))


@pytest.mark.parametrize("kind", ["affine", "jacobian"])
def test_a_lens_is_found_again(tmp_path, kind):
    folder, lens = LensFolder(tmp_path / "lenses"), maps(kind)
    folder.save(lens, "a/model: [/]", "f1", "c1")
    file = folder.find("f1", kind, "c1")
    assert file is not None
    assert file.model == "a/model: [/]"
    same(read_lens_file(file, LAYERS, WIDTH), lens)
    same(read_any(file), lens)
    assert [file.name for file in folder.files()] == [file.name]


def test_only_the_lens_that_was_asked_for_is_found(tmp_path):
    folder = LensFolder(tmp_path)
    folder.save(maps(), "m", "f1", "c1")
    assert folder.find("f2", "affine") is None
    assert folder.find("f1", "jacobian") is None
    assert folder.find("f1", "affine", "c2") is None
    assert folder.find("f1", "affine", ridge=0.2) is None
    assert folder.find("f1", "affine", "c1", 0.1) is not None
    assert folder.find("f1", "affine") is not None


def test_a_fit_of_the_same_kind_takes_the_place_of_the_one_before(tmp_path):
    folder = LensFolder(tmp_path)
    folder.save(maps(seed=1), "m", "f1", "c1")
    folder.save(maps(seed=2), "m", "f1", "c1")
    (file,) = folder.files()
    same(read_lens_file(file, LAYERS, WIDTH), maps(seed=2))


def test_a_lens_of_another_shape_is_refused(tmp_path):
    file = LensFolder(tmp_path).save(maps(), "m", "f1", "c1")
    for layers, width in ((LAYERS + 1, WIDTH), (LAYERS, WIDTH + 1)):
        with pytest.raises(DepthError, match="of another model"):
            read_lens_file(file, layers, width)


def test_other_files_are_no_lenses(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    torch.save({"J": {}}, tmp_path / "b.safetensors")
    assert LensFolder(tmp_path).files() == []


def test_digests_tell_maps_apart():
    assert maps(seed=1).fit.digest != maps(seed=2).fit.digest
    assert maps(seed=1).fit.digest == maps(seed=1).fit.digest


def test_the_published_format_comes_back(tmp_path):
    """Block l's output is depth l + 1, so depth 0 is not in it."""
    lens = maps("jacobian")
    write_published(lens, tmp_path / "lens.pt")
    document = torch.load(tmp_path / "lens.pt", weights_only=True)
    assert sorted(document["J"]) == [0, 1]
    assert torch.equal(document["J"][0], lens.at(1).weight)
    published = read_published(tmp_path / "lens.pt", LAYERS, WIDTH)
    assert published.at(0) is None
    assert torch.equal(published.at(2).weight, lens.at(2).weight)
    assert (published.fit.source, published.fit.texts) == ("lens.pt", 9)
    assert np.isnan(published.held_out_kl).all()


def test_an_affine_lens_is_not_published(tmp_path):
    with pytest.raises(DepthError, match="Jacobian"):
        write_published(maps(), tmp_path / "lens.pt")


class Planted:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("by", ["torch", "pickle"])
def test_nothing_in_a_file_is_run(tmp_path, by):
    trace, path = tmp_path / "ran", tmp_path / "lens.pt"
    planted = {"J": {0: Planted(str(trace))}}
    if by == "torch":
        torch.save(planted, path)
    else:
        path.write_bytes(pickle.dumps(planted))
    with pytest.raises(DepthError, match="tensors alone"):
        read_published(path, LAYERS, WIDTH)
    assert not trace.exists()
    # It would have run where it is loaded without care.
    torch.load(path, weights_only=False) if by == "torch" else pickle.loads(path.read_bytes())
    assert trace.exists()


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({}, "no Jacobian lens"),
        ([], "no Jacobian lens"),
        ({"J": {}}, "no Jacobian lens"),
        ({"J": {"a": torch.eye(WIDTH)}}, "no Jacobian lens"),
        ({"J": {0: 1.0}}, "no Jacobian lens"),
        ({"J": {0: torch.eye(WIDTH + 1)}}, "of another model"),
        ({"J": {LAYERS: torch.eye(WIDTH)}}, "of another model"),
        ({"J": {LAYERS - 1: torch.eye(WIDTH)}}, "no map of a depth"),
    ],
)
def test_other_contents_are_refused(tmp_path, held, words):
    torch.save(held, tmp_path / "lens.pt")
    with pytest.raises(DepthError, match=words):
        read_published(tmp_path / "lens.pt", LAYERS, WIDTH)


def quantised(weight):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)


UNUSABLE = [
    (torch.full((WIDTH, WIDTH), torch.nan), "infinite or no numbers"),
    (torch.diag(torch.tensor([1.0, torch.inf, 1.0, 1.0])), "infinite or no numbers"),
    (torch.full((WIDTH, WIDTH), 1e300, dtype=torch.float64), "infinite or no numbers"),
    (torch.eye(WIDTH, dtype=torch.complex64), "of the kind complex64"),
    (torch.eye(WIDTH, dtype=torch.int64), "of the kind int64"),
    (torch.eye(WIDTH).to_sparse(), "is not dense"),
    (torch.eye(WIDTH).to_sparse_csr(), "is not dense"),
    (torch.eye(WIDTH, device="meta"), "a shape and no values"),
    (quantised(torch.eye(WIDTH)), "is quantised"),
]


@pytest.mark.parametrize(("weight", "words"), UNUSABLE, ids=lambda value: str(value)[:40])
def test_a_matrix_that_is_no_map_is_refused(tmp_path, weight, words):
    torch.save({"J": {0: torch.eye(WIDTH), 1: weight}}, tmp_path / "lens.pt")
    with pytest.raises(DepthError, match=f"its block 1 .*{words}"):
        read_published(tmp_path / "lens.pt", LAYERS, WIDTH)


@pytest.mark.parametrize(
    "weight",
    [
        torch.nn.Parameter(torch.eye(WIDTH)),
        torch.eye(WIDTH, dtype=torch.float8_e4m3fn),
        torch.complex(torch.zeros(WIDTH, WIDTH), -torch.eye(WIDTH)).conj().imag,
        torch.eye(WIDTH)[0:1].expand(WIDTH, WIDTH),
    ],
    ids=["a parameter", "eight bits", "marked as negative", "one row for all"],
)
def test_a_matrix_of_another_form_is_a_map(tmp_path, weight):
    torch.save({"J": {0: weight}}, tmp_path / "lens.pt")
    maps = read_published(tmp_path / "lens.pt", LAYERS, WIDTH)
    LensFolder(tmp_path).save(maps, "m", "f1", "")
    torch.testing.assert_close(maps.at(1).weight, weight.detach().resolve_neg().float())


def rewritten(tmp_path, **changes):
    """A saved lens in which somebody has changed some tensors; None for one taken out."""
    file = LensFolder(tmp_path).save(maps(), "m", "f1", "c1")
    with safe_open(file.path, "pt") as opened:
        about = opened.metadata()
        names = list(opened.keys())
        tensors = {name: opened.get_tensor(name) for name in names} | changes
    other_tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(other_tensors, file.path, metadata=about)
    return LensFolder(tmp_path).find("f1", "affine")


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("weight.1", torch.full((WIDTH, WIDTH), torch.nan), r"weight\.1 .* infinite"),
        ("weight.1", torch.eye(WIDTH, dtype=torch.int32), r"weight\.1 .* int32"),
        ("bias.1", torch.full((WIDTH,), -torch.inf), r"bias\.1 .* infinite"),
        ("bias.1", torch.ones(WIDTH + 1), r"bias\.1 does not fit"),
        ("held_out_kl", torch.tensor(1.0), "of which depths"),
        ("held_out_kl", torch.ones(LAYERS + 1), "of which depths"),
        ("nonlinear", None, "cannot be read"),
    ],
)
def test_a_kept_lens_that_somebody_changed_is_refused(tmp_path, name, tensor, words):
    file = rewritten(tmp_path, **{name: tensor})
    with pytest.raises(DepthError, match=words):
        read_lens_file(file, LAYERS, WIDTH).at(1)
    with pytest.raises(DepthError, match=words):
        read_any(file).at(1)


def test_a_kept_lens_in_sixteen_bits_is_read(tmp_path):
    file = rewritten(tmp_path, held_out_kl=torch.ones(LAYERS, dtype=torch.bfloat16))
    assert read_any(file).held_out_kl.tolist() == [1.0] * LAYERS


def test_a_lens_without_maps_is_not_published(tmp_path):
    lens = replace(maps("jacobian"), at=lambda depth: None)
    with pytest.raises(DepthError, match="has no map"):
        write_published(lens, tmp_path / "lens.pt")


def test_unfinished_sums_that_are_no_sums_are_begun_anew(tmp_path):
    unfinished = LensFolder(tmp_path).unfinished("f1", "c1")
    sums = torch.ones(LAYERS, WIDTH, WIDTH)
    for damaged in (JacobianSums(sums * torch.nan, 7, 70), JacobianSums(sums, -7, 70)):
        unfinished.write(damaged)
        assert unfinished.read(LAYERS, WIDTH).prompts == 0


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DepthError, match="no file"):
        read_published(tmp_path / "none.pt", LAYERS, WIDTH)


def test_unfinished_sums_come_back(tmp_path):
    unfinished = LensFolder(tmp_path).unfinished("f1", "c1")
    assert unfinished.read(LAYERS, WIDTH).prompts == 0
    unfinished.write(JacobianSums(torch.randn(LAYERS, WIDTH, WIDTH), 7, 70))
    sums = unfinished.read(LAYERS, WIDTH)
    assert (sums.prompts, sums.tokens) == (7, 70)
    assert unfinished.read(LAYERS, WIDTH + 1).prompts == 0
    unfinished.path.write_bytes(b"damaged")
    assert unfinished.read(LAYERS, WIDTH).prompts == 0
    unfinished.remove()
    assert LensFolder(tmp_path).files() == []


def test_residuals_are_read_through_the_maps_and_the_last_as_it_is():
    lens, residuals = maps(), list(torch.randn(LAYERS + 1, 2, WIDTH))
    through = MappedResiduals(lens, residuals)
    assert len(through) == LAYERS + 1
    for depth in range(LAYERS):
        x = residuals[depth] / residuals[depth].pow(2).mean(-1, keepdim=True).sqrt()
        depth_map = lens.at(depth)
        torch.testing.assert_close(through[depth], x @ depth_map.weight.T + depth_map.bias)
    assert torch.equal(through[-1], residuals[-1])
    for _ in range(2):
        torch.testing.assert_close(torch.stack(through[1:3]), torch.stack([through[1], through[2]]))


def test_texts_of_a_file(tmp_path):
    rows = tmp_path / "a.jsonl"
    rows.write_text('{"text": "one\\ntwo", "answer": "x"}\n\n{"text": "three"}\n')
    assert read_texts(rows)[0] == ["one\ntwo", "three"]
    lines = tmp_path / "a.txt"
    lines.write_text("one\n\ntwo\n")
    assert read_texts(lines)[0] == ["one", "two"]
    assert read_texts(lines)[1] != read_texts(rows)[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{}\n", "line 1 has no `text`"),
        (b'{"text": 3}\n', "line 1 has no `text`"),
        (b"[]\n", "line 1 has no `text`"),
        (b'{"text": "a"}\n{\n', "line 2 is not JSON"),
        (b"\xff\n", "not UTF-8"),
    ],
)
def test_other_lines_are_refused(tmp_path, content, words):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DepthError, match=words):
        read_texts(path)


def test_texts_that_are_not_there(tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(DepthError, match="cannot be read"):
            read_texts(path)
