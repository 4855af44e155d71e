"""The checks of `depthtui doctor`, each with its result and a remedy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import locale
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from depthtui import plugins
from depthtui.data.sentence import plural
from depthtui.errors import DepthError, first_line
from depthtui.installing import install_extra, install_package, uninstall_package
from depthtui.settings import Settings, load_settings, models_dir, settings_path
from depthtui.sizes import format_size

if TYPE_CHECKING:
    from depthtui.data.run_settings import ModelSpec
    from depthtui.data.trust import TrustedModels
    from depthtui.models.devices import Device

LISTED = ("torch", "transformers", "accelerate", "textual")
"""Libraries whose versions are printed even where nothing is wrong with them."""

REACHING = ("ssh", "srun", "docker", "kubectl", "torchrun")
"""Commands that pass standard input and output on to a place that may have a model."""

_PATIENCE = 10.0
"""Seconds that a Slurm command may take; one whose cluster is away may wait for minutes."""


@dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
        topic: its subject, such as `cache`.
        level: `ok`, `note` (works, but worth knowing) or `broken`.
        finding: the result, in a sentence or less.
        remedy: a command or an instruction; empty where none is needed.
        facts: the result, for programs.
    """

    topic: str
    level: str
    finding: str
    remedy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def check_versions() -> Iterator[Check]:
    """Python and the libraries, against the versions that depthtui needs."""
    from depthtui.tui.textual_patches import why_off
    from depthtui.tui.textual_patches.versions import TRIED

    versions = {"python": platform.python_version()}
    for text in importlib.metadata.requires("depthtui") or ():
        needed = Requirement(text)
        extra = needed.marker is not None and "extra" in str(needed.marker)
        if extra and needed.name != "bitsandbytes":
            continue
        try:
            versions[needed.name] = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            if extra:
                yield Check(
                    "versions",
                    "note",
                    f"{needed.name} is not installed: --quantize does not work.",
                    install_extra("quantize"),
                )
            else:
                yield Check(
                    "versions",
                    "broken",
                    f"{needed.name} is not installed.",
                    install_package(f"{needed.name}{needed.specifier}"),
                )
            continue
        if not needed.specifier.contains(versions[needed.name], prereleases=True):
            yield Check(
                "versions",
                "note" if extra else "broken",
                f"{needed.name} {versions[needed.name]} is installed, and depthtui needs "
                f"{needed.specifier}.",
                install_package(f"{needed.name}{needed.specifier}", "--upgrade"),
            )
    if off := why_off():
        yield Check("versions", "note", off, install_package(f"textual=={TRIED[-1]}"))
    versions_text = [f"{name} {versions[name]}" for name in ("python", *LISTED) if name in versions]
    if "bitsandbytes" in versions:
        versions_text.append(f"bitsandbytes {versions['bitsandbytes']}")
    yield Check("versions", "ok", ", ".join(versions_text), facts={"versions": versions})


def check_devices() -> tuple[list[Device], list[Check]]:
    """The devices for models; none where torch does not work."""
    try:
        import torch

        from depthtui.models.devices import devices

        found_devices = devices()
    except Exception as error:
        return [], [
            Check(
                "devices",
                "broken",
                f"torch cannot be used: {first_line(error)}.",
                f"Install it anew: {install_package('torch', '--force-reinstall')}",
            )
        ]
    checks = [_check_device(device) for device in found_devices]
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        checks.append(
            Check(
                "devices",
                "note",
                f"There is an NVIDIA driver, but torch {torch.__version__} sees no CUDA device.",
                "Install a torch with a CUDA that the driver knows: pytorch.org/get-started",
            )
        )
    return found_devices, checks


def _check_device(device: Device) -> Check:
    name = ", ".join(dict.fromkeys((device.name, device.hardware)))
    capability = f", compute capability {device.capability}" if device.capability else ""
    small = ", float32 up to a billion parameters" if device.name == "cpu" else ""
    return Check(
        "devices",
        "ok",
        f"{name}: {format_size(device.free)} of {format_size(device.total)} free{capability}; "
        f"dtype auto is {device.dtype}{small}",
        facts=vars(device),
    )


def check_schedulers(devices: Sequence[Device]) -> Iterator[Check]:
    """The means to spread a sweep: Slurm, and the GPUs of this machine."""
    slurm = _slurm_version()
    partitions: list[str] = []
    if slurm:
        try:
            partitions = list(dict.fromkeys(_printed("sinfo", "--noheader", "--format=%R").split()))
        except (OSError, subprocess.SubprocessError) as error:
            yield Check(
                "schedulers",
                "note",
                f"Slurm {slurm} does not name its partitions: {_why_not(error)}.",
                "Ask with `sinfo`; `depthtui sweep --slurm` still writes its scripts.",
            )
    n_gpus = sum(device.name.startswith("cuda") for device in devices)
    partition_names = f" (partitions: {', '.join(partitions)})" if partitions else ""
    words = [
        f"Slurm {slurm}{partition_names}" if slurm else "no Slurm",
        "no CUDA GPU" if not n_gpus else plural(n_gpus, "CUDA GPU"),
    ]
    facts = {"slurm": slurm, "partitions": partitions, "gpus": n_gpus}
    yield Check("schedulers", "ok", ", ".join(words), facts=facts)


