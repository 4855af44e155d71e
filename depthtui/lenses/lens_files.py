"""Fitted lenses on disk: safetensors with JSON metadata, by model; and the published format."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from depthtui.data.lens import LensFit
from depthtui.data.plain import from_plain
from depthtui.errors import DepthError
from depthtui.files import parse_json, write_new, write_whole
from depthtui.lenses.jacobian import JacobianSums
from depthtui.lenses.maps import DepthMap, LensMaps
from depthtui.token_text import shell_word

_FORMAT = 1
_ARRAYS = ("held_out_kl", "logit_held_out_kl", "nonlinear")
_KINDS = ("affine", "jacobian")


@dataclass(frozen=True)
class LensFile:
    """A fitted lens in a file.

    Attributes:
        path: the file.
        model: the model's name.
        fingerprint: fingerprint of the model's weights.
        fit: how it was fitted.
        calibration: digest of the calibration texts; empty where unknown.
        modified: when the file was modified, in seconds since the epoch.
        size: size of the file, in bytes.
    """

    path: Path
    model: str
    fingerprint: str
    fit: LensFit
    calibration: str
    modified: float
    size: int

    @property
    def name(self) -> str:
        """The name of the lens for commands."""
        return self.path.stem


@dataclass(frozen=True)
class LensFolder:
    """A folder of fitted lenses.

    Attributes:
        folder: the folder, which is made where missing.
    """

    folder: Path

    def files(self) -> list[LensFile]:
        """All readable lenses, the latest first."""
        descriptions = (_lens_file(path) for path in self.folder.glob("*.safetensors"))
        files = [file for file in descriptions if file is not None]
        return sorted(files, key=lambda file: file.modified, reverse=True)

    def file(self, path: Path) -> LensFile:
        """The lens in a file.

        Raises:
            DepthError: the file is missing, or is no lens.
        """
        file = _lens_file(path)
        if file is None:
            raise DepthError(
                f"There is no lens {path} here.", "All ranks need the same cache folder."
            )
        return file

    def find(
        self, fingerprint: str, kind: str, calibration: str = "", ridge: float = 0.0
    ) -> LensFile | None:
        """The latest lens of a kind for a model; on these texts and with this ridge, if given."""
        for file in self.files():
            if (
                file.fingerprint == fingerprint
                and file.fit.kind == kind
                and calibration in ("", file.calibration)
                and ridge in (0.0, file.fit.ridge)
            ):
                return file
        return None

    def save(
        self,
        maps: LensMaps,
        model: str,
        fingerprint: str,
        calibration: str,
    ) -> LensFile:
        """Write a lens; it replaces one that was fitted in the same way.

        Raises:
            DepthError: the file cannot be written.
        """
        tensors: dict[str, Tensor] = {
            name: torch.from_numpy(getattr(maps, name).astype(np.float32)) for name in _ARRAYS
        }
        for depth in range(maps.n_layers):
            depth_map = maps.at(depth)
            if depth_map is not None:
                tensors[f"weight.{depth}"] = depth_map.weight.contiguous()
                if depth_map.bias is not None:
                    tensors[f"bias.{depth}"] = depth_map.bias.contiguous()
        about = {
            "format": _FORMAT,
            "model": model,
            "fingerprint": fingerprint,
            "calibration": calibration,
            "fit": asdict(maps.fit),
        }
        identity = [fingerprint, maps.fit.kind, calibration, maps.fit.source, maps.fit.ridge]
        short_digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
        plain_name = re.sub(r"[^\w.-]+", "-", model).strip("-.")[:60] or "model"
        path = self.folder / f"{plain_name}-{maps.fit.kind}-{short_digest}.safetensors"
        content = save(tensors, metadata={"depthtui_lens": json.dumps(about)})
        write_whole(path, content, "Name another folder as cache_dir.")
        file = _lens_file(path)
        assert file is not None
        return file

    def unfinished(self, fingerprint: str, calibration: str) -> UnfinishedSums:
        """The file of a Jacobian lens's sums until the lens is done."""
        short = hashlib.sha256(f"{fingerprint} {calibration}".encode()).hexdigest()[:16]
        return UnfinishedSums(self.folder / f"{short}.unfinished")


