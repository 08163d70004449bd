"""The room's door: light to import, every promised name behind it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gristmill import connect


def test_declaring_sources_loads_no_engine() -> None:
    code = (
        "import sys; from gristmill import connect; connect.files('a/*.csv', encoding='latin-1');"
        "print(sorted({'pyarrow', 'numpy', 'duckdb', 'pandas', 'ibis', 'fsspec'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_name_is_there() -> None:
    assert all(getattr(connect, name) for name in connect.__all__)


def test_shapes_and_sources_can_be_stored() -> None:
    import msgspec

    shape = connect.Shape(columns=(connect.Column("a", "int64"),), dialect=connect.Dialect())
    assert msgspec.json.decode(msgspec.json.encode(shape), type=connect.Shape) == shape
    source = connect.files("a/*.csv", nulls=["NA"], header=["a"])
    assert msgspec.json.decode(msgspec.json.encode(source), type=connect.FilesSource) == source


def test_no_public_name_is_that_of_a_file_which_would_hide_it_once_imported() -> None:
    files = {path.stem for path in Path(connect.__file__).parent.glob("*.py")}
    assert not files & set(connect.__all__)
