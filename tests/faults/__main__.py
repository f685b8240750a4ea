"""``python -m tests.faults`` writes the tables of docs/when-something-is-down.md."""

from tests.faults.page import PAGE, page_with_tables

PAGE.write_text(page_with_tables(PAGE.read_text()))
