"""Data sets that are known by name: each one's forms, alignment and templates."""

from fastneurons.data.tasks.registry import TASKS, task_named, tasks_and_data
from fastneurons.data.tasks.source import TaskSource, open_tasks
from fastneurons.data.tasks.task import Task

__all__ = ["TASKS", "Task", "TaskSource", "open_tasks", "task_named", "tasks_and_data"]
