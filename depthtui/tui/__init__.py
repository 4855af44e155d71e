"""The explorer. Nothing here imports torch or transformers."""
