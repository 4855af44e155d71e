"""Effective depth: from curves over layers to a layer, with its interval. NumPy only."""
