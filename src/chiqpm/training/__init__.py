"""One training loop, two stages, with checkpoints."""

from chiqpm.training.batches import Batches, CachedBatches, ImageBatches
from chiqpm.training.loop import EpochRecord, TrainingDivergedError
from chiqpm.training.share import Batch, Rows, Share
from chiqpm.training.stages import fine_tune, train_dense

__all__ = [
    "Batch",
    "Batches",
    "CachedBatches",
    "EpochRecord",
    "ImageBatches",
    "Rows",
    "Share",
    "TrainingDivergedError",
    "fine_tune",
    "train_dense",
]
