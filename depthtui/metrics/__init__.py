"""The metrics: a folder each, with a light spec and a kernel that only the engine imports."""
