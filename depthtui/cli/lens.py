"""`depthtui lens`: fits lenses, and manages the saved ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from depthtui.cli.command_help import SectionedGroup
from depthtui.cli.loaded_engine import loaded_engine
from depthtui.cli.one_of import OneOf
from depthtui.cli.output import (
    INTERRUPTED,
    print_line,
    print_notice,
    print_table,
    print_written,
    stopped_by_ctrl_c,
)
from depthtui.cli.shared_options import (
    NumberRange,
    Overrides,
    WholeNumberRange,
    cache_dir_option,
    model_argument_or_option,
    model_options,
)
from depthtui.data.run_settings import LENSES, MOST_EXAMPLES, ModelSpec
from depthtui.data.sentence import listed
from depthtui.data.trust import TrustedModels
from depthtui.errors import DepthError
from depthtui.sizes import format_size

if TYPE_CHECKING:
    from depthtui.lenses.lens_files import LensFile, LensFolder
    from depthtui.lenses.maps import LensMaps
    from depthtui.lenses.taps import Taps

_texts_option = click.option(
    "--lens-texts",
    "texts",
    type=click.Path(path_type=Path),
    help="File of texts to fit on: JSON lines with `text`, or plain lines; else the model writes "
    "some.",
)


@click.group(
    cls=SectionedGroup,
    examples=[
        "depthtui lens fit Qwen/Qwen2.5-1.5B-Instruct --lens-texts calibration.jsonl",
        "depthtui lens fit demo --kind jacobian --examples 10",
        "depthtui lens import lens.pt Qwen/Qwen2.5-7B",
        "depthtui lens taps Qwen/Qwen2.5-7B",
    ],
)
def lens() -> None:
    """Fit and manage lenses beyond the logit lens."""


@lens.command(
    examples=[
        "depthtui lens fit Qwen/Qwen2.5-1.5B-Instruct --lens-texts calibration.jsonl",
        "depthtui lens fit demo --kind jacobian --examples 10",
    ],
)
@model_argument_or_option
@click.option("--kind", type=OneOf(LENSES[1:]), default="affine", help="[default: affine]")
@_texts_option
@click.option(
    "--lens-ridge",
    "ridge",
    type=NumberRange(0, 1e6),
    default=0.0,
    help="Pull of the affine lens towards the identity; else the best one on held-out texts.",
)
@click.option(
    "--examples",
    "prompts",
    type=WholeNumberRange(1, MOST_EXAMPLES),
    help="How many prompts a Jacobian lens is the mean over.  [default: 60]",
)
@model_options
@cache_dir_option
def fit(
    kind: str,
    texts: Path | None,
    ridge: float,
    prompts: int | None,
    spec: ModelSpec,
    trusted: TrustedModels,
    overrides: Overrides,
) -> int:
    """Fit a lens for MODEL, and save it.

    The affine lens takes about as long as reading and writing ten tokens for each dimension of
    the residual stream; a Jacobian lens a backward pass for each dimension and prompt. Ctrl-c
    stops; a Jacobian lens continues there the next time.
    """
    if kind != "jacobian" and prompts is not None:
        raise click.UsageError("--examples is for --kind jacobian.")
    if kind != "affine" and ridge:
        raise click.UsageError("--lens-ridge is for --kind affine.")
    _check_writable(overrides)

    from depthtui.engine.control import Control
    from depthtui.engine.lenses import LensChoice
    from depthtui.errors import RunStopped

    choice = LensChoice(kind, _checked_texts(texts), ridge, overrides.settings().seed)
    if prompts is not None:
        choice = replace(choice, prompts=prompts)
    with loaded_engine(spec, trusted, overrides, choice.stages) as engine:
        try:
            with stopped_by_ctrl_c(Control()) as control:
                maps = engine.fit_lens(choice, control)
        except RunStopped:
            print_notice("The fit was stopped.")
            return INTERRUPTED
    _print_fit(maps)
    return 0


@lens.command(examples=["depthtui lens taps Qwen/Qwen2.5-7B", "depthtui lens taps demo --ahead 0"])
@model_argument_or_option
@_texts_option
@click.option(
    "--ahead",
    type=WholeNumberRange(0, 1),
    default=1,
    help="Predict the output of the tapped token (0) or of the next one.  [default: 1]",
)
@model_options
@cache_dir_option
def taps(
    texts: Path | None, ahead: int, spec: ModelSpec, trusted: TrustedModels, overrides: Overrides
) -> int:
    """Find the depths of MODEL that a draft model should read, as EAGLE-3 does.

    One, two and three depths whose states together predict the output best, by a ridge on texts
    that the model writes; beside depths 2, L/2 and L-3, which are usual.
    """
    from depthtui.engine.control import Control
    from depthtui.engine.lenses import TAPS, LensChoice
    from depthtui.errors import RunStopped

    choice = LensChoice(TAPS, _checked_texts(texts), seed=overrides.settings().seed)
    with loaded_engine(spec, trusted, overrides, choice.stages) as engine:
        try:
            with stopped_by_ctrl_c(Control()) as control:
                chosen = engine.taps(choice, ahead, control)
        except RunStopped:
            print_notice("Nothing was chosen.")
            return INTERRUPTED
    _print_taps(chosen, "next token" if ahead else "same token")
    return 0


@lens.command("list")
@cache_dir_option
def list_(overrides: Overrides) -> None:
    """List the saved lenses, the latest first."""
    rows = [
        (
            file.name,
            file.fit.kind,
            file.model,
            f"{file.fit.texts:,}" if file.fit.texts else "–",
            f"{file.fit.tokens:,}" if file.fit.tokens else "–",
            "–" if file.fit.ridge is None else f"{file.fit.ridge:g}",
            file.fit.source,
            format_size(file.size),
        )
        for file in _folder(overrides).files()
    ]
    headings = ("lens", "kind", "model", "texts", "tokens", "ridge", "fitted on", "size")
    print_table(headings, rows, numbers=(3, 4, 5, 7))


@lens.command("import", examples=["depthtui lens import lens.pt Qwen/Qwen2.5-7B"])
@click.argument("file", type=click.Path(path_type=Path))
@model_argument_or_option
@model_options
@cache_dir_option
def import_(file: Path, spec: ModelSpec, trusted: TrustedModels, overrides: Overrides) -> None:
    """Import a published Jacobian lens of MODEL from FILE.

    FILE is a file of torch with `J`: a dict from a block's index to a matrix. Only tensors and
    plain values are read.
    """
    _check_writable(overrides)
    with loaded_engine(spec, trusted, overrides) as engine:
        maps = engine.import_lens(file)
    _print_fit(maps)


@lens.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@cache_dir_option
def export(name: str, file: Path, overrides: Overrides) -> None:
    """Write the Jacobian lens NAME to a new FILE, in the published format."""
    from depthtui.lenses.lens_files import read_any, write_published

    write_published(read_any(_find_lens(name, overrides)), file)
    print_written([file])


@lens.command()
@click.argument("name")
@cache_dir_option
def remove(name: str, overrides: Overrides) -> None:
    """Delete the lens NAME; `depthtui lens list` has the names."""
    file = _find_lens(name, overrides)
    try:
        file.path.unlink()
    except OSError as error:
        raise DepthError(f"{file.path} cannot be deleted ({error.strerror}).") from None
    print_line(f"deleted {file.name}")


def _checked_texts(texts: Path | None) -> str:
    """The file of texts; empty for those that the model writes.

    Raises:
        DepthError: the file has no texts, found before the model loads.
    """
    if texts is None:
        return ""
    from depthtui.lenses.calibration import read_texts

    read_texts(texts)
    return str(texts)


def _folder(overrides: Overrides) -> LensFolder:
    from depthtui.engine.factory import Storage
    from depthtui.lenses.lens_files import LensFolder

    return LensFolder(Storage.of(overrides.settings()).lenses_dir)


def _check_writable(overrides: Overrides) -> None:
    """Check that a lens can be saved, before the model loads.

    Raises:
        DepthError: the folder cannot be written.
    """
    from depthtui.files import check_writable
    from depthtui.settings import lenses_dir

    folder = lenses_dir(overrides.settings().cache_folder)
    check_writable(folder, "--cache-dir names another folder.")


def _find_lens(name: str, overrides: Overrides) -> LensFile:
    folder = _folder(overrides)
    lens_file = next((file for file in folder.files() if file.name == name), None)
    if lens_file is None:
        raise DepthError(f"No lens is named {name}.", "`depthtui lens list` has the names.")
    return lens_file


def _print_fit(maps: LensMaps) -> None:
    """Print how a lens was fitted, and how well it reads held-out texts."""
    from depthtui.data.lens_view import fitted_words, lens_title

    fit = maps.fit
    click.echo(f"{lens_title(fit.kind)}, {fitted_words(fit)}\n")
    rows = [
        (str(depth), _number(through), _number(plain))
        for depth, (through, plain) in enumerate(
            zip(maps.held_out_kl, maps.logit_held_out_kl, strict=True)
        )
    ]
    click.echo("KL on held-out texts, in nats:\n")
    print_table(("depth", fit.kind, "logit"), rows, numbers=(0, 1, 2))


def _print_taps(chosen: Sequence[Taps], predicted: str) -> None:
    """Print the depths to tap, beside the usual ones, and the lines for an engine's config."""
    usual, *greedy = chosen
    best = greedy[-1]
    click.echo(
        f"The states of {_depths(best)} predict the {predicted}'s output with KL {best.kl:.3f} "
        f"nats on held-out texts; those of the usual {_depths(usual)} with {usual.kl:.3f}.\n"
    )
    rows = [
        (
            ", ".join(map(str, taps.depths)),
            f"{taps.kl:.3f}",
            f"{taps.above:+.3f}",
            "–" if taps.interval is None else "{:+.3f} to {:+.3f}".format(*taps.interval),
        )
        for taps in greedy
    ]
    rows.append((f"{', '.join(map(str, usual.depths))} (usual)", f"{usual.kl:.3f}", "–", "–"))
    print_table(("depths", "KL, nats", "above usual", "95 %"), rows, numbers=(1, 2, 3))
    key = '"eagle_aux_hidden_state_layer_ids"'
    click.echo("\nFor the draft's config.json, where id 0 is the embedding (vLLM):")
    click.echo(f"{key}: {list(best.depths)}")
    click.echo("where id 0 is the first layer's output (SGLang):")
    click.echo(f"{key}: {[depth - 1 for depth in best.depths]}")


def _depths(taps: Taps) -> str:
    return f"depths {listed([str(depth) for depth in taps.depths])}"


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.2f}"
