"""The runner of the benchmark harness: who is measured (field), what is run (rows, macro), how (measure,
schedule), what it means (estimate), and what is left behind (table, output, page)."""
