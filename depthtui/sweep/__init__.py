"""A grid of models and tasks, its effective depths and their comparisons."""
