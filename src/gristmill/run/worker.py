"""A worker process of the pool: loads the project by path, then runs steps on chunks of rows.

Started as ``python -m gristmill.run.worker ROOT``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from gristmill.define import Graph, load_modules, read_settings
from gristmill.engines.local import serve
from gristmill.engines.protocol import error_of
from gristmill.errors import DefinitionError, GristmillError
from gristmill.run.compiling import declared_schema
from gristmill.run.frames import as_arrow, as_frame, call
from gristmill.run.records import peak_memory_bytes, this_process


class Task(msgspec.Struct, frozen=True):
    """Run a step on the rows of some Arrow files, one per input, and write the result as another."""

    step: str
    inputs: tuple[str, ...]
    output: str
    parameters: dict[str, object]


class Answer(msgspec.Struct, frozen=True):
    """Rows written, and the largest memory of the worker; or the parts of the error that ended the task."""

    rows: int = 0
    peak_bytes: int = 0
    worker: str = ""
    error: dict[str, object] | None = None
    kind: str = ""


def load_graph(root: Path) -> Graph:
    """Import a project's modules and return the graph of the project that they make."""
    for module in load_modules(root, read_settings(root)):
        for value in vars(module).values():
            graph = getattr(value, "graph", None)
            if isinstance(graph, Graph):
                return graph
    raise DefinitionError("the project's modules make no Project object", code="GM-P017", where=str(root))


def work(graph: Graph, task: Task) -> int:
    """Run one task; return the rows written."""
    import pyarrow as pa

    node = graph[task.step]
    schema = declared_schema(node)
    assert node.function is not None
    assert schema is not None
    frames = []
    for path in task.inputs:
        with pa.memory_map(path) as source:
            frames.append(as_frame(pa.ipc.open_file(source).read_all(), node.rows))
    made = as_arrow(node, call(node, node.function, frames, task.parameters), schema)
    with pa.OSFile(task.output, "wb") as out, pa.ipc.new_file(out, schema) as writer:
        writer.write_table(made)
    return int(made.num_rows)


def answer(graph: Graph, message: bytes) -> bytes:
    """Answer one message: a task in, rows or an error out."""
    task = msgspec.msgpack.decode(message, type=Task)
    try:
        made = Answer(rows=work(graph, task), peak_bytes=peak_memory_bytes(), worker=this_process())
    except GristmillError as error:
        made = Answer(error=error.as_dict(), kind=type(error).__name__)
    return msgspec.msgpack.encode(made)


def raise_answer(made: Answer) -> None:
    """Raise the error that a worker met, as if it had been met here."""
    if made.error is None:
        return
    raise error_of(made.kind, made.error)


def main() -> None:
    """Serve until the pool closes."""
    graph = load_graph(Path(sys.argv[1]))
    serve(lambda message: answer(graph, message))


if __name__ == "__main__":
    main()
