"""``gm.track``: record a training that runs anywhere, with what it read, its metrics and its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import UsageError

if TYPE_CHECKING:
    from gristmill.api.stores import Store
    from gristmill.api.tables import Table


class Training:
    """A training being recorded: ``t.metrics(...)``, ``t.files(path)``, ``t.parameters(...)``."""

    def __init__(self) -> None:
        self._metrics: dict[str, float] = {}
        self._parameters: dict[str, str] = {}
        self._folder: Path | None = None

    def metrics(self, **values: float) -> None:
        """Record figures, such as ``auc=0.71``; a later value of one name replaces the earlier."""
        self._metrics |= {name: float(value) for name, value in values.items()}

    def parameters(self, **values: object) -> None:
        """Record settings of the training."""
        self._parameters |= {name: repr(value) for name, value in values.items()}

    def files(self, folder: str | Path) -> None:
        """Keep the content of a folder as the model's files."""
        path = Path(folder)
        if not path.is_dir():
            raise UsageError(f"{path} is not a folder", code="GM-U116", hint="write the model's files into a folder")
        self._folder = path


@contextmanager
def track(
    name: str, *, reads: Mapping[str, Table], store: Store, on: str = "main", held: Table | None = None
) -> Iterator[Training]:
    """Record a training as one commit, on a clean exit; nothing on an error.

    Args:
        name: the model's dotted name.
        reads: the tables it is trained on, by role, such as ``{"train": table}``.
        store: where it is recorded.
        on: the branch.
        held: the table it is judged on; metrics compare only where it is the same.

    >>> import tempfile, pyarrow as pa, gristmill as gm
    >>> store = gm.open(tempfile.mkdtemp() + "/store", create=True)
    >>> rows = store["main"].create_table("train.rows", pa.schema({"x": pa.int64()}))
    >>> _ = rows.append([{"x": 1}, {"x": 2}])
    >>> with gm.track("models.mean", reads={"train": rows}, store=store) as t:
    ...     t.metrics(mean=1.5)
    >>> store.at("main").model("models.mean").metrics
    {'mean': 1.5}
    """
    from gristmill.run.models import ModelRecord, record_path

    training = Training()
    yield training
    engine = store.engine
    with engine.begin(on, message=f"train {name}") as tx:
        if training._folder is not None:
            tx.put_files(name, training._folder)
        record = ModelRecord(
            metrics=training._metrics,
            files=tx.files(name).id if name in tx.file_trees() else "",
            trained_on={table.name: _state(table) for table in reads.values()},
            held=held.name if held is not None else "",
            held_digest=_state(held)[1] if held is not None else "",
            held_rows=_state(held)[0] if held is not None else 0,
            parameters=training._parameters,
            read_at={table.name: table.commit for table in reads.values()},
        )
        tx.put_document(record_path(name), msgspec.json.encode(record, order="deterministic"))


def _state(table: Table) -> tuple[int, str]:
    snapshot = table.engine.snapshot(table.commit)
    return snapshot.table(table.name).row_count, snapshot.digest(table.name)
