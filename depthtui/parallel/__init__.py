"""Several processes that compute one model together: the ranks of a group."""