@dataclass(frozen=True)
class UnfinishedSums:
    """A file with the sums of a Jacobian lens, to continue from.

    Attributes:
        path: the file.
    """

    path: Path

    def read(self, n_layers: int, width: int) -> JacobianSums:
        """The sums so far; empty sums where there is no file, or a damaged one."""
        with contextlib.suppress(OSError, SafetensorError, ValueError, KeyError, TypeError):
            with _open(self.path) as tensors:
                sums = tensors.get_tensor("sums")
                prompts, tokens = tensors.get_tensor("counts").tolist()
            is_whole = tuple(sums.shape) == (n_layers, width, width) and not _why_no_map(sums)
            if is_whole and min(prompts, tokens) >= 0:
                return JacobianSums(sums, prompts, tokens)
        return JacobianSums.empty(n_layers, width)

    def write(self, sums: JacobianSums) -> None:
        """Write the sums.

        Raises:
            DepthError: the file cannot be written.
        """
        counts = torch.tensor([sums.prompts, sums.tokens])
        content = save({"sums": sums.sums, "counts": counts})
        write_whole(self.path, content, "Name another folder as cache_dir.")

    def remove(self) -> None:
        """Remove the file, once the lens is done."""
        self.path.unlink(missing_ok=True)


def read_lens_file(file: LensFile, n_layers: int, width: int) -> LensMaps:
    """Read a lens of a model; each depth is read on access.

    Raises:
        DepthError: the file is damaged, or of a model of another shape.
    """
    maps, widths = _read_maps(file)
    if maps.n_layers != n_layers or widths != {(width, width)}:
        raise DepthError(
            f"The lens {file.path} is of another model: this one has {n_layers} layers of "
            f"width {width:,}.",
            "Fit one for this model with `depthtui lens fit`.",
        )
    return maps


def read_any(file: LensFile) -> LensMaps:
    """Read a lens of any model.

    Raises:
        DepthError: the file is damaged.
    """
    return _read_maps(file)[0]


def _read_maps(file: LensFile) -> tuple[LensMaps, set[tuple[int, ...]]]:
    """A lens, and the shapes of its matrices."""
    try:
        with _open(file.path) as tensors:
            names = set(tensors.keys())
            arrays = {name: tensors.get_tensor(name).float().numpy() for name in _ARRAYS}
            shapes = {
                tuple(tensors.get_slice(name).get_shape())
                for name in names
                if name.startswith("weight.")
            }
    except (OSError, SafetensorError, KeyError) as error:
        raise _unreadable(file, str(error)) from error
    if len({array.shape for array in arrays.values()}) != 1 or arrays[_ARRAYS[0]].ndim != 1:
        raise _unreadable(file, "it does not say of which depths it is")

    def tensor(name: str, tensors: Any) -> Tensor | None:
        if name not in names:
            return None
        values: Tensor = tensors.get_tensor(name)
        if reason := _why_no_map(values):
            raise _unreadable(file, f"{name} {reason}")
        return values

    def at(depth: int) -> DepthMap | None:
        with safe_open(file.path, "pt") as tensors:
            weight, bias = tensor(f"weight.{depth}", tensors), tensor(f"bias.{depth}", tensors)
        if weight is None:
            return None
        if bias is not None and bias.shape != weight.shape[:1]:
            raise _unreadable(file, f"bias.{depth} does not fit weight.{depth}")
        return DepthMap(weight, bias, scales=file.fit.kind == "affine")

    return LensMaps(file.fit, at, **arrays), shapes


def _unreadable(file: LensFile, reason: str) -> DepthError:
    return DepthError(
        f"The lens {file.path} cannot be read ({reason}).",
        f"Remove it with `depthtui lens remove {shell_word(file.name)}`, and fit it again.",
    )


def with_digest(maps: LensMaps) -> LensMaps:
    """The lens with a digest of its maps in its `fit`."""
    digest = hashlib.sha256()
    for depth in range(maps.n_layers):
        depth_map = maps.at(depth)
        for tensor in () if depth_map is None else (depth_map.weight, depth_map.bias):
            if tensor is not None:
                digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    fit = replace(maps.fit, digest=digest.hexdigest()[:16])
    return replace(maps, fit=fit)


