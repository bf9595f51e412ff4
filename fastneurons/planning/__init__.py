"""Plan a run before there is a machine for it: memory, size of the store, and hours, from the configuration alone."""

from fastneurons.planning.plan import Figure, Plan, Wanted, plan

__all__ = ["Figure", "Plan", "Wanted", "plan"]
