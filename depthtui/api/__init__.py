"""depthtui from Python."""

from depthtui.api.absence import without
from depthtui.api.analysis import analyze, read_states
from depthtui.api.runs import Runs
from depthtui.data.run import Prompt
from depthtui.data.run_settings import Writing

__all__ = ["Prompt", "Runs", "Writing", "analyze", "read_states", "without"]
