"""A table for the terminal whose columns go on below where they do not fit side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

PADDING = 1
GAP = PADDING + 1  # between columns: the box has a blank there
LONGEST = 24  # letters of a heading's line


class WideTable:
    """A table of numbers. No heading and no number is ever cut: columns that do not fit follow in another block.

    Args:
        corner: Heading of the first column.
        columns: Headings of the others; they break before ``+`` and after ``@``.
        rows: Of each row its name and a cell per column.
        apart: How many rows at the end stand below a line.
    """

    def __init__(
        self, corner: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Text]]], *, apart: int = 0
    ) -> None:
        self.corner, self.rows, self.apart = corner, rows, apart
        self.headings = [column.replace("+", "\n+").replace("@", "@\n") for column in columns]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, columns in enumerate(self.blocks(options.max_width)):
            if number:
                yield Text()
            yield self.table(columns)

    def blocks(self, width: int) -> Iterator[list[int]]:
        """Columns that fit side by side, in order; one at least."""
        first = max(len(self.corner), *(len(name) for name, _ in self.rows)) + GAP
        block, left = [], width - first
        for column in range(len(self.headings)):
            needed = self.width(column) + GAP
            if block and needed > left:
                yield block
                block, left = [], width - first
            block.append(column)
            left -= needed
        yield block

    def width(self, column: int) -> int:
        """Letters that a column needs."""
        lines = [min(len(line), LONGEST) for line in self.headings[column].split("\n")]
        return max(*lines, *(len(cells[column]) for _, cells in self.rows))

    def table(self, columns: Sequence[int]) -> Table:
        """One block."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, PADDING, 0, 0))
        table.add_column(self.corner, no_wrap=True)
        for column in columns:
            heading = self.headings[column]
            table.add_column(heading, justify="right", vertical="bottom", overflow="fold", width=self.width(column))
        for number, (name, cells) in enumerate(self.rows, 1):
            last = number == len(self.rows) - self.apart
            table.add_row(Text(name), *(cells[column] for column in columns), end_section=last)
        return table
