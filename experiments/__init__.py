"""One module per table row or table: `python -m experiments` lists them, `python -m experiments.NAME` runs one."""
