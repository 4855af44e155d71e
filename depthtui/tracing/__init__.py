"""A loaded model from inside: where its layers write, one pass observed, one pass replayed."""
