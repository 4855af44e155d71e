"""depthtui from Python."""

from depthtui.api.analysis import analyze, read_states
from depthtui.api.runs import Runs
from depthtui.data.run import Prompt

__all__ = ["Prompt", "Runs", "analyze", "read_states"]