def check_ranks(devices: Sequence[Device]) -> Iterator[Check]:
    """The backends through which ranks of a model can communicate."""
    if not devices:
        return
    from torch import distributed

    links = [
        name
        for name in ("nccl", "gloo")
        if distributed.is_available() and getattr(distributed, f"is_{name}_available")()
    ]
    on_gpus = " on GPUs" if any(device.name.startswith("cuda") for device in devices) else ""
    words = f"tensor parallel through {' and '.join(links) or 'nothing'}{on_gpus}"
    yield Check("ranks", "ok" if links else "note", words, facts={"links": links})


def check_plan(spec: ModelSpec, settings: Settings, trusted: TrustedModels) -> Iterator[Check]:
    """Whether a model can be cut for a number of ranks, and the numbers that work.

    Reads its configuration; where that is not here, fetches its files.
    """
    from depthtui.models.catalog import resolve
    from depthtui.models.checked_config import read_checked_config
    from depthtui.models.loading import local_folder
    from depthtui.models.reach import check_can_open
    from depthtui.models.tensor_parallel import plan_for, plans_of, sizes_that_work

    folder, may_run = models_dir(settings.cache_folder), spec in trusted
    try:
        check_can_open(spec, folder, may_run)
        source = resolve(spec, folder)
        config = read_checked_config(
            local_folder(source, folder, lambda progress: None, may_run), may_run
        )
        sizes = sizes_that_work(plans_of(config, may_run))
        plan = plan_for(source.name, config, spec.tensor_parallel, may_run)
    except DepthError as error:
        yield Check("ranks", "broken", error.message, error.hint)
        return
    kind = "some of the experts each" if plan.by_expert else "a part of every weight each"
    words = f"{source.name} can be cut for {spec.tensor_parallel} ranks, {kind}"
    sizes_text = ", ".join(map(str, sizes))
    yield Check("ranks", "ok", f"{words}; numbers that work: {sizes_text}", facts={"sizes": sizes})


def _slurm_version() -> str | None:
    """The version of Slurm, if jobs can be submitted to it from here."""
    if shutil.which("sbatch") is None:
        return None
    with suppress(OSError, subprocess.SubprocessError):
        return _printed("sbatch", "--version").split()[-1]
    return "of an unknown version"


def _printed(*command: str) -> str:
    """The output of a Slurm command.

    Raises:
        OSError, SubprocessError: it fails, or does not answer.
    """
    process = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=True
    )
    return process.stdout


def _why_not(error: Exception) -> str:
    words = getattr(error, "stderr", None)
    return first_line(words if isinstance(words, str) and words.strip() else error)


def check_elsewhere() -> Iterator[Check]:
    """The commands on this machine that can reach an engine elsewhere."""
    reaching = [name for name in REACHING if shutil.which(name)]
    words = f"--engine-command can use {', '.join(reaching)}"
    yield Check(
        "elsewhere",
        "ok",
        words if reaching else f"none of {', '.join(REACHING)}, for --engine-command",
        facts={"commands": reaching},
    )


def check_terminal() -> Iterator[Check]:
    """The terminal's colours and characters."""
    from depthtui.ramps import FEW_COLOURS, MORE_COLOURS

    size, colors, encoding = shutil.get_terminal_size(), _colors(), _encoding()
    facts = {
        "colors": colors,
        "encoding": encoding,
        "locale": locale.setlocale(locale.LC_CTYPE),
        "columns": size.columns,
        "lines": size.lines,
    }
    if colors:
        words = {"truecolor": "16 million colours", "256": "256 colours"}.get(colors, "16 colours")
        finding = f"{words}, {encoding}, {size.columns} x {size.lines} characters"
    else:
        finding = f"no terminal, {encoding}: commands work, the explorer needs one"
    yield Check("terminal", "ok", finding, facts=facts)
    if encoding.replace("-", "") != "utf8":
        yield Check(
            "terminal",
            "note",
            f"The locale {facts['locale']} writes {encoding}: lines and dots cannot be drawn.",
            "export LC_ALL=C.UTF-8",
        )
    if colors and colors not in ("truecolor", "256"):
        yield Check("terminal", "note", FEW_COLOURS, MORE_COLOURS)


def _colors() -> str:
    """`truecolor`, `256`, `standard` or `windows`; empty where there is no terminal."""
    from rich.console import Console

    return (Console().color_system or "standard") if sys.stdout.isatty() else ""


def _encoding() -> str:
    return (sys.stdout.encoding or "ascii").lower()


