"""The command `pack`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from chiqpm.cli.common import Common, write, write_json
from chiqpm.config import DataConfig, DatasetName


@dataclass(frozen=True, kw_only=True)
class Pack(Common):
    """Pack images into WebDataset shards: a few large files instead of many small ones, for `chiqpm fit`."""

    images: Annotated[Positional[Path], arg(metavar="DIR")]
    """A folder of images, or a published data set."""
    out: Path
    """The folder of the shards."""
    shard_megabytes: int = 500
    """Size of a shard."""
    seed: int = 0
    """Seed of the split, where the images aren't split yet, and of the order of the images."""
    dataset: DatasetName = "auto"
    """What the folder is; `auto` looks at its content."""
    crop_to_box: bool = False
    """Cut every picture to its object's box, where the data set comes with boxes."""

    def run(self) -> None:
        """Write the shards."""
        from chiqpm.data import open_folder, split, write_shards
        from chiqpm.progress import steps

        config = DataConfig(
            dataset=self.dataset, crop_to_box=self.crop_to_box, split_seed=self.seed, find_duplicates=False
        )
        table = open_folder(self.images, config, progress=steps("reading images", quiet=self.quiet))
        count = write_shards(
            split(table, config),
            self.out,
            shard_megabytes=self.shard_megabytes,
            seed=self.seed,
            progress=steps("packing", quiet=self.quiet),
        )
        if self.json:
            write_json({"folder": str(self.out), "shards": count, "images": len(table)})
        else:
            write(f"Packed {len(table)} images into {count} shards. Next: chiqpm fit {self.out} --out runs/mine")
