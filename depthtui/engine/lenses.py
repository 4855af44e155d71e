"""Fitted lenses of the loaded model: read, or fitted and stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from depthtui.data.lens import TOKENS_A_WIDTH, LensFit
from depthtui.data.lens_view import lens_title
from depthtui.data.run import Prompt
from depthtui.data.run_settings import RunSettings
from depthtui.data.sentence import plural
from depthtui.engine.memory import available
from depthtui.engine.ready_model import ReadyModel
from depthtui.engine.tokens import end_tokens, tokenise
from depthtui.errors import DepthError
from depthtui.lenses.affine import fit_affine
from depthtui.lenses.calibration import WRITTEN, Calibration, read_texts
from depthtui.lenses.held_out_texts import HeldOutTokens
from depthtui.lenses.jacobian import (
    PROMPT_TOKENS,
    PROMPTS,
    JacobianSums,
    add_prompt,
    seconds_of_prompt,
    usable_prompts,
)
from depthtui.lenses.lens_files import (
    LensFile,
    LensFolder,
    UnfinishedSums,
    read_lens_file,
    read_published,
    with_digest,
)
from depthtui.lenses.maps import LensMaps
from depthtui.lenses.taps import Taps, choose_taps
from depthtui.lenses.written_texts import LENGTH, VERSION, write_texts
from depthtui.metrics.resampling import mean_interval
from depthtui.models.devices import execution_device
from depthtui.parallel.agreements import first_rank
from depthtui.parallel.group import is_first
from depthtui.sizes import about
from depthtui.token_text import shell_word
from depthtui.tracing.activations import record_residuals
from depthtui.tracing.anatomy import Unembedding
from depthtui.tracing.products import fast_products

TAPS = "taps"
"""The kind of a choice of depths to tap: no lens, fitted on texts as one is."""

_WRITING = "Writing calibration texts"
_TEXTS_TRIED = 8
"""Number of texts on which a published lens is tried."""

Report = Callable[[str, int, int], None]
"""Called with a stage, in words, and its steps done and in all."""

Check = Callable[[], None]

Notify = Callable[[str], None]
"""Called with a sentence for the user."""


@dataclass(frozen=True)
class LensChoice:
    """A choice of a fitted lens.

    Attributes:
        kind: `affine`, `jacobian` or `TAPS`.
        texts: a file of calibration texts; empty for any, or those that the model writes.
        ridge: the affine lens's ridge; 0 for any, or the best on held-out texts.
        seed: seed of the texts that the model writes.
        prompts: number of prompts that a Jacobian lens averages.
    """

    kind: str
    texts: str = ""
    ridge: float = 0.0
    seed: int = RunSettings.seed
    prompts: int = PROMPTS

    @classmethod
    def of(cls, kind: str, settings: RunSettings) -> LensChoice:
        """The lens of a kind that a run is read through."""
        return cls(kind, settings.lens_texts, settings.lens_ridge, settings.seed)

    @property
    def fitting(self) -> str:
        """The stage of the fit."""
        return "Choosing taps" if self.kind == TAPS else f"Fitting the {lens_title(self.kind)}"

    @property
    def stages(self) -> list[str]:
        """The stages of the work, in their order."""
        return [self.fitting] if self.texts else [_WRITING, self.fitting]


@dataclass
class Lenses:
    """The fitted lenses of one model.

    Lenses of a model without a fingerprint are kept only as long as it is loaded.

    Attributes:
        model: the model.
        folder: the folder of lenses; None to keep them in memory.
        notify: called when a lens that was fitted for a run cannot be stored.
    """

    model: ReadyModel
    folder: LensFolder | None
    notify: Notify = lambda words: None
    _in_memory: dict[LensChoice, LensMaps] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ReadyModel, folder: Path | None, notify: Notify) -> Lenses:
        """The lenses of a loaded model."""
        saves = folder is not None and bool(model.info.fingerprint)
        return cls(model, LensFolder(folder) if saves and folder is not None else None, notify)

    def stored(self, choice: LensChoice) -> LensMaps | None:
        """The chosen lens, or None where it has not been fitted.

        Raises:
            DepthError: its texts cannot be read, or it is damaged.
        """
        if choice in self._in_memory:
            return self._in_memory[choice]
        file, info = self._file(choice), self.model.info
        return None if file is None else read_lens_file(file, info.n_layers, info.d_model)

    def is_stored(self, choice: LensChoice) -> bool:
        """Whether the chosen lens has been fitted.

        Raises:
            DepthError: its texts cannot be read.
        """
        return choice in self._in_memory or self._file(choice) is not None

    def _file(self, choice: LensChoice) -> LensFile | None:
        if self.folder is None:
            return None
        digest = read_texts(Path(choice.texts))[1] if choice.texts else ""
        folder, mark = self.folder, self.model.info.fingerprint

        def find() -> str:
            file = folder.find(mark, choice.kind, digest, choice.ridge)
            return "" if file is None else str(file.path)

        path = first_rank("a fitted lens", find)
        return folder.file(Path(path)) if path else None

    def find_or_fit(self, choice: LensChoice, report: Report, checkpoint: Check) -> LensMaps:
        """The chosen lens; an affine one is fitted where there is none.

        Where it cannot be stored on disk, it is kept as long as the model is loaded.

        Raises:
            DepthError: it cannot be read or fitted.
        """
        stored = self.stored(choice)
        if stored is not None:
            return stored
        name = shell_word(self.model.info.spec.name)
        if choice.kind != "affine":
            raise DepthError(
                "no Jacobian lens of this model has been fitted.",
                f"`depthtui lens fit {name} --kind jacobian` fits one; `depthtui lens import` "
                "takes one that is published.",
            )
        if self.model.loaded.is_readout:
            raise DepthError(
                "no affine lens of this model has been fitted, and its layers are not loaded.",
                f"`depthtui lens fit {name}` fits one.",
            )
        maps, digest = self._fit(choice, report, checkpoint, self.notify)
        try:
            return self.save(maps, digest, choice)
        except DepthError as error:
            self.notify(f"The {lens_title(choice.kind)} is used now and was not saved: {error}")
            return self._keep_in_memory(maps, choice)

    def fit(
        self,
        choice: LensChoice,
        report: Report,
        checkpoint: Check,
        notify: Notify = lambda words: None,
    ) -> LensMaps:
        """Fit and store a lens; `notify` gets the time that a Jacobian lens takes.

        Raises:
            DepthError: it cannot be fitted or stored.
            RunStopped: `checkpoint` stopped it; a Jacobian lens continues there next time.
        """
        maps, digest = self._fit(choice, report, checkpoint, notify)
        return self.save(maps, digest, choice)

    def _fit(
        self, choice: LensChoice, report: Report, checkpoint: Check, notify: Notify
    ) -> tuple[LensMaps, str]:
        """The fitted lens, and the digest of its texts."""
        unembedding = self._unembedding()
        if choice.kind == "jacobian" and not choice.texts:
            # Announce hours of fitting before the minutes of writing texts.
            checkpoint()
            self._notify_time(self._dummy_prompts(choice), self._written_digest(choice), notify)
        with fast_products(self.model.loaded.model):
            calibration = self.calibration(choice, report, checkpoint)
        if choice.kind == "affine":
            maps = self._fit_affine(choice, calibration, unembedding, report, checkpoint)
        else:
            maps = self._fit_jacobian(choice, calibration, unembedding, report, checkpoint, notify)
        return maps, calibration.digest

    def import_published(self, path: Path, report: Report, checkpoint: Check) -> LensMaps:
        """Store a published Jacobian lens, tried on a few texts that the model writes.

        Raises:
            DepthError: the file is no lens, or belongs to another model.
            RunStopped: `checkpoint` stopped it.
        """
        info = self.model.info
        choice = LensChoice("jacobian")
        maps = read_published(path, info.n_layers, info.d_model)
        with fast_products(self.model.loaded.model):
            tokens = _TEXTS_TRIED * (self._length - 1)
            texts = self._write_tokens(tokens, choice.seed, report, checkpoint)
        maps = self._tested(maps, texts, self._unembedding(), checkpoint)
        for depth, kl in enumerate(maps.held_out_kl):
            if maps.at(depth) is not None and not np.isfinite(kl):
                raise DepthError(
                    f"{path} makes values that are infinite or no numbers at depth {depth}.",
                    "Import another lens of this model, or load it with --dtype float32.",
                )
        return self.save(maps, "", choice)

    def save(self, maps: LensMaps, calibration: str, choice: LensChoice) -> LensMaps:
        """Store a lens, on disk where there is a folder.

        Raises:
            DepthError: the folder cannot be written.
        """
        if self.folder is None:
            return self._keep_in_memory(maps, choice)
        maps, info = with_digest(maps), self.model.info
        folder = self.folder

        def save() -> None:
            folder.save(maps, info.name, info.fingerprint, calibration)

        first_rank("a lens to save", save, patient=True)
        return maps

    def _keep_in_memory(self, maps: LensMaps, choice: LensChoice) -> LensMaps:
        self._in_memory[choice] = maps = with_digest(maps)
        return maps

    def _unembedding(self) -> Unembedding:
        unembedding = self.model.anatomy.unembedding
        if unembedding is None:
            raise DepthError(f"There is no lens: {self.model.anatomy.lens_missing}.")
        if unembedding.mixes_depths:
            raise DepthError(
                "No lens can be fitted: the final norm mixes the streams of several depths.",
                "The logit lens reads this model.",
            )
        return unembedding

    def taps(self, choice: LensChoice, ahead: int, report: Report, checkpoint: Check) -> list[Taps]:
        """Choose the depths whose states together predict the output best; see `choose_taps`.

        Raises:
            DepthError: they cannot be chosen.
            RunStopped: `checkpoint` stopped it.
        """
        unembedding = self._unembedding()
        device = _device_of_sums(unembedding)
        with fast_products(self.model.loaded.model):
            calibration = self.calibration(choice, report, checkpoint)

            def report_step(done: int, total: int) -> None:
                checkpoint()
                report(choice.fitting, done, total)

            return choose_taps(
                [*calibration.fitting_texts, *calibration.held_out],
                self._residuals_of(checkpoint),
                unembedding,
                ahead,
                available(device) // 2,
                device,
                mean_interval,
                report_step,
            )

    def calibration(self, choice: LensChoice, report: Report, checkpoint: Check) -> Calibration:
        """The texts that a lens is fitted on, and those that it is tested on.

        Raises:
            DepthError: they cannot be read, or the model cannot write any.
            RunStopped: `checkpoint` stopped the writing.
        """
        if choice.texts:
            path = Path(choice.texts)
            texts, digest = read_texts(path)
            return Calibration.of([self._ids(text) for text in texts], path.name, digest)
        texts_written = self._write_tokens(
            self._tokens_to_write(choice), choice.seed, report, checkpoint
        )
        return Calibration.of(texts_written, WRITTEN, self._written_digest(choice))

    def _tokens_to_write(self, choice: LensChoice) -> int:
        """How many tokens of texts the model writes."""
        if choice.kind == "jacobian":
            # A Jacobian lens needs prompts, of which some are held out.
            return -(-choice.prompts * 10 // 9) * (self._length - 1)
        # Half of the texts of taps are not fitted on.
        return TOKENS_A_WIDTH * self.model.info.d_model * (2 if choice.kind == TAPS else 1)

    def _written_digest(self, choice: LensChoice) -> str:
        """The digest of the texts that the model writes."""
        words = f"{WRITTEN} {VERSION} {choice.seed} {self._tokens_to_write(choice)}"
        return hashlib.sha256(words.encode()).hexdigest()[:16]

    def _dummy_prompts(self, choice: LensChoice) -> list[Tensor]:
        """Prompts as long as those that the model writes for a Jacobian lens."""
        length = min(PROMPT_TOKENS, self._length)
        return [torch.full((length,), self._start_token())] * choice.prompts

    @property
    def _length(self) -> int:
        """Number of tokens of a text that the model writes."""
        return min(LENGTH, self.model.info.context_length or LENGTH)

    def _write_tokens(
        self, tokens: int, seed: int, report: Report, checkpoint: Check, length: int = 0
    ) -> list[Tensor]:
        """Texts of `tokens` tokens in all that the model writes by itself."""
        loaded = self.model.loaded
        return write_texts(
            loaded.model,
            self._start_token(),
            tokens,
            end_tokens(loaded),
            seed,
            self.model.can_read_on(),
            length or self._length,
            lambda done, total: report(_WRITING, done, total),
            checkpoint,
        )

    def write_texts(
        self, count: int, length: int, seed: int, report: Report, checkpoint: Check
    ) -> list[Tensor]:
        """At most `count` texts of at most `length` tokens that the model writes by itself.

        Raises:
            DepthError: the tokenizer has no token that begins a text.
        """
        length = min(length, self._length)
        return self._write_tokens(count * (length - 1), seed, report, checkpoint, length)[:count]

    def _ids(self, text: str) -> Tensor:
        tokens = tokenise(self.model.loaded.tokenizer, Prompt(text), False, self.model.vocabulary)
        longest = self.model.info.context_length or len(tokens)
        self.model.check_ids(tokens.ids)
        return torch.from_numpy(tokens.ids[:longest])

    def _start_token(self) -> int:
        loaded = self.model.loaded
        config = loaded.model.config
        candidates = (
            loaded.tokenizer.bos_token_id,
            getattr(config, "bos_token_id", None),
            loaded.tokenizer.eos_token_id,
        )
        token_id = next((id_ for id_ in candidates if isinstance(id_, int)), None)
        if token_id is None:
            raise DepthError(
                "The tokenizer has no token that texts begin with.",
                "Give calibration texts: --lens-texts FILE, or --texts FILE of `lens fit`.",
            )
        return token_id

    def _residuals_of(self, checkpoint: Check) -> Callable[[Tensor], Sequence[Tensor]]:
        model, anatomy = self.model.loaded.model, self.model.anatomy
        device = execution_device(model.get_input_embeddings())

        def residuals_of(ids: Tensor) -> Sequence[Tensor]:
            return list(record_residuals(model, anatomy, ids.to(device), checkpoint).residual)

        return residuals_of

    def _fit_affine(
        self,
        choice: LensChoice,
        calibration: Calibration,
        unembedding: Unembedding,
        report: Report,
        checkpoint: Check,
    ) -> LensMaps:
        device = _device_of_sums(unembedding)
        with fast_products(self.model.loaded.model):
            affine = fit_affine(
                calibration,
                self._residuals_of(checkpoint),
                unembedding,
                available(device) // 2,
                device,
                choice.ridge,
                lambda done, total: report(choice.fitting, done, total),
            )
        fit = LensFit(
            "affine",
            calibration.source,
            len(calibration.fitting_texts),
            calibration.tokens,
            affine.ridge,
            len(calibration.held_out),
        )
        return LensMaps(
            fit, affine.at, affine.held_out_kl, affine.logit_held_out_kl, affine.nonlinear
        )

    def _fit_jacobian(
        self,
        choice: LensChoice,
        calibration: Calibration,
        unembedding: Unembedding,
        report: Report,
        checkpoint: Check,
        notify: Notify,
    ) -> LensMaps:
        info, model = self.model.info, self.model.loaded.model
        prompts = usable_prompts(calibration.fitting_texts)[: choice.prompts]
        if choice.texts:
            checkpoint()
            self._notify_time(prompts, calibration.digest, notify)
        unfinished, sums = self._unfinished(calibration.digest)
        for number, ids in enumerate(prompts[sums.prompts :], sums.prompts):

            def report_prompt(rows: int, total: int, number: int = number) -> None:
                report(choice.fitting, number * total + rows, len(prompts) * total)

            add_prompt(
                sums, model, self.model.anatomy, ids, report=report_prompt, checkpoint=checkpoint
            )
            if unfinished is not None and is_first():
                unfinished.write(sums)
        fit = LensFit("jacobian", calibration.source, sums.prompts, sums.tokens)
        no_kl = np.full(info.n_layers, np.nan, np.float32)
        maps = LensMaps(fit, sums.at, no_kl, no_kl, no_kl)
        maps = self._tested(maps, calibration.held_out, unembedding, checkpoint)
        if unfinished is not None and is_first():
            unfinished.remove()
        return maps

    def _unfinished(self, digest: str) -> tuple[UnfinishedSums | None, JacobianSums]:
        """The file with the sums over texts until all are done, and the sums in it."""
        info = self.model.info
        if self.folder is None:
            return None, JacobianSums.empty(info.n_layers, info.d_model)
        unfinished = self.folder.unfinished(info.fingerprint, digest)
        return unfinished, unfinished.read(info.n_layers, info.d_model)

    def _notify_time(self, prompts: Sequence[Tensor], digest: str, notify: Notify) -> None:
        """Notify of the time that the remaining prompts take."""
        model, width = self.model.loaded.model, self.model.info.d_model
        fitted_prompts = self._unfinished(digest)[1].prompts
        remaining = prompts[fitted_prompts:]
        if not remaining:
            return
        seconds_of_first = seconds_of_prompt(width, model, self.model.anatomy, remaining[0])
        seconds = seconds_of_first * sum(map(len, remaining)) / len(remaining[0])
        which = f"{len(remaining)} of {len(prompts)} prompts to go" if fitted_prompts else ""
        which = which or plural(len(prompts), "prompt")
        notify(
            f"Fitting the Jacobian lens takes {about(seconds)}: {which}, {width:,} output "
            "dimensions each. A stop keeps the prompts that are done."
        )

    def _tested(
        self, maps: LensMaps, texts: Sequence[Tensor], unembedding: Unembedding, checkpoint: Check
    ) -> LensMaps:
        """The lens with its KL, and the logit lens's, on texts that it was not fitted on."""
        with fast_products(self.model.loaded.model):
            held_out = HeldOutTokens.read(texts, self._residuals_of(checkpoint))
            return held_out.tested(maps, unembedding, checkpoint)


def _device_of_sums(unembedding: Unembedding) -> torch.device:
    """The head's device, or the CPU for devices that may have no double precision."""
    head = execution_device(unembedding.head)
    return head if head.type == "cuda" else torch.device("cpu")
