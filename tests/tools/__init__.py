"""Tools that are run by hand, beside the tests and the benchmarks."""