def check_settings() -> tuple[Settings, list[Check]]:
    """The settings, and checks of their file; the defaults where it is broken."""
    path = settings_path()
    notices: list[str] = []
    try:
        settings = load_settings(on_notice=notices.append)
    except DepthError as error:
        return Settings(), [Check("settings", "broken", error.message, error.hint)]
    notes = [
        Check("settings", "note", notice, "Correct the name, or remove the line.")
        for notice in notices
    ]
    finding = str(path) if path.exists() else f"none yet; the defaults apply ({path})"
    return settings, [*notes, Check("settings", "ok", finding, facts={"path": str(path)})]


def check_plugins() -> Iterator[Check]:
    """The plug-ins, each loaded, with the package that it comes from."""
    if plugins.are_off():
        yield Check("plug-ins", "note", "left out (--no-plugins)")
        return
    from depthtui.depth import rules
    from depthtui.metrics.registry import ALL
    from depthtui.prompts.tasks import TASKS
    from depthtui.report.formats import FORMATS

    for values in (ALL, rules.ALL, TASKS, FORMATS):
        # A look loads them.
        len(values)
    reasons = {failure.plugin: failure.reason for failure in plugins.plugin_failures()}
    for plugin in plugins.installed_plugins():
        facts = vars(plugin) | {"reason": reasons.get(plugin, "")}
        if plugin not in reasons:
            yield Check("plug-ins", "ok", str(plugin), facts=facts)
            continue
        words = f"{plugin} is left out: {reasons[plugin]}"
        remedy = f"Ask its author, or remove it: {uninstall_package(plugin.package)}"
        yield Check("plug-ins", "broken", words, remedy, facts)


def check_cache(settings: Settings) -> Iterator[Check]:
    """Whether results are saved, and whether the saved ones can be read."""
    from depthtui.data.store import open_store

    folder = settings.cache_folder
    problems: list[str] = []
    has_results = os.path.isdir(folder / "results")
    store = open_store(folder if has_results else None, settings.cache_limit, problems.append)
    report, contents = store.verify(), store.info()
    store.close()
    facts = {
        "folder": str(folder),
        "entries": contents.entries,
        "bytes": contents.bytes,
        "limit": contents.limit,
        "damaged": report.damaged,
        "orphans": report.orphans,
    }
    for problem in problems:
        yield Check(
            "cache",
            "note" if store.on_disk else "broken",
            problem,
            "If this happens again, check the disk."
            if store.on_disk and not store.is_read_only
            else "--cache-dir names another folder.",
        )
    if report.damaged:
        done = "are damaged" if store.is_read_only else "were damaged and have been dropped"
        yield Check(
            "cache",
            "note",
            f"{report.damaged} of {report.checked} entries {done}.",
            "They are computed again; if this happens again, check the disk.",
        )
    if store.on_disk or not problems:
        yield Check(
            "cache",
            "ok",
            f"{contents.entries} entries, {format_size(contents.bytes)} of "
            f"{format_size(contents.limit)}, in {folder}"
            if has_results
            else f"empty, in {folder}",
            facts=facts,
        )


def check_hub() -> Iterator[Check]:
    """Whether models can be fetched from the hub."""
    from depthtui.models.reach import HOW_TO_DO_WITHOUT, hub_endpoint, is_forbidden, reaches

    endpoint = hub_endpoint()
    if is_forbidden():
        yield Check(
            "hub",
            "note",
            "HF_HUB_OFFLINE forbids fetching models; models on this disk open.",
            "Unset HF_HUB_OFFLINE to fetch others.",
            {"endpoint": endpoint, "reachable": False},
        )
    elif reaches(endpoint):
        yield Check(
            "hub", "ok", f"{endpoint} can be reached", "", {"endpoint": endpoint, "reachable": True}
        )
    else:
        yield Check(
            "hub",
            "note",
            f"{endpoint} cannot be reached; models on this disk open.",
            HOW_TO_DO_WITHOUT,
            {"endpoint": endpoint, "reachable": False},
        )


def check_models(settings: Settings, devices: Sequence[Device]) -> Iterator[Check]:
    """The models on this disk, and the paper's models that fit on these devices."""
    from depthtui.models.catalog import on_disk

    local_models = on_disk(models_dir(settings.cache_folder))
    ready = [model.title for model in local_models if model.ready]
    words = f"on this disk: {', '.join(ready) or 'none'}"
    yield Check("models", "ok", words, facts={"ready": ready})
    if not devices:
        return
    from depthtui.models.paper_sizes import PAPER_SIZES, QUANTIZED

    can_quantize = importlib.util.find_spec("bitsandbytes") is not None
    for size in PAPER_SIZES:
        form, names = size.form_that_fits(devices, can_quantize), ", ".join(size.names)
        facts = {"names": size.names, "form": form}
        if form:
            words = f"{names}: fits in {form} ({format_size(size.bytes_in(form))})"
            yield Check("models", "ok", words, facts=facts)
            continue
        needs = ", ".join(
            f"{form} {format_size(size.bytes_in(form))}" for form in ("bfloat16", *QUANTIZED)
        )
        yield Check(
            "models",
            "note",
            f"{names}: too large here ({needs})",
            "It needs a machine with more memory."
            if can_quantize
            else f"{install_extra('quantize')} for 8bit and 4bit.",
            facts,
        )
