"""The engine's life: it starts, opens a model, ends, and starts again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from depthtui.data.model import ModelInfo
from depthtui.data.protocol import (
    Command,
    Configure,
    EngineReady,
    Failed,
    LoadModel,
    Memory,
    Pace,
    Progress,
    TrustModel,
)
from depthtui.data.run_settings import ModelSpec
from depthtui.data.trust import TrustedModels
from depthtui.errors import DepthError
from depthtui.settings import Settings, models_dir
from depthtui.tui.state.engine_connection import EngineConnection, EngineDeath
from depthtui.tui.state.host import Host
from depthtui.tui.state.phase import CodeQuestion, NotLoaded, Phase, Problem, Then
from depthtui.tui.state.saved_paces import join_paces, pace_key
from depthtui.tui.state.stage import Stage, next_stage
from depthtui.tui.state.toast import Toast


class EngineLife:
    """The engine's process and the model in it; it alone sends commands.

    A load has one thing that follows it, such as a run that waits for the model: `load` and
    `follow_with` choose it, `loaded` returns it once, and it is forgotten with a load that fails.

    Args:
        spec: the model to open with.
        settings: returns the user's settings.
        host: the app.
        trusted: the models whose own Python code may run.
        command: the command that reaches an engine elsewhere; empty for one on this machine.
        by_itself: follows a load where nothing else was chosen.
        on_end: called with the reason when a process has ended with all of its work.

    Attributes:
        spec: the model that is loaded, or is to be.
        phase: `STARTING`, `LOADING`, `READY`, `NO_MODEL` or `DEAD`; `Explorer.phase` adds the work.
        problem: why there is no engine or no model, or None.
        not_loaded: the model that could not be loaded, until another one is; or None.
        model: the loaded model, or None.
        loads: how many loads were begun.
        stage: the stage of a load, or of work without rows yet; or None.
        memory: the engine's last report on its memory, or None.
        pace: the timings of the loaded model.
        paces: the timings of every timed model, by `pace_key`.
        connection: the process; None where there is none.
    """

    def __init__(
        self,
        spec: ModelSpec,
        settings: Callable[[], Settings],
        host: Host,
        trusted: Iterable[ModelSpec],
        command: str,
        by_itself: Then,
        on_end: Callable[[str], None],
    ) -> None:
        self.spec = spec
        self.command = command
        self.phase = Phase.STARTING
        self.problem: Problem | None = None
        self.not_loaded: NotLoaded | None = None
        self.model: ModelInfo | None = None
        self.loads = 0
        self.stage: Stage | None = None
        self.memory: Memory | None = None
        self.pace = Pace()
        self.paces: dict[str, Pace] = {}
        self.connection: EngineConnection | None = None
        self._settings = settings
        self._host = host
        self._trusted = TrustedModels(trusted)
        self._by_itself = self._then = by_itself
        self._on_end = on_end

    @property
    def is_loading(self) -> bool:
        """Whether a model is being loaded, or will be once the engine has started."""
        return self.phase in (Phase.STARTING, Phase.LOADING)

    # The process --------------------------------------------------------------

    def start(self) -> None:
        """Start a process and load the model in it."""
        self.phase, self.stage, self.problem = Phase.STARTING, None, None
        self.loads += 1
        try:
            self.connection = self._host.start_engine()
        except OSError as error:
            self.connection, self.phase = None, Phase.DEAD
            name = f"`{self.command}`" if self.command else "The engine"
            self.problem = Problem(
                f"{name} could not be started ({error.strerror}).", "r tries again."
            )
            return
        settings = self._settings()
        self.send(
            Configure(
                cache_dir=str(settings.cache_folder) if settings.use_cache else "",
                models_dir=str(models_dir(settings.cache_folder)),
                cache_limit=settings.cache_limit,
                cache_activations=settings.cache_activations,
                activation_limit=settings.activation_limit,
            )
        )
        self._send_load()

    def handle(self, event: EngineReady | Progress | Memory | Pace) -> None:
        """Handle an event on the process itself."""
        match event:
            case EngineReady() if self.phase is Phase.STARTING:
                self.phase = Phase.LOADING
            case Progress():
                self.stage = next_stage(self.stage, event)
            case Memory():
                self.memory = event
            case Pace():
                self._timed(event)

    def restart(self) -> None:
        """Start a fresh process, whatever the state of the old one."""
        self._on_end("the engine was started again")
        self.close()
        self.start()

    def close(self) -> None:
        """End the process at once."""
        if self.connection is not None:
            self.connection.kill()
            self.connection = None

    def died(self, death: EngineDeath, results_words: str) -> None:
        """Handle the end of the process.

        Args:
            death: how it ended.
            results_words: what has become of the results, in words.
        """
        self._pop_then()
        self.connection, self.phase, self.stage = None, Phase.DEAD, None
        has_reason = death.last_line and (death.code >= 0 or death.problem)
        detail = f" It last said: {death.last_line}" if has_reason else ""
        where = f" Log: {death.log}" if death.log else ""
        end_words, key_words = "The engine process ended.", "starts it again"
        if self.command:
            end_words, key_words = f"The engine is gone: `{self.command}`.", "connects again"
        self.problem = Problem(
            f"{end_words} {death.reason}{detail}", f"{results_words}; r {key_words}.{where}"
        )
        self._on_end("the engine process ended")

    # Commands -----------------------------------------------------------------

    def send(self, command: Command) -> None:
        """Send a command; nothing happens where there is no engine."""
        if self.connection is not None:
            self.connection.send(command)

    def ask(self, command: Command) -> None:
        """Send a question that the engine answers at any time.

        Raises:
            DepthError: there is no engine.
        """
        if self.connection is None:
            raise DepthError("The engine is gone.", "esc, then r, connects again.")
        self.send(command)

    def trust(self, spec: ModelSpec) -> None:
        """Let a model's own Python code run until the explorer ends."""
        self._trusted.add(spec)

    def send_trust(self, specs: Iterable[ModelSpec]) -> None:
        """Let the engine run the code of the trusted models among these."""
        for spec in specs:
            if spec in self._trusted:
                self.send(TrustModel(spec))

    # Loads --------------------------------------------------------------------

    def load(self, spec: ModelSpec, then: Then | None = None) -> None:
        """Load a model in place of the loaded one.

        Args:
            spec: the model.
            then: follows the load; None for what follows by itself.
        """
        self.spec = spec
        self.follow_with(then)
        if self.connection is None or self.is_loading:
            # A load cannot be cancelled in any other way.
            self.restart()
            return
        self.model = self.problem = self.stage = None
        self.loads += 1
        self.phase = Phase.LOADING
        self._send_load()

    def _send_load(self) -> None:
        self.send_trust([self.spec])
        self.send(LoadModel(self.spec))

    def follow_with(self, then: Then | None) -> None:
        """Choose what follows the load that is under way; None for what follows by itself."""
        self._then = then or self._by_itself

    def _pop_then(self) -> Then:
        """What follows the load that is over now."""
        then, self._then = self._then, self._by_itself
        return then

    def loaded(self, model: ModelInfo) -> Then:
        """Handle a load that succeeded; return what follows it."""
        self.model, self.problem, self.not_loaded = model, None, None
        self.phase, self.stage = Phase.READY, None
        # The engine reports the preparations that its current model has.
        self.pace = replace(self.paces.get(self._pace_key(model), Pace()), prepared=())
        return self._pop_then()

    def load_failed(self, failed: Failed) -> None:
        """Handle a load that failed: the former model may have stayed, and code may be trusted."""
        then, self.stage = self._pop_then(), None
        self.not_loaded = NotLoaded(self.spec, failed.words)
        if failed.code_in:
            self._host.ask_for_trust(CodeQuestion(self.spec, failed.code_in, then))
        self.model = failed.still_loaded
        if self.model is None:
            self.phase = Phase.NO_MODEL
            self.problem = Problem(failed.message, failed.hint or "m chooses another model.")
            return
        self.spec, self.phase, self.problem = self.model.spec, Phase.READY, None
        if not failed.code_in:
            self._host.show_toast(Toast(failed.words, "error", f"{self.model.name} stays"))

    def left_with(self, model: ModelInfo | None) -> None:
        """Handle the end of a sweep, which leaves its last model loaded, or none."""
        self.model = model
        if self.is_loading:
            return
        if model is None:
            self.phase = Phase.NO_MODEL
            self.problem = Problem("The sweep left no model loaded.", "m chooses one.")
        else:
            self.phase, self.spec = Phase.READY, model.spec

    # Timings ------------------------------------------------------------------

    def _timed(self, pace: Pace) -> None:
        """Add a timing of the loaded model, which becomes the last of those kept."""
        self.pace = join_paces(self.pace, pace)
        if self.model is not None:
            key = self._pace_key(self.model)
            self.paces.pop(key, None)
            self.paces[key] = self.pace

    def pace_of(self, model: ModelInfo) -> Pace:
        """The timings of a model."""
        return self.pace if model == self.model else self.paces.get(self._pace_key(model), Pace())

    def _pace_key(self, model: ModelInfo) -> str:
        return pace_key(model, self.command)
