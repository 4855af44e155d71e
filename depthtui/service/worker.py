"""The engine as a process of its own: commands come in, events go out.

`python -m depthtui.service.worker` is the explorer's child, `depthtui engine` the same at the
other end of a command such as `ssh`. Standard input and output carry messages alone; output of
libraries goes to standard error. The process ends when the explorer is gone.
"""

from __future__ import annotations

import functools
import os
import queue
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from depthtui.data.model import ModelListing
from depthtui.data.pipe import BrokenConnection, Pipe, standard_pipe
from depthtui.data.protocol import (
    DEVICE_LOST,
    Command,
    Configure,
    Continue,
    CountTokens,
    EngineReady,
    Event,
    Failed,
    FindModel,
    InspectLayer,
    LayerInspected,
    ListModels,
    LoadModel,
    ModelFound,
    ModelsListed,
    ModelWritten,
    Notice,
    Progress,
    Quit,
    StartRun,
    StartSweep,
    Step,
    Stop,
    SweepFinished,
    TokensCounted,
    TrustModel,
    WriteModel,
)
from depthtui.data.trust import TrustedModels
from depthtui.engine.control import Control
from depthtui.engine.factory import Storage, make_engine
from depthtui.errors import DepthError, NeedsCode, RunStopped
from depthtui.models.catalog import on_disk
from depthtui.models.reach import check_can_open
from depthtui.parallel.group import ranks_started
from depthtui.service.bugs import met_an_error

if TYPE_CHECKING:
    from depthtui.engine.engine import Engine
    from depthtui.service.sweep import SweepService


