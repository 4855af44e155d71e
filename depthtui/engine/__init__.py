"""Everything that computes. Nothing here imports Textual."""
