"""What runs in the child process of the explorer."""