class Worker:
    """Serves one explorer until `Quit` or until the explorer is gone.

    A thread reads commands, so that a run can be steered while it computes;
    the main thread executes all others in order.

    Args:
        pipe: the pipe to the explorer.
        own_storage: the storage of an engine on another machine; None on the explorer's machine.
    """

    def __init__(self, pipe: Pipe, own_storage: Storage | None = None) -> None:
        self._pipe = pipe
        self._own_storage = own_storage
        self._work: queue.SimpleQueue[tuple[Command, Control]] = queue.SimpleQueue()
        self._controls: list[Control] = []
        self._inspecting: list[Control] = []
        self._engine: Engine | None = None
        self._configuration: Configure | None = None
        self._trusted = TrustedModels()
        self._sweep: SweepService | None = None

    def serve(self) -> int:
        """Work until `Quit`, or until the GPU is lost; returns the exit status."""
        self._pipe.greet()
        threading.Thread(target=self._receive_commands, name="commands", daemon=True).start()
        while True:
            command, control = self._work.get()
            if isinstance(command, Quit):
                return 0
            self._finish(command, control)
            if self._engine is not None and self._engine.lost_device:
                return DEVICE_LOST

    def _receive_commands(self) -> None:
        while True:
            try:
                command = self._pipe.receive()
            except BrokenConnection:
                _end_without_explorer()
            self._receive(command)

    def _receive(self, command: Command) -> None:
        if isinstance(command, Configure):
            self._configuration = command
            return
        if isinstance(command, ListModels | FindModel):
            threading.Thread(target=self._look_up, args=(command,), daemon=True).start()
            return
        for control in list(self._controls):
            is_overtaken = isinstance(command, InspectLayer) and control in self._inspecting
            if isinstance(command, Stop | Quit) or is_overtaken:
                control.stop()
            elif isinstance(command, Step):
                control.step()
            elif isinstance(command, Continue):
                control.go_on()
        if not isinstance(command, Stop | Step | Continue):
            control = Control(step=isinstance(command, StartRun) and command.step)
            self._controls.append(control)
            if isinstance(command, InspectLayer):
                self._inspecting = [control]
                if self._do_at_halt(command, control):
                    return
            self._work.put((command, control))

    def _do_at_halt(self, command: InspectLayer, control: Control) -> bool:
        """Let the thread of a halted run execute the command; False where no run is halted."""
        work = functools.partial(self._finish, command, control)
        return any(halted.do(work) for halted in list(self._controls))

    def _finish(self, command: Command, control: Control) -> None:
        self._handle(command, control)
        self._controls.remove(control)

    def _handle(self, command: Command, control: Control) -> None:
        try:
            self._do(command, control)
        except RunStopped:
            self._fail(command, *_stopped(command))
        except DepthError as error:
            code_in = error.folder if isinstance(error, NeedsCode) else ""
            self._fail(command, error.message, error.hint, code_in)
        except Exception as error:
            self._fail(command, *met_an_error(error))

    def _fail(self, command: Command, message: str, hint: str, code_in: str = "") -> None:
        run_id = -1
        if isinstance(command, StartRun | WriteModel):
            run_id = command.run_id
        if isinstance(command, StartSweep):
            model = self._engine.model if self._engine is not None else None
            problem = f"{message} {hint}".strip()
            self._emit(SweepFinished(command.sweep_id, False, model, problem))
            return
        loading = isinstance(command, LoadModel)
        loaded_model = self._engine.model if loading and self._engine is not None else None
        self._emit(Failed(message, hint, run_id, loaded_model, code_in))

    def _do(self, command: Command, control: Control) -> None:
        if isinstance(command, TrustModel):
            self._trusted.add(command.spec)
            return
        storage = self._storage
        models_dir = storage.models_dir
        if isinstance(command, LoadModel):
            # Report a model that cannot be opened before importing torch, which takes seconds.
            check_can_open(command.spec, models_dir, command.spec in self._trusted)
        if self._engine is None:
            self._engine = self._make_engine(storage)
        engine = self._engine
        if isinstance(command, LoadModel):
            engine.load(command.spec, control)
        elif isinstance(command, StartRun):
            engine.run(
                command.prompt,
                command.settings,
                control,
                command.run_id,
                command.fresh,
                command.recall,
                command.write,
            )
        elif isinstance(command, CountTokens):
            self._count_tokens(command, engine)
        elif isinstance(command, InspectLayer):
            self._inspect(command, engine, control)
        elif isinstance(command, StartSweep):
            self._run_sweep(command, engine, control, models_dir)
        elif isinstance(command, WriteModel):
            self._write_model(command, engine, control)

    def _write_model(self, command: WriteModel, engine: Engine, control: Control) -> None:
        from depthtui.engine import surgery
        from depthtui.engine.healing import NOT_HEALED

        folder, healing = self._folder_of(command.folder, "written"), NOT_HEALED
        if command.heals:
            healing = surgery.heal(engine, command.left_out, control=control)
        words = "; ".join(filter(None, [*healing.lines(healing.helps), healing.fit_words]))
        kl = (healing.kl_cut, healing.kl_healed) if healing.helps else ()
        written = surgery.prune(
            engine,
            command.left_out,
            folder,
            control,
            repeated=command.repeated,
            healed=healing if healing.helps else NOT_HEALED,
            piece=command.piece,
        )
        n_layers, folder_name = len(written.layers), str(written.folder)
        self._emit(
            ModelWritten(command.run_id, folder_name, n_layers, written.parameters, words, kl)
        )

    @property
    def _storage(self) -> Storage:
        """The storage of models and results.

        Raises:
            DepthError: the explorer has not sent its configuration.
        """
        if self._configuration is None:
            raise DepthError("The engine was not configured.")
        return _storage_of(self._configuration, self._own_storage)

    def _folder_of(self, folder: str, kind: str) -> Path:
        """The folder on this machine that replaces a folder on the explorer's machine."""
        if self._own_storage is None:
            return Path(folder)
        return self._own_storage.cache_dir / kind / Path(folder).name

    def _look_up(self, command: ListModels | FindModel) -> None:
        """Answer from files alone, in a thread: a run may take long."""
        models: tuple[ModelListing, ...] = ()
        problem = ""
        try:
            if isinstance(command, FindModel):
                check_can_open(command.spec, self._storage.models_dir)
            else:
                models = tuple(on_disk(self._storage.models_dir))
        except DepthError as error:
            problem = str(error)
        except Exception as error:
            problem = " ".join(met_an_error(error))
        if isinstance(command, FindModel):
            self._emit(ModelFound(command.spec, problem))
        else:
            self._emit(ModelsListed(models, problem))

    def _inspect(self, command: InspectLayer, engine: Engine, control: Control) -> None:
        place = command.layer, command.token
        inspection, problem = None, ""
        try:
            control.checkpoint()
            inspection = engine.inspect(
                command.prompt, command.settings, *place, command.lens, control
            )
        except RunStopped:
            # A later look-up has replaced this one.
            return
        except DepthError as error:
            problem = str(error)
        self._emit(LayerInspected(command.run_id, *place, inspection, problem))

    def _count_tokens(self, command: CountTokens, engine: Engine) -> None:
        try:
            count = engine.count_tokens(command.prompt, command.chat_template)
        except DepthError:
            # The error is reported when the prompt is run.
            count = -1
        self._emit(TokensCounted(command.prompt, command.chat_template, count))

    def _run_sweep(
        self, command: StartSweep, engine: Engine, control: Control, models_dir: Path
    ) -> None:
        from depthtui.service.sweep import SweepService

        folder = self._folder_of(command.folder, "sweeps")
        command = replace(command, folder=str(folder))
        self._sweep = SweepService(command, engine, control, self._emit, models_dir)
        try:
            self._sweep.serve()
        finally:
            self._sweep = None

    def _handle_event(self, event: Event) -> None:
        """Send an event of the engine to the explorer, or to the sweep that runs."""
        (self._emit if self._sweep is None else self._sweep.emit)(event)

    def _make_engine(self, storage: Storage) -> Engine:
        self._emit(Progress("Starting the engine", 0, 0, ""))
        import torch
        import transformers

        if self._configuration is not None and self._configuration.threads:
            torch.set_num_threads(self._configuration.threads)
        engine = make_engine(
            storage,
            self._handle_event,
            lambda message: self._emit(Notice(message)),
            trusted=self._trusted,
        )
        self._emit(EngineReady(torch.__version__, transformers.__version__))
        return engine

    def _emit(self, event: Event) -> None:
        try:
            self._pipe.send(event)
        except OSError:
            _end_without_explorer()


