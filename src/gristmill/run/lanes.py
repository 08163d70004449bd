"""All stages of a run, side by side where the graph allows.

A stage is ready when what it reads is done. This thread and a few more take ready stages; code of the project's
own (steps, models, predictions) runs in this thread only, because much of what Python code does wants that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from gristmill.errors import EngineError
from gristmill.model.events import Event
from gristmill.run.context import Context
from gristmill.run.planned import Step
from gristmill.run.rules import referenced
from gristmill.run.stage import Progress, run_stage

if TYPE_CHECKING:
    from gristmill.engines.kernel import Kernel

LANES = 4
_OWN_CODE = ("step", "model", "predictions")


def run_stages(ctx: Context, run: str, steps: Sequence[Step]) -> Iterator[Progress]:
    """Run the stages of a plan on the run's branch and yield what each brought, as they end.

    After an error no further stage begins; those that are at work are finished, and the first error is raised.
    """
    acting = sum(step.acts for step in steps)
    lanes = min(ctx.workers, LANES, acting)
    if lanes < 2:
        broken: set[str] = set()
        for step in steps:
            brought = run_stage(ctx, run, step, broken)
            broken |= brought.broken
            yield brought
        return
    yield from _Lanes(ctx, run, steps).run(lanes)


class _Lanes:
    """The stages that wait, are ready and are done; every field is read and written under ``change``."""

    def __init__(self, ctx: Context, run: str, steps: Sequence[Step]) -> None:
        self.ctx, self.run_name = ctx, run
        self.waits = _needs(ctx, steps)
        self.kernels: list[Kernel] = []
        self.left = list(steps)
        self.done: set[str] = set()
        self.broken: set[str] = set()
        self.brought: deque[Progress] = deque()
        self.at_work = 0
        self.error: BaseException | None = None
        self.change = threading.Condition()
        self.telling = threading.Lock()

    def run(self, lanes: int) -> Iterator[Progress]:
        with ExitStack() as stack:
            self.kernels = [stack.enter_context(self.ctx.kernel.lane()) for _ in range(lanes)]
            threads = [threading.Thread(target=self._lane, args=(kernel,), daemon=True) for kernel in self.kernels[1:]]
            for thread in threads:
                thread.start()
            try:
                while (step := self._next(own_code=True)) is not None or self.brought:
                    if step is not None:
                        self._work(self.kernels[0], step)
                    while self.brought:
                        yield self.brought.popleft()
            except BaseException as error:
                self._stop(error)
                raise
            finally:
                self._stop(None)
                for thread in threads:
                    thread.join()
        while self.brought:
            yield self.brought.popleft()
        if self.error is not None:
            raise self.error

    def _stop(self, error: BaseException | None) -> None:
        with self.change:
            self.left.clear()
            self.error = self.error or error
            self.change.notify_all()
        if isinstance(error, KeyboardInterrupt):
            for kernel in self.kernels:
                kernel.interrupt()

    def _lane(self, kernel: Kernel) -> None:
        while (step := self._next(own_code=False)) is not None:
            self._work(kernel, step)

    def _next(self, *, own_code: bool) -> Step | None:
        """Return a stage that is ready, waiting for one; None where none will be, or there is something to yield."""
        with self.change:
            while True:
                ready = [step for step in self.left if self.waits[step.name] <= self.done]
                mine = [step for step in ready if self._is_own_code(step) == own_code]
                mine = mine or [step for step in ready if not self._is_own_code(step)]
                if mine:
                    self.left.remove(mine[0])
                    self.at_work += 1
                    return mine[0]
                if not self.left and not (own_code and self.at_work):
                    return None
                if own_code and self.brought:
                    return None
                self.change.wait()

    def _is_own_code(self, step: Step) -> bool:
        return step.kind in _OWN_CODE

    def _work(self, kernel: Kernel, step: Step) -> None:
        try:
            brought = run_stage(replace(self.ctx, kernel=kernel, listener=self._tell), self.run_name, step, self.broken)
        except BaseException as error:
            with self.change:
                self.at_work -= 1
            self._stop(error)
            return
        with self.change:
            self.at_work -= 1
            self.done.add(step.name)
            self.broken |= brought.broken
            self.brought.append(brought)
            self.change.notify_all()

    def _tell(self, event: Event) -> None:
        """Pass an event on, one at a time; a stage that goes on after an error elsewhere is ended here."""
        if isinstance(self.error, KeyboardInterrupt):
            raise EngineError("stopped by the user", code="GM-E031")
        with self.telling:
            self.ctx.listener(event)


def _needs(ctx: Context, steps: Sequence[Step]) -> dict[str, set[str]]:
    """Return what must be done before each: inputs, and tables that rules look into.

    Tables may look into each other by their rules; then the one that stands first in the plan does not wait.
    """
    found: dict[str, set[str]] = {}
    for step in steps:
        node = ctx.graph[step.name]
        found[step.name] = {*node.inputs, *referenced(ctx, node)} & found.keys()
    return found