def read_published(path: Path, n_layers: int, width: int) -> LensMaps:
    """Read a Jacobian lens in the published format: `J`, a dict from a block's index to `[d, d]`.

    Block l's output is depth l + 1. Only tensors and plain values are read, no code is run.

    Raises:
        DepthError: the file cannot be read, is no such lens, or is of a model of another shape.
    """
    hint = "Give a file with `J`, a dict from the index of a block to a matrix."
    if path.exists() and not path.is_file():
        raise DepthError(f"{path} is no ordinary file.", hint)
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DepthError(f"There is no file {path}.", "Check its name.") from error
    except Exception as error:
        # A damaged file, or one that would run code, fails with various errors.
        raise DepthError(f"{path} is no file of tensors alone.", hint) from error
    jacobians = document.get("J") if isinstance(document, dict) else None
    if not isinstance(jacobians, dict) or not jacobians:
        raise DepthError(f"{path} holds no Jacobian lens.", hint)
    maps: dict[int, Tensor] = {}
    for block, weight in jacobians.items():
        if not isinstance(block, int) or not isinstance(weight, Tensor):
            raise DepthError(f"{path} holds no Jacobian lens.", hint)
        if reason := _why_no_map(weight):
            raise DepthError(
                f"{path} cannot be used: its block {block} {reason}.",
                "Give a file whose matrices are dense and of finite floating-point numbers.",
            )
        if tuple(weight.shape) != (width, width) or not 0 <= block < n_layers:
            raise DepthError(
                f"{path} is of another model: its block {block} has {_shape(weight)}, and this "
                f"model has {n_layers} layers of width {width:,}.",
                "Name the model that it was fitted on.",
            )
        # The last block's output is the model's own.
        if block + 1 < n_layers:
            maps[block + 1] = weight.detach().resolve_neg().float()
    if not maps:
        raise DepthError(f"{path} has no map of a depth before the last.", hint)
    prompts = document.get("n_prompts")
    texts = prompts if isinstance(prompts, int) and not isinstance(prompts, bool) else 0
    fit = LensFit("jacobian", path.name, max(0, texts), 0)
    no_kl = np.full(n_layers, np.nan, np.float32)

    def at(depth: int) -> DepthMap | None:
        return DepthMap(maps[depth]) if depth in maps else None

    return with_digest(LensMaps(fit, at, no_kl, no_kl.copy(), no_kl.copy()))


def _why_no_map(tensor: Tensor) -> str:
    """Why a tensor cannot be a map of a lens, as the end of a sentence; empty where it can."""
    if tensor.is_meta:
        return "has a shape and no values"
    if tensor.is_nested or tensor.layout is not torch.strided:
        return "is not dense"
    if tensor.is_quantized:
        return "is quantised"
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        return f"holds numbers of the kind {kind}"
    if not tensor.float().isfinite().all():
        return "holds values that are infinite or no numbers"
    return ""


def write_published(maps: LensMaps, path: Path) -> None:
    """Write a Jacobian lens in the published format to a new file.

    Raises:
        DepthError: the lens is of another kind, or the file exists already or cannot be written.
    """
    if maps.fit.kind != "jacobian":
        raise DepthError(
            "The published format is one of Jacobian lenses.", "Export one of that kind."
        )
    maps_by_depth = {depth: maps.at(depth) for depth in range(1, maps.n_layers)}
    weights = {
        depth - 1: depth_map.weight
        for depth, depth_map in maps_by_depth.items()
        if depth_map is not None
    }
    if not weights:
        raise DepthError("The lens has no map of a depth after the first.", "Export another.")
    width = len(next(iter(weights.values())))
    document = {
        "J": weights,
        "n_prompts": maps.fit.texts,
        "source_layers": sorted(weights),
        "d_model": width,
    }
    content = io.BytesIO()
    torch.save(document, content)
    write_new(path, content.getvalue())


def _open(path: Path) -> Any:
    """Open a safetensors file; refuse a pipe, whose writer the library would wait for.

    Raises:
        OSError, SafetensorError: the file cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no ordinary file")
    return safe_open(path, "pt")


def _shape(weight: Tensor) -> str:
    return " x ".join(f"{side:,}" for side in weight.shape) or "no shape"


def _lens_file(path: Path) -> LensFile | None:
    """The lens file by its metadata; None for a file that depthtui did not write."""
    with contextlib.suppress(OSError, SafetensorError, ValueError, KeyError, TypeError):
        with _open(path) as tensors:
            about = parse_json((tensors.metadata() or {})["depthtui_lens"])
        fit = from_plain(LensFit, about["fit"])
        if about["format"] != _FORMAT or fit.kind not in _KINDS:
            return None
        status = path.stat()
        return LensFile(
            path,
            str(about["model"]),
            str(about["fingerprint"]),
            fit,
            str(about["calibration"]),
            status.st_mtime,
            status.st_size,
        )
    return None