def _end_without_explorer() -> NoReturn:
    """End at once; as one of several ranks with a failure, so that the launcher ends the others."""
    os._exit(0 if ranks_started() == 1 else 1)


def _storage_of(command: Configure, default: Storage | None) -> Storage:
    """The storage: an engine elsewhere has its own folders, and may save no results."""
    saves, activation_limit = bool(command.cache_dir), command.activation_limit
    if not command.cache_activations:
        activation_limit = 0
    if default is not None:
        saves = saves and default.save_results
        return replace(default, save_results=saves, activation_limit=activation_limit)
    return Storage(
        cache_dir=Path(command.cache_dir),
        models_dir=Path(command.models_dir),
        save_results=saves,
        cache_limit=command.cache_limit,
        activation_limit=activation_limit,
    )


def _stopped(command: Command) -> tuple[str, str]:
    """The message and the hint for a command that was stopped."""
    if isinstance(command, WriteModel):
        return "Writing the model was stopped: nothing is left of it.", ""
    return "Loading was stopped.", "Press m to choose a model."


def serve(own_storage: Storage | None = None) -> int:
    """Serve standard input and output, as `Worker` does; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return Worker(standard_pipe(), own_storage).serve()


def _main() -> int:
    """Serve in this process, or as rank 0 of several."""
    if ranks_started() == 1:
        return serve()
    from depthtui.engine.rank_process import as_rank

    return as_rank(serve, functools.partial(print, file=sys.stderr, flush=True), restarts=False)


if __name__ == "__main__":
    sys.exit(_main())
