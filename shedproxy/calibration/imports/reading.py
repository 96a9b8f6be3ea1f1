"""Which tool a file is from, and the record of what it says."""

from __future__ import annotations

from collections.abc import Sequence

from shedproxy.calibration.imports.histogram_log import is_histogram_log, read_histogram_log
from shedproxy.calibration.imports.k6_summary import is_k6_summary, read_k6_summary
from shedproxy.calibration.imports.load_record import LoadRecord, Loop
from shedproxy.calibration.imports.locust_csv import locust_csv_kind, read_locust_csv
from shedproxy.calibration.imports.locust_json import is_locust_json, read_locust_json
from shedproxy.calibration.imports.percentile_text import (
    percentile_text_kind,
    read_percentile_text,
)
from shedproxy.calibration.imports.source_text import SourceText

__all__ = ["READABLE", "read_records"]

READABLE = (
    "Locust's CSV and JSON, k6's JSON summaries, HdrHistogram's .hgrm and logs, and what wrk2, wrk"
    " and hey print"
)


def read_records(
    sources: Sequence[SourceText], *, loop: Loop | None = None, unit: str | None = None
) -> list[LoadRecord]:
    """A record a run: Locust's CSV files are of one, any other file is one of its own.

    Args:
        sources: the files.
        loop: how the load was made, where the caller knows better than the file.
        unit: of values whose file names none, a key of `UNITS_NS`.

    Raises:
        DocumentInvalidError: a file is of no known kind, or damaged; with file and line.
    """
    tables = [source for source in sources if locust_csv_kind(source) is not None]
    records = [read_locust_csv(tables, loop=loop)] if tables else []
    records += [_read(source, loop, unit) for source in sources if locust_csv_kind(source) is None]
    return records


def _read(source: SourceText, loop: Loop | None, unit: str | None) -> LoadRecord:
    if not source.text.strip():
        raise source.invalid("an empty file")
    if source.text.lstrip()[0] in "{[":
        value = source.as_json()
        if is_k6_summary(value):
            return read_k6_summary(source, loop=loop)
        if is_locust_json(value):
            return read_locust_json(source, loop=loop)
    elif is_histogram_log(source):
        return read_histogram_log(source, unit=unit, loop=loop)
    elif percentile_text_kind(source) is not None:
        return read_percentile_text(source, unit=unit, loop=loop)
    raise source.invalid("not a result of a known tool", line=1, help=f"can be read: {READABLE}")
