"""From a name to weights in memory: hub, demo, local folders and GGUF files."""

# Before anything here imports the libraries: it sets what they read then.
from depthtui.models import library_output

__all__ = ["library_output"]
