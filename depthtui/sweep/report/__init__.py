"""Sweeps as Markdown, CSV, JSON, HTML and tables for the terminal."""
