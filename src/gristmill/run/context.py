"""What one run works with, passed down as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.define import CodeState, Graph, Node, Settings
from gristmill.model.events import Listener, silent

if TYPE_CHECKING:
    import ibis

    from gristmill.engines.kernel import ChangesSql, Kernel
    from gristmill.engines.protocol import Executor
    from gristmill.model.delta import Delta
    from gristmill.run.measuring import Meter, Taken
    from gristmill.run.restating import Stretch
    from gristmill.store import Store


@dataclass(frozen=True, slots=True)
class Expression:
    """An Ibis definition: as written, in normal form, its fingerprint, the columns read, and whether it reads the time.

    ``reads`` maps each input to its columns; None stands for all of them.
    """

    written: ibis.Table
    normal: ibis.Table
    fingerprint: str
    reads: Mapping[str, tuple[str, ...] | None]
    uses_run_time: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything that planning and running need.

    Args:
        root: the project's folder.
        settings: its settings.
        graph: its nodes.
        open_store: opens the store where its tables live, at first use.
        kernel: what computes.
        run_time_us: the run's time in microseconds since 1970, UTC; ``gm.run_time()`` gives it.
        parameters: values that override keyword parameters of definitions.
        listener: takes the events.
        modules: whether the project was loaded from its modules, so that worker processes can load it too.
        workers: how many processes may run steps.
        base: the commit that the run began at; empty outside of a run.
        set_aside: (table, rule) of rules that block, whose rows this run sets aside instead.
        expressions: Ibis definitions as compiled against the schemas of their inputs, by name and schemas.
        changes: how a definition follows its inputs, by name, expression and kinds of change, with that expression.
        fast: whether tables with a slow layer are brought up to now like all others.
        code: states of the code behind definitions, by file, as this run found them.
        deltas: what changed in inputs, by name, state before and state after, for the tables that read the same ones.
        executor: where tables that are computed in full are computed by pieces; this process where None.
        spread: how tables were computed by pieces, in words, by name.
        meter: what sees how much memory and disk stages take; None where nobody asks.
        taken: what the stage at hand has taken, as far as it knows better than the meter.
        restate: what a person asked to be computed again, though nothing asks for it.
    """

    root: Path
    settings: Settings
    graph: Graph
    open_store: Callable[[], Store]
    kernel: Kernel
    run_time_us: int
    parameters: Mapping[str, object] = field(default_factory=dict)
    listener: Listener = silent
    modules: bool = False
    workers: int = 1
    base: str = ""
    set_aside: frozenset[tuple[str, str]] = frozenset()
    expressions: dict[tuple[str, str], Expression] = field(default_factory=dict)
    changes: dict[tuple[str, int, tuple[tuple[str, str], ...]], tuple[object, ChangesSql]] = field(default_factory=dict)
    code: dict[str, CodeState] = field(default_factory=dict)
    deltas: dict[tuple[str, str, str], Delta] = field(default_factory=dict)
    executor: Executor | None = None
    spread: dict[str, str] = field(default_factory=dict)
    meter: Meter | None = None
    taken: Taken | None = None
    restate: Stretch | None = None
    fast: bool = False

    @property
    def store(self) -> Store:
        """The store where the project's tables live."""
        return self.open_store()

    def parameters_of(self, node: Node) -> dict[str, object]:
        """Return a node's keyword parameters with this run's values."""
        return {name: self.parameters.get(name, default) for name, default in node.parameters.items()}
