"""What the keys of the explorer do: a command is one value."""
