"""The job in Bytewax: Kafka in and out, one worker, recovery on, its intervals as they are by default.

A window's result leaves when the window closes; there is no operator that gives it earlier. The dimension table is a
dictionary in memory. Fetches are short, since the mock cluster answers a waiting one only at its end.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax._bytewax import cli_main
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from job import BOUND_S, START_S, WINDOW_S, read_items

Row = tuple[datetime, int]


def flow_of(root: Path, brokers: str, topic: str) -> Dataflow:
    items = read_items(root / "items.parquet")
    flow = Dataflow("windows")
    given = kop.input("in", flow, brokers=[brokers], topics=[topic], add_config={"fetch.wait.max.ms": "10"})

    def parsed(message: object) -> tuple[str, Row] | None:
        row = json.loads(message.value)
        if row["amount"] <= 0:
            return None
        shop, price = items[row["item"]]
        return str(shop), (datetime.fromisoformat(row["at"]), row["amount"] * price)

    rows = op.filter_map("rows", given.oks, parsed)
    clock = win.EventClock(lambda row: row[0], wait_for_system_duration=timedelta(seconds=BOUND_S))
    windows = win.TumblingWindower(align_to=datetime.fromtimestamp(START_S, UTC), length=timedelta(seconds=WINDOW_S))
    found = win.fold_window(
        "windows",
        rows,
        clock,
        windows,
        lambda: (0, 0),
        lambda held, row: (held[0] + 1, held[1] + row[1]),
        lambda a, b: (a[0] + b[0], a[1] + b[1]),
        ordered=False,
    )

    def message(result: tuple[str, tuple[int, tuple[int, int]]]) -> KafkaSinkMessage[bytes, bytes]:
        shop, (number, (n, value)) = result
        body = {"start": START_S + number * WINDOW_S, "shop": int(shop), "n": n, "value": value}
        return KafkaSinkMessage(shop.encode(), json.dumps(body).encode())

    kop.output("out", op.map("message", found.down, message), brokers=[brokers], topic=f"{topic}-out")
    return flow


def main(root: Path, brokers: str, topic: str) -> None:
    kept = root / "recovery"
    if not kept.exists():
        kept.mkdir()
        init_db_dir(kept, 1)
    cli_main(
        flow_of(root, brokers, topic),
        epoch_interval=timedelta(seconds=10),
        recovery_config=RecoveryConfig(str(kept), timedelta(0)),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
