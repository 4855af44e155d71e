"""The panes that draw results, one a file."""
