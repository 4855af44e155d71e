"""From a name to weights in memory: hub, demo, local folders and GGUF files."""

# Imported before the libraries: it sets variables that they read on import.
from depthtui.models import library_output, library_threads

__all__ = ["library_output", "library_threads"]
