"""Tools that are run by hand, benchmarks among them, and what these share with tests."""
