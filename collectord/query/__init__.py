"""Questions to what has been collected, and to what still waits in the log: a subset of KQL, and SQL.

A question in KQL becomes an abstract syntax (`tokens`, `parse`, `syntax`), then SQL with bound parameters (`scalars`, `aggregates`,
`translate`), which DuckDB answers over Arrow batches that are read while it asks for them (`tables`, `landed`, `waiting`).

Promises: a text given as KQL gives a result or a `KqlError` that points into the text. DuckDB sees the tables of the question and
nothing else: no file, no network. A row that lands while a question is answered is in the answer once.

Only `engine` imports duckdb, which is an extra: `pip install collectord[query]`.
"""
