"""Tables that are Markdown and read well in a terminal."""
from collections.abc import Sequence

from prettytable import PrettyTable, TableStyle


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, its columns aligned to the left."""
    table = PrettyTable(list(header))
    table.set_style(TableStyle.MARKDOWN)
    table.align = 'l'
    table.add_rows(rows)
    return str(table)
