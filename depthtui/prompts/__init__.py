"""Prompts of chosen difficulty: the written ladder, generators with a dial, and files."""
