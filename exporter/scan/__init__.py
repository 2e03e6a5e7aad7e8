"""Reading one project: the interface of a data source, the parsing of its items, and full or incremental listings."""
