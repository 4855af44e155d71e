"""A terminal explorer for the effective depth of large language models."""

__version__ = "0.1.0"
