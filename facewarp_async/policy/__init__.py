"""Decisions as pure functions and values: when a call may leave, when it is repeated, when a task is looked at."""
