"""Inputs with their predictions, row by row, as one CSV. Needs DuckDB; reads any codec, also several at once.

python examples/join.py collectord-data/store/sub/group/workspace/aks-w-collv9/best_model/10 2018/03 > march.csv
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import duckdb

KEYS = ("$aml_dc_correlation_id", "$aml_dc_row")


def table(connection: duckdb.DuckDBPyConnection, model: Path, designation: str, month: str) -> duckdb.DuckDBPyRelation:
    """All blobs of a month, whatever columns their parts have. Raises SystemExit if there are none."""
    names = sorted(map(str, (model / designation / month).glob("*/*.csv*")))
    if not names:
        raise SystemExit(f"nothing has landed in {model / designation / month}")
    return connection.sql(
        """SELECT * FROM read_csv(?, header = true, delim = ',', quote = '"', escape = '"', union_by_name = true,
           nullstr = '', allow_quoted_nulls = false)""",
        params=[names],
    )


def main(model: str, month: str) -> None:
    """Prints the month."""
    connection = duckdb.connect()
    inputs, predictions = (table(connection, Path(model), name, month) for name in ("inputs", "predictions"))
    keys = ", ".join(f'"{key}"' for key in KEYS)
    # Names, ids and times of a prediction are those of its inputs: only what the model said is added.
    said = [name for name in predictions.columns if not name.startswith("$aml_")]
    columns = ", ".join(
        f'p."{name}" AS "{name if name not in inputs.columns else f"predicted {name}"}"' for name in said
    )
    joined = connection.sql(f"SELECT i.*, {columns} FROM inputs AS i JOIN predictions AS p USING ({keys})")
    # Not to /dev/stdout: that would empty the file of a `>>` first.
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "joined.csv"
        joined.write_csv(str(whole), header=True)
        with whole.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
