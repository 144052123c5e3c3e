"""The agent's heap, where the C library is glibc: one for all threads, and given back after large work.

By default glibc gives each thread a heap of its own (mallopt(3), ``M_ARENA_MAX``), which suits programs
whose threads compete; ours are few and mostly wait, and half a megabyte of a small gateway is better
spent.  It has to be asked for before the first thread starts.
"""

from __future__ import annotations

from edge_agent.c_library import c_library

#: of glibc's malloc.h
_ARENA_MAX = -8


def use_one_heap() -> bool:
    """Asks for one heap; returns whether the C library knows how."""
    try:
        return bool(c_library().mallopt(_ARENA_MAX, 1))
    except AttributeError:
        return False


def give_back() -> bool:
    """Returns free pages of the heap to the system (malloc_trim(3)); returns whether any were.

    After a reload: the plan before, and what was made to compare the two, leave holes that stay resident otherwise.
    """
    try:
        return bool(c_library().malloc_trim(0))
    except AttributeError:
        return False
