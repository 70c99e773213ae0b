"""Writes docs/samples.md: ``python docs/samples_page.py``; a test keeps page and code together."""

from __future__ import annotations

from pathlib import Path

import json_page

from shufflenet_deploy import records
from shufflenet_deploy.report.sample_columns import ADDED, Column, columns

PAGE = Path(__file__).with_name("samples.md")

HEAD = """\
# Samples as a table

    shufflenet-deploy runs export last --out samples.parquet

writes one row per sample of the steady state, with everything that was recorded about its process:

| ending | content |
| :-- | :-- |
| `.csv` | the rows; the first line names the columns, a missing value is an empty field |
| `.parquet` | the rows, typed; needs pyarrow: `pip install 'shufflenet-deploy[parquet]'` |
| `.json` | the rows, one JSON array of objects |
| `.jsonl` | whole records, one a line, for `runs import`; with `--samples` the rows |

Without a suite it is all suites of the journal. Runs are read and written one by one, so a journal
may be larger than memory, and the file appears under its name when it is complete.

```python
import pandas as pd

rows = pd.read_parquet("samples.parquet")  # or read_csv, read_json; polars reads the same files
rows = rows[rows.counted]
process = rows.groupby(["cell_model", "cell_resolution", "process"]).value.median()
print(process.groupby(level=[0, 1]).median() / 1e6)  # ms: the medians of `table`
```

- The readings of `--energy` are in the records, not in the rows.
- Failed processes have no row (no sample), warm-up neither: both are in the records.
- All attempts at a process have rows; `counted` is false for those that tables leave out (see
  [Selection of attempts](measurement.md#selection-of-attempts)).
- A field of a nested record is named after its path: `target_kernel`, `before_load_1min`. Maps and
  lists are JSON text in one column.
- Times are ISO 8601 in UTC, in Parquet timestamps. Any value but those of `counted`, `unit`,
  `sample` and `value` may be missing.

This page is written from the records by `python docs/samples_page.py`; the objects are told in
[JSON](json.md#objects).

## Columns
"""


def page() -> str:
    """The whole page."""
    lines = ["| column | type | meaning |", "| :-- | :-- | :-- |"]
    lines += [f"| `{one.name}` | {one.kind} | {meaning(one)} |" for one in columns()]
    return f"{HEAD}\n" + "\n".join(lines) + "\n"


def meaning(column: Column) -> str:
    """What a column holds: the meaning of the field, as the page about JSON tells it."""
    if not column.owner:
        return ADDED[column.name][1]
    about = json_page.documented(getattr(records, column.owner).__doc__ or "")
    told = json_page.meaning(column.owner, column.field, about)
    return told.replace("see above", f"see [{column.owner}](json.md#{column.owner.lower()})")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
