"""The session of the last start, which is offered at this one; and this one, for the next."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from depthtui.data.kept_session import KeptRun, KeptSession
from depthtui.data.run import Prompt
from depthtui.tui.state.explorer import Explorer
from depthtui.tui.state.session import Run


def bring_back(explorer: Explorer) -> Run | None:
    """List the runs of the session that is offered; open the one that was shown, and return it."""
    kept, explorer.offered = explorer.offered, None
    if kept is None:
        return None
    runs = explorer.session.restore(kept.runs)
    explorer.settings = replace(
        explorer.settings,
        kl_threshold=kept.kl_threshold,
        overlap_threshold=kept.overlap_threshold,
    )
    if kept.shown < 0:
        return None
    explorer.show_run(runs[kept.shown])
    return runs[kept.shown]


def has_own_runs(explorer: Explorer) -> bool:
    """Whether there is more in a session than every start brings by itself."""
    runs = list(explorer.session.listed())
    by_itself = explorer.host.first_prompt(), explorer.settings.run_settings().metrics

    def asked(run: Run) -> tuple[Prompt, tuple[str, ...]]:
        metrics = run.settings.metrics
        return run.prompt, tuple(name for name in metrics if name not in run.recalled)

    return len(runs) > 1 or any(run.remarks or asked(run) != by_itself for run in runs)


def session_to_keep(explorer: Explorer, layer: int, token: int, measure: str) -> KeptSession:
    """The session as it is kept, with the cursor and the measure on the screen."""
    runs = list(explorer.session.listed())
    current, settings = explorer.session.current, explorer.settings
    return KeptSession(
        datetime.now().isoformat(timespec="seconds"),
        tuple(
            KeptRun(run.model, run.prompt, run.settings, run.started.isoformat(), run.remarks)
            for run in runs
        ),
        runs.index(current) if current in runs else -1,
        layer,
        token,
        measure,
        settings.kl_threshold,
        settings.overlap_threshold,
    )
