"""What SQLite says of a database's tables, to compare two databases by."""

import sqlite3


def describe_tables(connection: sqlite3.Connection):
    """Columns and keys of all tables; white space within a type or default does not count."""
    created = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    )
    return {
        name: [
            [
                tuple(
                    "".join(cell.split()) if i in (2, 4) and cell else cell
                    for i, cell in enumerate(row)
                )
                for row in connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,))
            ],
            connection.execute("SELECT * FROM pragma_foreign_key_list(?)", (name,)).fetchall(),
            sorted(
                row[2:]
                for row in connection.execute("SELECT * FROM pragma_index_list(?)", (name,))
                if row[3] != "c"
            ),
        ]
        for (name,) in created.fetchall()
    }
