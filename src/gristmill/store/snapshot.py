"""Reading one fixed state of everything."""

from __future__ import annotations

from gristmill.model.commits import Commit
from gristmill.store.view import View


class Snapshot(View):
    """The state at a commit; never changes, whatever happens to the branch it was taken from."""

    @property
    def commit(self) -> Commit:
        """The commit this is the state of."""
        assert self._commit is not None
        return self._commit
