"""A batch is searched; where it fails as a whole, each of its rows by itself."""

from __future__ import annotations

from beamgen.batch.answers import Answer, answered, failed
from beamgen.batch.plan import Batch
from beamgen.runtime.generator import Generator


def search(generator: Generator, batch: Batch) -> list[Answer]:
    """What becomes of each row of a batch; nothing is raised."""
    try:
        found = generator.answer(batch.requests)
    except Exception as error:  # of one row, or because the batch was too much
        if len(batch.rows) == 1:
            return [failed(batch.rows[0], error)]
        return [answer for single in batch.alone() for answer in search(generator, single)]
    return [answered(row, each) for row, each in zip(batch.rows, found, strict=True)]
