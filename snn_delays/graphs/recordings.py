"""Work that recurs in training, recorded once and then issued to a GPU as one: a CUDA graph.

To start a kernel takes the host 10 µs or more, and a step of training starts hundreds of them. A
graph of them is one start. It repeats what was recorded, to the same places in memory: Python runs
no more, and a number that Python read is the same for good. So work must give all its results as
tensors, and what else it depends on must be in its key.
"""

from __future__ import annotations

import gc
import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from snn_delays.errors import UsageError

_log = logging.getLogger("snn_delays")
GRAPHS = ("auto", "on", "off")
_WAITS = "called a synchronizing CUDA operation"  # as torch says it
Results = tuple[Tensor | None, ...]
Work = Callable[..., Results]


class Recording(Protocol):
    """Work that can be repeated.

    Attributes:
        results: where it leaves what it gives; there after the first ``replay``.
    """

    results: Results

    def replay(self) -> None:
        """Do it."""
        ...


class Recorder(Protocol):
    """What can record work; on a GPU ``CudaRecorder``."""

    def alone(self) -> AbstractContextManager[None]:
        """Within it work can be run and recorded; what came before is done then."""
        ...

    def watched(self, work: Work, *inputs: Tensor) -> tuple[Results, str]:
        """Run it; with a word on what it did that no recording can, or none."""
        ...

    def record(self, work: Callable[[], Results]) -> Recording:
        """Take down what it does, without doing it."""
        ...


@dataclass
class _Kept:
    """A recording, and where it takes its inputs from."""

    inputs: list[Tensor]
    recording: Recording


class Graphs:
    """Runs work as a recording of it from the second time on that it comes with one key.

    The first run compiles and fills caches, which no recording can. Work that waits for the GPU, or
    whose recording fails, runs as it is from then on; that is said once.

    Args:
        recorder: what records.
        most: how many recordings are kept; the one that has not been used for longest goes.
        what: the work, in words.
        required: whether to refuse work that cannot be recorded.

    Raises:
        UsageError: of work that cannot be recorded, if ``required``.
    """

    def __init__(self, recorder: Recorder, most: int, what: str, required: bool = False) -> None:
        self.recorder, self.most, self.what, self.required = recorder, most, what, required
        self.kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        # Keys that have come, and how often in a row they could not have been recorded.
        self.seen: OrderedDict[Hashable, int] = OrderedDict()
        self.given_up = False

    def __call__(self, key: Hashable, work: Work, *inputs: Tensor) -> Results:
        """What ``work(*inputs)`` gives, valid until the next run.

        Args:
            key: all that the work depends on beside the numbers in its inputs, in the network and
                in what else lies where it lay; None if it may depend on more.
        """
        with self.recorder.alone():
            if key is None or self.given_up:
                return work(*inputs)
            key = key, tuple((one.shape, one.dtype) for one in inputs)
            kept = self.kept.get(key)
            if kept is None and self.seen.get(key) == 0:
                kept = self._record(key, work, inputs)
            if kept is not None:
                self.kept.move_to_end(key)
                copy_into(kept.inputs, inputs)
                kept.recording.replay()
                return kept.recording.results
            if self.given_up:
                return work(*inputs)
            results, waits = self.recorder.watched(work, *inputs)
            _newest(self.seen, key, self.seen.get(key, 0) + 1 if waits else 0, 16 * self.most)
            # Once may be a number that is kept from then on.
            if self.seen[key] == 2:
                self._give_up(waits)
            return results

    def _record(self, key: Hashable, work: Work, inputs: Sequence[Tensor]) -> _Kept | None:
        own = [one.detach().clone() for one in inputs]
        try:
            recording = self.recorder.record(lambda: work(*own))
        except RuntimeError as error:
            self._give_up(str(error).partition("\n")[0], error)
            return None
        _newest(self.kept, key, found := _Kept(own, recording), self.most)
        return found

    def end(self) -> None:
        """Give up all recordings, and their memory."""
        self.kept.clear()

    def _give_up(self, reason: str, error: Exception | None = None) -> None:
        self.given_up = True
        self.kept.clear()
        if self.required:
            raise UsageError(
                f"fit: graphs=on: {self.what} cannot be made a CUDA graph: {reason}. "
                "Use graphs=auto, which runs it as it is."
            ) from error
        _log.info("No CUDA graph of %s, which runs as it is: %s", self.what, reason)


def _newest(of: OrderedDict[Hashable, Any], key: Hashable, value: Any, most: int) -> None:
    """Keep it as the newest of so many."""
    of[key] = value
    of.move_to_end(key)
    while len(of) > most:
        of.popitem(last=False)


@torch.no_grad()
def copy_into(into: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    """Each to its place, in one launch for all of one precision."""
    by_type: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for place, one in zip(into, given, strict=True):
        if place is not one:
            places, values = by_type.setdefault(place.dtype, ([], []))
            places.append(place)
            values.append(one.detach())
    for places, values in by_type.values():
        torch._foreach_copy_(places, values)  # pyright: ignore[reportPrivateImportUsage]


class CudaRecorder:
    """Records on a stream of its own, since the default one cannot be recorded.

    Work that is not recorded runs there, too, so that what it leaves in autograd belongs there.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        # One for all: each leaves to the next what it needs no more. No result is ever given up.
        self.pool = torch.cuda.graph_pool_handle()
        self.failed: list[torch.cuda.CUDAGraph] = []

    @contextmanager
    def alone(self) -> Iterator[None]:
        outer = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(outer)
        with torch.cuda.stream(self.stream):
            yield
        outer.wait_stream(self.stream)

    def watched(self, work: Work, *inputs: Tensor) -> tuple[Results, str]:
        waits: list[str] = []
        before, show = torch.cuda.get_sync_debug_mode(), warnings.showwarning

        def shown(message: Any, *args: Any, **settings: Any) -> None:
            if _WAITS in str(message):
                waits.append("it waits for the GPU, such as to read a number")
            else:
                show(message, *args, **settings)

        with warnings.catch_warnings():
            warnings.filterwarnings("always", message=f".*{_WAITS}")
            warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
            warnings.showwarning = shown
            torch.cuda.set_sync_debug_mode("warn")
            try:
                results = work(*inputs)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        return results, waits[0] if waits else ""

    def record(self, work: Callable[[], Results]) -> _CudaGraph:
        graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[self.device.index or 0]
        random = generator.clone_state()
        try:
            # No graph that is of no use any more may be destroyed meanwhile.
            with _uncollected():
                graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
                results = work()
                graph.capture_end()
        except BaseException:
            self._recover(graph)
            generator.graphsafe_set_state(random)
            raise
        return _CudaGraph(graph, results)

    def _recover(self, graph: torch.cuda.CUDAGraph) -> None:
        """Take back what a recording that failed would have taken back at its end."""
        with suppress(RuntimeError):
            graph.capture_end()
        device = self.device.index or 0
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(device, self.pool)
            torch._C._cuda_releasePool(device, self.pool)
        # Pinned memory goes on asking it whether it records; and it takes no other graph.
        self.failed.append(graph)
        self.pool = torch.cuda.graph_pool_handle()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for unused cycles, which may find anything anywhere."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@dataclass
class _CudaGraph:
    graph: torch.cuda.CUDAGraph
    results: Results

    def replay(self) -> None:
        self.graph.replay()
