"""Prompts of chosen difficulty: the written ladder, generators with a dial, and files."""

from depthtui.prompts.prompt_files import parse_prompts, read_prompts
from depthtui.prompts.tasks import TASKS, Task, make_prompts, prompt_title

__all__ = ["TASKS", "Task", "make_prompts", "parse_prompts", "prompt_title", "read_prompts"]
