"""The values that pipe, cache, screen and report exchange: plain dataclasses, and their bytes."""
