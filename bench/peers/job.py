"""The job: parse JSON, keep amounts above 0, look up 100,000 items, count and sum by shop in windows of 5 minutes.

Every engine's script gets a folder, and where it reads Kafka the broker and the topic; results go to ``out`` in the
folder, or to the topic ``TOPIC-out``, as JSON with ``start`` (epoch seconds), ``shop``, ``n`` and ``value``, a later
one for the same window and shop in place of an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ITEMS, SHOPS, WINDOW_S, BOUND_S, JITTER_S = 100_000, 50, 300, 120, 15
START_S = 1_767_225_600


def shop_of(item: np.ndarray) -> np.ndarray:
    """Return the shop of each item."""
    return item * 7919 % SHOPS


def price_of(item: np.ndarray) -> np.ndarray:
    """Return the price of each item."""
    return item % 97


def write_items(path: Path) -> None:
    """Write the dimension table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    item = np.arange(ITEMS)
    pq.write_table(pa.table({"item": item, "shop": shop_of(item), "price": price_of(item)}), path)


def read_items(path: Path) -> dict[int, tuple[int, int]]:
    """Return shop and price by item."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    shops, prices = table["shop"].to_pylist(), table["price"].to_pylist()
    return dict(zip(table["item"].to_pylist(), zip(shops, prices, strict=True), strict=True))


@dataclass
class Events:
    """Makes rows, a window of event time after the other, and knows what must come out.

    ``expected`` is count and sum by window and shop; ``passing`` counts the rows of each window that pass the filter.
    """

    seed: int = 1
    windows: int = 0
    rows: int = 0
    expected: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    passing: dict[int, int] = field(default_factory=dict)

    def window(self, rows: int) -> list[tuple[int, str]]:
        """Return the rows of one more window, each with its shop; some come a few seconds out of order."""
        rng = np.random.default_rng((self.seed, self.windows))
        item, amount = rng.integers(0, ITEMS, rows), rng.integers(-10, 90, rows)
        at = self.windows * WINDOW_S + np.arange(rows) * WINDOW_S // rows + rng.integers(-JITTER_S, JITTER_S, rows)
        return self._rows(item, amount, np.maximum(at, 0))

    def last(self) -> list[tuple[int, str]]:
        """Return one row for each shop, hours later, which makes everything before it final."""
        by_shop = np.unique(shop_of(np.arange(ITEMS)), return_index=True)[1]
        self.windows += 100
        at = np.full(len(by_shop), self.windows * WINDOW_S)
        return self._rows(by_shop, np.ones(len(by_shop), dtype=np.int64), at)

    def _rows(self, item: np.ndarray, amount: np.ndarray, at: np.ndarray) -> list[tuple[int, str]]:
        shop, value = shop_of(item), amount * price_of(item)
        window, keep = at // WINDOW_S, amount > 0
        for w, s, v in zip(window[keep].tolist(), shop[keep].tolist(), value[keep].tolist(), strict=True):
            n, total = self.expected.get((w, s), (0, 0))
            self.expected[w, s] = (n + 1, total + v)
            self.passing[w] = self.passing.get(w, 0) + 1
        moments = np.datetime_as_string((START_S + at).astype("datetime64[s]")).tolist()
        found = [
            (s, f'{{"n":{self.rows + i},"item":{one},"amount":{a},"at":"{moment}Z"}}')
            for i, (s, one, a, moment) in enumerate(
                zip(shop.tolist(), item.tolist(), amount.tolist(), moments, strict=True)
            )
        ]
        self.rows += len(found)
        self.windows += 1
        return found

    def visible(self, *, closed: bool) -> int:
        """Return how many rows are in results once all that was made is done; of closed windows only, if so asked."""
        end = self.windows - 1 if closed else self.windows
        return sum(count for window, count in self.passing.items() if window < end)
