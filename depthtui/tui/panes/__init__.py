"""What draws: one pane a file."""
