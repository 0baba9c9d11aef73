"""The files of a result folder: result.json with everything, and one micro-NAME.json per allocator in Google
Benchmark's own schema, for its compare.py."""

import json
import math
import os
from dataclasses import asdict

from .estimate import compare_row, overall
from .field import REFERENCE
from .table import METRICS, values_of, votes_of


def finite(value):
    """JSON has neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell_document(cell):
    document = {key: finite(value) for key, value in asdict(cell.estimate).items()}
    document.update(
        ratio_to_best=finite(cell.to_best),
        ratio_to_reference=finite(cell.to_reference),
        level_with_best=cell.level_with_best,
        against_reference=cell.against_reference,
    )
    return document


def sample_document(sample):
    document = asdict(sample)
    del document["library_entry"]
    return document


def row_document(row):
    return {
        "name": row.name,
        "group": row.group,
        "kind": row.kind,
        "failures": row.failures,
        "system_calls": row.system_calls,
        "estimates": {
            metric: {
                name: cell_document(cell)
                for name, cell in compare_row(values_of(row, metric), REFERENCE).items()
            }
            for metric in METRICS
        },
        "samples": {
            name: [sample_document(sample) for sample in samples] for name, samples in row.samples.items()
        },
    }


def result_document(rows, field, machine, settings):
    return {
        "machine": machine,
        "settings": settings,
        "reference": REFERENCE,
        "allocators": [asdict(allocator) for allocator in field],
        "overall": {
            metric: {
                name: {key: finite(value) for key, value in asdict(result).items()}
                for name, result in overall(votes_of(rows, metric), REFERENCE).items()
            }
            for metric in ("time", "cpu", "rss")
        },
        "rows": [row_document(row) for row in rows],
    }


def library_document(rows, name, context):
    """Google Benchmark's schema: one entry per repetition, as if one process had made them all."""
    entries = []
    for family, row in enumerate(row for row in rows if row.kind == "micro"):
        samples = row.samples.get(name, [])
        for index, sample in enumerate(samples):
            entry = dict(
                sample.library_entry,
                family_index=family,
                per_family_instance_index=0,
                repetitions=len(samples),
                repetition_index=index,
            )
            entries.append(entry)
    return {"context": context, "benchmarks": entries}


def write_json(path, document):
    """Whole or not at all: a reader never sees half a file."""
    temporary = path + ".part"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, allow_nan=False)
        file.write("\n")
    os.replace(temporary, path)


def write_all(folder, rows, field, machine, settings, context):
    os.makedirs(folder, exist_ok=True)
    document = result_document(rows, field, machine, settings)
    write_json(os.path.join(folder, "result.json"), document)
    if any(row.kind == "micro" for row in rows):
        for allocator in field:
            write_json(
                os.path.join(folder, f"micro-{allocator.name}.json"),
                library_document(rows, allocator.name, context),
            )
    return document
