"""Data sets side by side: one process per core, one thread each."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from emolib.base.interrupts import before_leaving, deferred

Mapping = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """A planted model is so small that threads inside an operation cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def one_by_one(function: Callable[[Any], Any], given: Iterable[Any]) -> list[Any]:
    """The function's result for every item, in this process, with one thread."""
    with one_thread():
        return [function(item) for item in given]


@contextmanager
def side_by_side(processes: int) -> Iterator[Mapping]:
    """A function like `one_by_one` that spreads items over processes, which live until the end."""
    if processes <= 1:
        yield one_by_one
        return
    context = multiprocessing.get_context("spawn")  # a forked process may hang on torch's threads
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin) as pool:

        def mapped(function: Callable[[Any], Any], given: Iterable[Any]) -> list[Any]:
            with deferred():  # Ctrl-C is this process's alone: the others would each print a traceback
                found = pool.map(function, given)
            return list(found)

        with before_leaving(_end_children):
            yield mapped


def _begin() -> None:
    """In a new process: one thread, and an end with the process that started it, however that dies."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _end_children() -> None:
    for child in multiprocessing.active_children():
        child.kill()
