"""Work in several processes, each with one thread, and a line whenever a part of it is done."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

from ._console import console


def processes(jobs: int) -> ProcessPoolExecutor:
    """``jobs`` quiet processes: the one that started them tells what goes on."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), _begin)


def _begin() -> None:
    import torch

    console.quiet = True
    warnings.simplefilter("ignore", FutureWarning)  # torch's about itself
    torch.set_num_threads(1)


def done(
    pool: ProcessPoolExecutor, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], what: str
) -> Iterator[tuple[Any, Any]]:
    """(task, result) of every task, as they end."""
    futures = {pool.submit(function, *task): task for task in tasks}
    try:
        for n, future in enumerate(as_completed(futures), 1):
            result = future.result()
            console.print(f"{what}: {n} of {len(tasks)}", markup=False)
            yield futures[future], result
    finally:
        for future in futures:
            future.cancel()
