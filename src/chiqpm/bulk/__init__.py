"""Many images: folders of any size into a file of predictions that can be continued."""

from __future__ import annotations

from chiqpm.bulk.listing import count_pictures, list_pictures
from chiqpm.bulk.loading import Chunk, load_chunks
from chiqpm.bulk.rows import COLUMNS
from chiqpm.bulk.run import Summary, predict_files

__all__ = ["COLUMNS", "Chunk", "Summary", "count_pictures", "list_pictures", "load_chunks", "predict_files"]
