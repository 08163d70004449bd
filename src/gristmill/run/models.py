"""Train models and make predictions: user code writes files and returns metrics, the store keeps both."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts.kinds import quote
from gristmill.define import Node
from gristmill.errors import DataError, DefinitionError
from gristmill.model.events import Trained
from gristmill.run.compiling import Compiled
from gristmill.run.context import Context
from gristmill.run.frames import as_frame, call, read_input, to_table
from gristmill.run.layout import prepare

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import Transaction, View

ORIGIN_ROW = "_origin_row"
ORIGIN_MODEL = "_origin_model"
"""Hidden columns of predictions: row id of the input row, and id of the model's files."""


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a model was trained on and how it did.

    Args:
        metrics: figures on the held table, as the function returned them.
        files: id of the tree of files it wrote.
        trained_on: rows and content digest of each training table.
        held: name of the held table, or empty.
        held_digest: content digest of the held table; metrics compare only where these are equal.
        held_rows: its rows.
        parameters: the keyword parameters.
        run: the run that trained it; empty for a training that was recorded by ``gm.track``.
        read_at: for a recorded training: the commit at which each table was read; in a run that is its own commit.
    """

    metrics: dict[str, float]
    files: str
    trained_on: dict[str, tuple[int, str]]
    held: str = ""
    held_digest: str = ""
    held_rows: int = 0
    parameters: dict[str, str] = {}
    run: str = ""
    read_at: dict[str, str] = {}


def record_path(name: str) -> str:
    """Return where a model's record stands in a commit."""
    return f"models/{name}.json"


def load_model(snapshot: View, name: str) -> ModelRecord | None:
    """Return a model's record at a commit, or None where it was not trained there."""
    data = snapshot.document(record_path(name))
    return msgspec.json.decode(data, type=ModelRecord) if data else None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of one model at two commits; ``refused`` says why they do not compare."""

    metrics: dict[str, tuple[float, float]] = {}
    held_rows: int = 0
    refused: str = ""

    def interval(self, metric: str) -> tuple[float, float]:
        """Return a 95 % interval of the later value, from the number of held rows alone.

        The half-width is that of a share, 1.96 sqrt(p (1 - p) / n), which also bounds the area under a ROC curve
        with as many rows of either class; metrics outside 0 to 1 get no width.
        """
        value = self.metrics[metric][1]
        if not 0 <= value <= 1 or not self.held_rows:
            return value, value
        half = 1.96 * (value * (1 - value) / self.held_rows) ** 0.5
        return value - half, value + half


def compare(before: View, after: View, name: str) -> Comparison:
    """Compare a model's metrics at two commits; only where both were judged on the same held rows."""
    old, new = load_model(before, name), load_model(after, name)
    if old is None or new is None:
        return Comparison(refused="not trained on both sides")
    if old.held_digest != new.held_digest:
        return Comparison(refused=f"the held table {new.held} differs, so the metrics do not compare")
    shared = {metric: (old.metrics[metric], new.metrics[metric]) for metric in new.metrics if metric in old.metrics}
    return Comparison(metrics=shared, held_rows=new.held_rows)


def train(ctx: Context, tx: Transaction, compiled: Compiled, run: str) -> ModelRecord:
    """Train a model into a fresh folder and keep the folder, its metrics, and what it was trained on.

    Raises DefinitionError where the function fails or returns something else than a dict of numbers.
    """
    node = compiled.node
    assert node.function is not None
    tables = [*node.reads, *([node.held] if node.held else [])]
    frames = [as_frame(read_input(tx, name), node.rows) for name in tables]
    with tempfile.TemporaryDirectory(prefix="gristmill-model-") as folder:
        returned = call(node, node.function, [*frames, Path(folder)], ctx.parameters_of(node))
        metrics = _metrics(node, returned)
        tx.put_files(node.name, Path(folder))
    record = ModelRecord(
        metrics=metrics,
        files=tx.files(node.name).id,
        trained_on={name: (tx.table(name).row_count, tx.digest(name)) for name in node.reads},
        held=node.held or "",
        held_digest=tx.digest(node.held) if node.held else "",
        held_rows=tx.table(node.held).row_count if node.held else 0,
        parameters={name: repr(value) for name, value in ctx.parameters_of(node).items()},
        run=run,
    )
    tx.put_document(record_path(node.name), msgspec.json.encode(record, order="deterministic"))
    rows = sum(count for count, _ in record.trained_on.values())
    ctx.listener(Trained(name=node.name, metrics=metrics, rows=rows))
    return record


def _metrics(node: Node, returned: object) -> dict[str, float]:
    if not isinstance(returned, Mapping):
        raise DefinitionError(
            f"`{node.name}` returned {type(returned).__name__}, not its metrics",
            code="GM-P016",
            where=str(node.place),
            hint='return a dict of numbers, such as {"auc": 0.71}',
        )
    try:
        return {str(name): float(value) for name, value in returned.items()}
    except (TypeError, ValueError) as error:
        raise DefinitionError(
            f"`{node.name}` returned a metric that is no number: {error}", code="GM-P016", where=str(node.place)
        ) from error


def predict(ctx: Context, tx: Transaction, compiled: Compiled) -> int:
    """Make predictions for every row of the input and write them with the ids of model and input row."""
    node = compiled.node
    assert node.function is not None
    assert node.model is not None
    source = node.reads[0]
    state = tx.files(node.model)
    table = read_input(tx, source, row_ids=True)
    rows = as_frame(table.drop_columns(["_row_id"]), node.rows)
    with tempfile.TemporaryDirectory(prefix="gristmill-model-") as folder:
        ctx.store.checkout(state, Path(folder))
        made = to_table(call(node, node.function, [rows, Path(folder)], ctx.parameters_of(node)))
    result = _with_origin(ctx, node, made, table, state.id)
    prepare(tx, node, result.schema)
    tx.replace(node.name, result)
    return int(result.num_rows)


def _with_origin(ctx: Context, node: Node, made: pa.Table, rows: pa.Table, model: str) -> pa.Table:
    import pyarrow as pa

    missing = [name for name in node.key if name not in made.schema.names]
    if missing:
        raise DataError(
            f"`{node.name}` gave no column {', '.join(missing)}, which is its key",
            code="GM-D015",
            where=str(node.place),
        )
    connection = ctx.kernel.connection
    connection.register("_gristmill_made", made)
    connection.register("_gristmill_rows", rows.select([*node.key, "_row_id"]))
    keys = ", ".join(quote(name) for name in node.key)
    joined = connection.sql(
        f"SELECT m.*, r._row_id AS {ORIGIN_ROW} FROM _gristmill_made m JOIN _gristmill_rows r USING ({keys})"
    ).to_arrow_table()
    connection.unregister("_gristmill_made")
    connection.unregister("_gristmill_rows")
    if joined.num_rows != made.num_rows:
        raise DataError(
            f"`{node.name}` gave {made.num_rows} rows, of which {joined.num_rows} match a row of {node.reads[0]}",
            code="GM-D016",
            where=str(node.place),
            hint=f"keep the key {', '.join(node.key)} of each row",
        )
    return joined.append_column(ORIGIN_MODEL, pa.array([model] * joined.num_rows, pa.string()))
