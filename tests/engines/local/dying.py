"""A worker that dies on its first piece of work, once for each file that is not there yet; then it works."""

import os
import signal
import sys
from pathlib import Path

from gristmill.engines.kernel import Kernel
from gristmill.engines.local import serve
from gristmill.engines.task import answer


def main() -> None:
    """Serve; ``sys.argv[3]`` is a folder, ``sys.argv[4]`` how many deaths there are to be."""
    folder, deaths = Path(sys.argv[3]), int(sys.argv[4])
    with Kernel(threads=1) as kernel:

        def answered(message: bytes) -> bytes:
            made = answer(kernel, message)
            for number in range(deaths):
                try:
                    (folder / str(number)).touch(exist_ok=False)
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
            return made

        serve(answered)


if __name__ == "__main__":
    main()
