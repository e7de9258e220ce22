"""Which synthetic species exist: families of genera of siblings, each a choice of discrete attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from chiqpm.errors import ChiqpmError

PARTS = ("beak", "face", "crest", "wing", "breast", "tail", "legs")
"""The parts that carry attributes; the rest of a bird is its body, which carries none."""

ATTRIBUTE_PART: Mapping[str, str] = {
    "beak_shape": "beak",
    "beak_colour": "beak",
    "crest": "crest",
    "face": "face",
    "wing": "wing",
    "breast": "breast",
    "breast_colour": "breast",
    "tail": "tail",
    "tail_mark": "tail",
    "leg_colour": "legs",
}
"""Attribute -> the part on which it is drawn."""

ATTRIBUTE_VALUES: Mapping[str, tuple[str, ...]] = {
    "beak_shape": ("cone", "dagger", "hook", "spoon"),
    "beak_colour": ("black", "yellow", "red", "white"),
    "crest": ("none", "spike", "fan", "plume"),
    "face": ("plain", "mask", "brow", "cheek"),
    "wing": ("plain", "bars", "spots", "edge"),
    "breast": ("plain", "spots", "streaks", "bib"),
    "breast_colour": ("white", "yellow", "rose", "sky"),
    "tail": ("fan", "fork", "pin", "paddle"),
    "tail_mark": ("plain", "barred", "tipped"),
    "leg_colour": ("black", "yellow", "red", "blue"),
}
"""Attribute -> the values that it can take."""

_FAMILY_NAMES = (
    "Bunting", "Jay", "Wren", "Finch", "Shrike", "Tanager", "Oriole", "Lark",
    "Auk", "Babbler", "Cuckoo", "Dipper", "Egret", "Flycatcher", "Grosbeak", "Hoopoe",
    "Ibis", "Junco", "Kingfisher", "Linnet", "Martin", "Nuthatch", "Ovenbird", "Pipit",
    "Quail", "Robin", "Sparrow", "Thrush", "Vireo", "Warbler", "Motmot", "Barbet",
    "Starling", "Waxwing", "Petrel", "Swift", "Plover", "Dove", "Heron", "Crake",
)  # fmt: skip
_GENUS_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

MAX_FAMILIES = len(_FAMILY_NAMES)
MAX_GENERA = len(_GENUS_LETTERS)
MAX_SIBLINGS = max(len(values) for values in ATTRIBUTE_VALUES.values())
MAX_SPECIES = 400


@dataclass(frozen=True, kw_only=True)
class BirdsConfig:
    """Everything that determines a set of synthetic birds.

    Attributes:
        families: number of families, 1 to 40; families differ in many attributes.
        genera: genera in each family, 1 to 26; they share several attributes.
        siblings: species in each genus, 1 to 4; they differ in exactly one attribute.
        image_size: side of an image in pixels, 32 to 1024.
        seed: seed of the species and of every image, 0 or larger.

    Raises:
        ChiqpmError: a value is outside its range, or there would be fewer than 2 or more than 400 species.
    """

    families: int = 8
    genera: int = 3
    siblings: int = 2
    image_size: int = 160
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "families": (1, MAX_FAMILIES),
            "genera": (1, MAX_GENERA),
            "siblings": (1, MAX_SIBLINGS),
            "image_size": (32, 1024),
            "seed": (0, 2**31 - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ChiqpmError(f"birds: {name} = {value!r}; give a whole number from {low} to {high}.")
        if not 2 <= self.num_species <= MAX_SPECIES:
            raise ChiqpmError(
                f"birds: families × genera × siblings = {self.families} × {self.genera} × {self.siblings} = "
                f"{self.num_species} species; 2 to {MAX_SPECIES} are possible: change one of the three."
            )

    @property
    def num_species(self) -> int:
        """Number of species (classes)."""
        return self.families * self.genera * self.siblings


@dataclass(frozen=True, kw_only=True, eq=False)
class Taxonomy:
    """The species of one configuration; class indices follow the alphabetical order of `class_names`.

    Attributes:
        class_names: (C) names that are safe as folder names, such as `jay-b-bib-breast`.
        pretty_names: (C) names for people, such as `Jay B, bib breast`.
        species: (C) attribute -> value.
        attributes_CA: (C, A) 1.0 where the class has that attribute value, else 0.0.
        attribute_value_names: (A) `attribute=value`, the columns of `attributes_CA`.
        family_C: (C) index of the family of each class.
        genus_C: (C) index of the genus of each class, counted over all families.
    """

    class_names: tuple[str, ...]
    pretty_names: tuple[str, ...]
    species: tuple[dict[str, str], ...]
    attributes_CA: NDArray[np.float64]
    attribute_value_names: tuple[str, ...]
    family_C: NDArray[np.int64]
    genus_C: NDArray[np.int64]

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return tuple(ATTRIBUTE_VALUES)

    @property
    def attribute_part(self) -> dict[str, str]:
        """Attribute -> the part on which it is drawn."""
        return dict(ATTRIBUTE_PART)

    def sibling_pairs(self) -> tuple[tuple[int, int, str], ...]:
        """All pairs of species of one genus, each with the one attribute in which the two differ."""
        return tuple(
            (first, second, _differing(self.species[first], self.species[second])[0])
            for first, second in combinations(range(len(self.species)), 2)
            if self.genus_C[first] == self.genus_C[second]
        )


def make_taxonomy(config: BirdsConfig) -> Taxonomy:
    """Choose the species of a configuration.

    Each family has its own attributes. The genera of a family vary a few of them and share the others. The
    siblings of a genus take different values of a single attribute; over the genera, these are spread evenly.
    Two species that are not siblings differ in at least two attributes.

    Args:
        config: numbers of families, genera and siblings, and the seed.

    Returns:
        The taxonomy, the same for the same numbers and seed.

    Raises:
        ChiqpmError: no such set of species was found; ask for fewer.

    >>> taxonomy = make_taxonomy(BirdsConfig(families=2, genera=2, siblings=2))
    >>> len(taxonomy.class_names), len(taxonomy.sibling_pairs())
    (8, 4)
    """
    rows = []
    for index, genus in enumerate(_choose_genera(config)):
        family, letter = divmod(index, config.genera)
        for attribute, value, species in genus.members():
            name = f"{_FAMILY_NAMES[family]} {_GENUS_LETTERS[letter]}, {describe(attribute, value)}"
            slug = name.lower().replace(",", "").replace(" ", "-")
            rows.append((slug, name, species, family, index))
    rows.sort(key=lambda row: row[0])
    columns = [(attribute, value) for attribute, values in ATTRIBUTE_VALUES.items() for value in values]
    return Taxonomy(
        class_names=tuple(row[0] for row in rows),
        pretty_names=tuple(row[1] for row in rows),
        species=tuple(row[2] for row in rows),
        attributes_CA=np.array([[float(row[2][a] == v) for a, v in columns] for row in rows]),
        attribute_value_names=tuple(f"{attribute}={value}" for attribute, value in columns),
        family_C=np.array([row[3] for row in rows], dtype=np.int64),
        genus_C=np.array([row[4] for row in rows], dtype=np.int64),
    )


def describe(attribute: str, value: str) -> str:
    """An attribute value in words.

    >>> describe("leg_colour", "red"), describe("crest", "none"), describe("breast", "bib")
    ('red legs', 'no crest', 'bib breast')
    """
    value = "no" if value == "none" else value
    return {
        "beak_shape": f"{value} beak",
        "beak_colour": f"{value} beak",
        "breast_colour": f"{value} breast",
        "leg_colour": f"{value} legs",
        "tail_mark": f"{value} tail",
    }.get(attribute, f"{value} {ATTRIBUTE_PART[attribute]}")


def check_species(species: Mapping[str, str]) -> None:
    """Refuse anything that is not a complete choice of attributes.

    Raises:
        ChiqpmError: an attribute is missing or unknown, or has an unknown value.
    """
    if set(species) != set(ATTRIBUTE_VALUES):
        raise ChiqpmError(
            f"birds: a species needs exactly the attributes {', '.join(ATTRIBUTE_VALUES)}; "
            f"received {', '.join(map(str, species)) or 'none'}."
        )
    for attribute, value in species.items():
        _check_value(attribute, value)


def swap(species: Mapping[str, str], attribute: str, value: str) -> dict[str, str]:
    """The same species with one attribute changed.

    Args:
        species: attribute -> value.
        attribute: the attribute to change.
        value: its new value.

    Returns:
        A new mapping; the given one stays as it is.

    Raises:
        ChiqpmError: the species, the attribute or the value is unknown.
    """
    check_species(species)
    _check_value(attribute, value)
    return {**species, attribute: value}


def _check_value(attribute: str, value: str) -> None:
    if attribute not in ATTRIBUTE_VALUES:
        raise ChiqpmError(f"birds: unknown attribute {attribute!r}; known: {', '.join(ATTRIBUTE_VALUES)}.")
    if value not in ATTRIBUTE_VALUES[attribute]:
        raise ChiqpmError(
            f"birds: {attribute} = {value!r} is unknown; known: {', '.join(ATTRIBUTE_VALUES[attribute])}."
        )


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    return [attribute for attribute in ATTRIBUTE_VALUES if first[attribute] != second[attribute]]


_Codes = NDArray[np.int64]
"""Attribute values as their positions in `ATTRIBUTE_VALUES`; the last axis runs over the attributes."""
_CANDIDATES = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class _Genus:
    codes: _Codes
    attribute: int
    values: tuple[int, ...]

    def members(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """For every sibling the attribute that is its own, its value, and all attributes."""
        names = list(ATTRIBUTE_VALUES)
        base = {name: ATTRIBUTE_VALUES[name][code] for name, code in zip(names, self.codes, strict=True)}
        own = names[self.attribute]
        for code in self.values:
            value = ATTRIBUTE_VALUES[own][code]
            yield own, value, {**base, own: value}


def _choose_genera(config: BirdsConfig) -> list[_Genus]:
    """Genera far enough apart; the demands (attributes varied in a family, between families) fall until met."""
    for varying, apart in ((4, 5), (4, 4), (5, 4), (6, 3), (7, 2), (9, 2)):
        for attempt in range(4):
            rng = np.random.default_rng([config.seed, config.num_species, config.genera, varying, apart, attempt])
            genera = _try_genera(config, varying, apart, rng)
            if genera is not None:
                return genera
    raise ChiqpmError(
        f"birds: found no {config.num_species} species that are far enough apart for "
        f"families={config.families}, genera={config.genera}, siblings={config.siblings}; ask for fewer."
    )


def _try_genera(config: BirdsConfig, varying: int, apart: int, rng: np.random.Generator) -> list[_Genus] | None:
    sizes = np.array([len(values) for values in ATTRIBUTE_VALUES.values()])
    sibling_attributes = _spread(np.flatnonzero(sizes >= config.siblings), rng)
    genera: list[_Genus] = []
    families: list[_Codes] = []
    for _ in range(config.families):
        drawn = rng.integers(sizes, size=(_CANDIDATES, len(sizes)))
        fits = np.ones(_CANDIDATES, dtype=bool)
        for other in families:
            fits &= (drawn != other).sum(axis=1) >= apart
        if not fits.any():
            return None
        base = drawn[np.argmax(fits)]
        families.append(base)
        varied = rng.permutation(len(sizes))[:varying]
        for _ in range(config.genera):
            attribute = next(sibling_attributes)
            drawn = np.tile(base, (_CANDIDATES, 1))
            drawn[:, varied] = rng.integers(sizes[varied], size=(_CANDIDATES, varying))
            fits = _are_new(drawn, attribute, genera)
            if not fits.any():
                return None
            values = tuple(map(int, rng.permutation(sizes[attribute])[: config.siblings]))
            genera.append(_Genus(codes=drawn[np.argmax(fits)], attribute=attribute, values=values))
    return genera


def _spread(attributes: _Codes, rng: np.random.Generator) -> Iterator[int]:
    """Sibling attributes for ever, each as often as the others."""
    while True:
        yield from map(int, rng.permutation(attributes))


def _are_new(drawn: _Codes, attribute: int, genera: list[_Genus]) -> NDArray[np.bool_]:
    """Which candidates differ from every genus in two attributes, not counting those their siblings vary."""
    fits = np.ones(len(drawn), dtype=bool)
    for genus in genera:
        differs = drawn != genus.codes
        differs[:, [attribute, genus.attribute]] = False
        fits &= differs.sum(axis=1) >= 2
    return fits
