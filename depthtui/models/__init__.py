"""From a name to weights in memory: hub, demo, local folders and GGUF files."""
