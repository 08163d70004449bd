"""The job in Spark Structured Streaming, one core, as its guide tunes small state.

One shuffle partition for the one core, the dimension table cached and broadcast, update mode, a checkpoint; state in
memory with files in the checkpoint (the default provider) unless ``rocksdb`` is asked for; no user interface, and no
batches without data.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"


def main(root: Path, *words: str) -> None:
    out = root / "out"
    made = (
        SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.log.level", "ERROR")
    )
    made = made.config("spark.sql.shuffle.partitions", "1").config("spark.sql.session.timeZone", "UTC")
    made = made.config("spark.sql.streaming.noDataMicroBatches.enabled", "false")
    if "rocksdb" in words:
        made = made.config("spark.sql.streaming.stateStore.providerClass", ROCKSDB)
        made = made.config("spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled", "true")
    spark = made.getOrCreate()
    items = spark.read.parquet(str(root / "items.parquet")).cache()
    read = spark.readStream.schema("n LONG, item LONG, amount LONG, at TIMESTAMP").option("maxFilesPerTrigger", 10)
    kept = read.json(str(root / "in")).where("amount > 0").withWatermark("at", "2 minutes")
    grouped = kept.join(F.broadcast(items), "item").groupBy(F.window("at", "5 minutes"), "shop")
    found = grouped.agg(F.count("*").alias("n"), F.sum(F.col("amount") * F.col("price")).alias("value"))

    def write(rows: DataFrame, number: int) -> None:
        columns = ("cast(window.start AS LONG) AS start", "shop", "n", "value")
        lines = [json.dumps(row.asDict()) + "\n" for row in rows.selectExpr(*columns).collect()]
        part = out / f"{number:09}.part"
        part.write_text("".join(lines))
        part.replace(part.with_suffix(".ndjson"))

    writer = found.writeStream.outputMode("update").foreachBatch(write)
    writer.option("checkpointLocation", str(root / "checkpoint")).start().awaitTermination()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
