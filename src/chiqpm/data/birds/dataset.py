"""Synthetic birds as a data set: every image is rendered on demand from its species and its seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from chiqpm.data.birds.rendering import BirdImage, render
from chiqpm.data.birds.taxonomy import BirdsConfig, Taxonomy, make_taxonomy, swap
from chiqpm.errors import ChiqpmError

Split = Literal["train", "calibration", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
MAX_PER_CLASS = 2**20


class SyntheticBirds:
    """One split of a set of synthetic birds, balanced over the species.

    An image's seed is made of the configuration's seed, the split, the class and the number within the class:
    splits never share a seed, and the first images stay the same when `per_class` grows.

    Args:
        config: the species and the image size.
        split: `train`, `calibration` or `test`.
        per_class: images of each species, 1 to 2**20.

    Attributes:
        config: as given.
        split: as given.
        per_class: as given.
        taxonomy: the species.
        labels_N: (N) class index of each image.
        names: (N) path of each image relative to the data folder, with forward slashes.

    Raises:
        ChiqpmError: unknown split, or `per_class` out of range.

    >>> birds = SyntheticBirds(BirdsConfig(image_size=64), "test", per_class=2)
    >>> len(birds), birds.render(0).image.size
    (96, (64, 64))
    """

    def __init__(self, config: BirdsConfig, split: Split, per_class: int) -> None:
        if split not in SPLITS:
            raise ChiqpmError(f"birds: split = {split!r}; splits: {', '.join(SPLITS)}.")
        if isinstance(per_class, bool) or not isinstance(per_class, int) or not 1 <= per_class <= MAX_PER_CLASS:
            raise ChiqpmError(
                f"birds: {per_class!r} {split} images a class; give a whole number from 1 to {MAX_PER_CLASS}."
            )
        self.config = config
        self.split: Split = split
        self.per_class = per_class
        self.taxonomy: Taxonomy = make_taxonomy(config)
        self.labels_N: NDArray[np.int64] = np.repeat(np.arange(config.num_species), per_class)
        self.names = tuple(
            f"{split}/{name}/{name}_{number:04d}.jpg"
            for name in self.taxonomy.class_names
            for number in range(per_class)
        )
        self._index = {name: index for index, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """(C) names of the species, alphabetical."""
        return self.taxonomy.class_names

    def image_seed(self, index: int) -> int:
        """The seed from which image `index` is drawn.

        Raises:
            ChiqpmError: there is no such image.
        """
        label, number = divmod(self._checked(index), self.per_class)
        return split_seed(self.config, self.split) + label * MAX_PER_CLASS + number

    def species(self, index: int) -> dict[str, str]:
        """The attributes of the bird in image `index`.

        Raises:
            ChiqpmError: there is no such image.
        """
        return dict(self.taxonomy.species[int(self.labels_N[self._checked(index)])])

    def render(
        self,
        index: int,
        changes: Mapping[str, str] | None = None,
        *,
        remove: str | None = None,
        masks: bool = True,
    ) -> BirdImage:
        """Render image `index`, or its counterfactual.

        Args:
            index: 0 to len - 1.
            changes: attribute -> value that the bird has instead of its own.
            remove: a part that the bird lacks, or None.
            masks: also give the part masks.

        Returns:
            The picture (before any JPEG compression) and its masks.

        Raises:
            ChiqpmError: there is no such image, attribute, value or part.
        """
        species = self.species(index)
        for attribute, value in (changes or {}).items():
            species = swap(species, attribute, value)
        return render(species, self.image_seed(index), self.config.image_size, remove=remove, masks=masks)

    def index_of(self, path: str | PurePath) -> int:
        """The index of an image from its path, of which the last three components count.

        Raises:
            ChiqpmError: the path does not name an image of this split.
        """
        name = "/".join(PurePath(path).parts[-3:])
        if name not in self._index:
            raise ChiqpmError(
                f"birds: {str(path)!r} is none of the {len(self)} {self.split} images; "
                f"they are named like {self.names[0]}."
            )
        return self._index[name]

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise ChiqpmError(f"birds: image {index!r} of {len(self)}; give 0 to {len(self) - 1}.")
        return int(index)


def split_seed(config: BirdsConfig, split: Split) -> int:
    """The seed of the first image of a split; those of its classes follow at distances of 2**20."""
    return (config.seed << 32) + (SPLITS.index(split) << 30)
