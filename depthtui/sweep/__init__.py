"""A grid of models and tasks, and what its effective depths say."""
