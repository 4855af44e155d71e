"""What goes through pipe, cache, screen and report: plain dataclasses, and their bytes."""
