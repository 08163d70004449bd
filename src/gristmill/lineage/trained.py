"""The models behind predictions, and the state of the tables that they were trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.errors import NotFound
from gristmill.lineage.stored import Rows, made_at
from gristmill.lineage.values import Trace, Trained
from gristmill.run.models import ORIGIN_MODEL, load_model

if TYPE_CHECKING:
    from gristmill.run.witnesses import Witnesses
    from gristmill.store import Snapshot


def models_of(reader: Rows, found: Trace, ways: Witnesses) -> tuple[Trained, ...]:
    """Return the models that made some predictions, with the commit at which their training tables stand."""
    assert ways.model is not None
    rows = reader.by_id(found.commit, found.table, found.ids, f'"{ORIGIN_MODEL}"', hidden=True)
    ids = sorted(set(rows.column(0).to_pylist()))
    return tuple(_trained(reader, found.commit, ways.model, files) for files in ids)


def view_with(reader: Rows, commit: str, name: str, files: str) -> Snapshot:
    """Return the newest state, at a commit or before, in which a model consists of these files; raises NotFound."""
    for older in reader.store.log(commit):
        view = reader.at(older.id)
        if name in view.file_trees() and view.files(name).id == files:
            return view
    raise NotFound(f"no commit before {commit[:7]} holds the model `{name}` with the files {files[:12]}")


def _trained(reader: Rows, commit: str, name: str, files: str) -> Trained:
    try:
        view = view_with(reader, commit, name, files)
    except NotFound:
        return Trained(name=name, files=files, commit=None)
    record = load_model(view, name)
    if record is None:
        return Trained(name=name, files=files, commit=None)
    return Trained(
        name=name,
        files=files,
        commit=made_at(reader.store, view.commit.id, name),
        run=record.run,
        metrics=dict(record.metrics),
        trained_on={table: rows for table, (rows, _) in record.trained_on.items()},
        held=record.held,
    )
