"""Windows that engines have finished in any order, committed in the order of the source."""

from fastneurons.store import StoreWriter, Window, WrittenWindow


class FinishedWindows:
    """Windows that are finished and not committed.

    Of those that engines have written, this process holds the sums, added up for each stretch without a gap.
    """

    def __init__(self) -> None:
        # By first example; windows that follow each other without a gap are one.
        self._windows: dict[int, WrittenWindow | Window] = {}

    @property
    def last(self) -> int:
        """First example of the last stretch; -1 if there is none."""
        return max(self._windows, default=-1)

    def add(self, first: int, window: WrittenWindow | Window) -> None:
        """Add a window to the stretch that it continues, so that sums of many windows are kept as one."""
        self._windows[first] = window
        if isinstance(window, Window):
            return
        for before, stretch in list(self._windows.items()):
            if isinstance(stretch, WrittenWindow) and stretch.end == window.first:
                del self._windows[window.first]
                window = self._windows[before] = stretch.followed_by(window)
                break
        after = self._windows.get(window.end)
        if isinstance(after, WrittenWindow):
            del self._windows[after.first]
            self._windows[window.first] = window.followed_by(after)

    def commit(self, writer: StoreWriter, all_of_it: bool = False) -> None:
        """Commit what follows the commit mark; unless all of it is wanted, without waiting for a commit under way.

        Raises:
            StoreError: this or the commit before failed.
        """
        if writer.is_busy and not all_of_it:
            return
        writer.wait()
        while (ready := self._windows.pop(writer.committed, None)) is not None:
            if isinstance(ready, WrittenWindow):
                writer.commit_written(ready)
            else:
                writer.commit(ready)
            if not all_of_it:
                return
            writer.wait()
