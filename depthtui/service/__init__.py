"""The child process of the explorer."""
