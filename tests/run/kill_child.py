"""Follows a stream and kills itself at a step given by chance; a test starts it again until everything is there.

Steps are counted at every call into the store's catalog and the kernel, so that a kill falls before, within and after
a commit.
"""

import os
import random
import signal
import sys
from pathlib import Path

from gristmill.store.catalog import Catalog
from tests.run.streams import project


def main() -> None:
    root, seed, most = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    left = [rng.randrange(1, most)]

    def step() -> None:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    write, rows = Catalog.write, Catalog.rows

    def counted_write(self, *given, **more):  # type: ignore[no-untyped-def]
        step()
        return Around(write(self, *given, **more))

    def counted_rows(self, *given, **more):  # type: ignore[no-untyped-def]
        step()
        return rows(self, *given, **more)

    class Around:
        def __init__(self, inner) -> None:  # type: ignore[no-untyped-def]
            self.inner = inner

        def __enter__(self):  # type: ignore[no-untyped-def]
            found = self.inner.__enter__()
            step()
            return found

        def __exit__(self, *rest: object):  # type: ignore[no-untyped-def]
            step()
            done = self.inner.__exit__(*rest)
            step()
            return done

    Catalog.write, Catalog.rows = counted_write, counted_rows  # type: ignore[method-assign]
    project(root).stream(until_end=True, max_rows=rng.choice([5, 20, 60]))


if __name__ == "__main__":
    main()
