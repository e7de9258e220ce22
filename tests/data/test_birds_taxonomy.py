from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chiqpm.data.birds import (
    ATTRIBUTE_VALUES,
    PARTS,
    BirdsConfig,
    Taxonomy,
    describe,
    make_taxonomy,
    swap,
)
from chiqpm.errors import ChiqpmError


def differing(taxonomy: Taxonomy, first: int, second: int) -> list[str]:
    a, b = taxonomy.species[first], taxonomy.species[second]
    return [name for name in taxonomy.attribute_names if a[name] != b[name]]


def check(config: BirdsConfig) -> Taxonomy:
    taxonomy = make_taxonomy(config)
    count = config.families * config.genera * config.siblings
    assert len(taxonomy.class_names) == len(set(taxonomy.class_names)) == count
    assert len(set(taxonomy.pretty_names)) == count
    assert list(taxonomy.class_names) == sorted(taxonomy.class_names)
    assert all(name == name.lower() and name.replace("-", "").isalnum() for name in taxonomy.class_names)
    assert set(Counter(taxonomy.genus_C.tolist()).values()) == {config.siblings}
    assert set(Counter(taxonomy.family_C.tolist()).values()) == {config.siblings * config.genera}
    pairs = {(a, b): attribute for a, b, attribute in taxonomy.sibling_pairs()}
    for first, second in combinations(range(count), 2):
        names = differing(taxonomy, first, second)
        if taxonomy.genus_C[first] == taxonomy.genus_C[second]:
            assert names == [pairs[first, second]]
        else:
            assert len(names) >= 2
    return taxonomy


def test_default_has_48_species_and_spreads_the_sibling_attributes() -> None:
    taxonomy = check(BirdsConfig())
    assert len(taxonomy.class_names) == 48
    counts = Counter(attribute for _, _, attribute in taxonomy.sibling_pairs())
    assert set(counts) == set(ATTRIBUTE_VALUES)
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_genera_of_a_family_share_several_attributes_and_families_fewer(seed: int) -> None:
    taxonomy = check(BirdsConfig(seed=seed))
    shared: dict[bool, list[int]] = {True: [], False: []}
    for a, b in combinations(range(48), 2):
        if taxonomy.genus_C[a] != taxonomy.genus_C[b]:
            same_family = bool(taxonomy.family_C[a] == taxonomy.family_C[b])
            shared[same_family].append(len(ATTRIBUTE_VALUES) - len(differing(taxonomy, a, b)))
    assert min(shared[True]) >= 3
    assert np.mean(shared[True]) > np.mean(shared[False]) + 2


@pytest.mark.parametrize(
    "sizes", [(1, 1, 2), (2, 1, 1), (20, 5, 2), (10, 10, 2), (40, 1, 1), (1, 26, 4), (10, 10, 4), (40, 5, 2)]
)
def test_other_numbers_of_species(sizes: tuple[int, int, int]) -> None:
    families, genera, siblings = sizes
    check(BirdsConfig(families=families, genera=genera, siblings=siblings))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**31 - 1))
def test_any_small_configuration(families: int, genera: int, siblings: int, seed: int) -> None:
    if families * genera * siblings >= 2:
        check(BirdsConfig(families=families, genera=genera, siblings=siblings, seed=seed))


def test_same_seed_same_species_other_seed_others() -> None:
    first, again, other = (make_taxonomy(BirdsConfig(seed=seed)) for seed in (3, 3, 4))
    assert first.species == again.species
    assert first.class_names == again.class_names
    assert first.species != other.species


def test_attribute_matrix_says_what_the_species_are() -> None:
    taxonomy = make_taxonomy(BirdsConfig())
    matrix = taxonomy.attributes_CA
    assert matrix.shape == (48, len(taxonomy.attribute_value_names))
    assert set(np.unique(matrix)) == {0.0, 1.0}
    assert (matrix.sum(axis=1) == len(ATTRIBUTE_VALUES)).all()
    for row, species in zip(matrix, taxonomy.species, strict=True):
        present = {taxonomy.attribute_value_names[column] for column in np.flatnonzero(row)}
        assert present == {f"{name}={value}" for name, value in species.items()}
    assert set(taxonomy.attribute_part.values()) == set(PARTS)
    assert set(taxonomy.attribute_part) == set(taxonomy.attribute_names)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"families": 0}, "families = 0"),
        ({"families": 41}, "1 to 40"),
        ({"genera": 27}, "genera = 27"),
        ({"siblings": 5}, "1 to 4"),
        ({"siblings": 1.0}, "siblings = 1.0"),
        ({"families": True}, "True"),
        ({"image_size": 31}, "32 to 1024"),
        ({"seed": -1}, "seed = -1"),
        ({"families": 1, "genera": 1, "siblings": 1}, "2 to 400"),
        ({"families": 40, "genera": 26}, "2080 species"),
    ],
)
def test_impossible_configurations_are_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(ChiqpmError, match=words):
        BirdsConfig(**options)


def test_species_that_cannot_be_told_apart_are_refused() -> None:
    # Four siblings use up a whole attribute, so that fewer attributes remain to keep 100 genera apart.
    try:
        check(BirdsConfig(families=4, genera=25, siblings=4))
    except ChiqpmError as error:
        assert "ask for fewer" in str(error)


def test_swap_changes_one_attribute_of_a_copy() -> None:
    species = make_taxonomy(BirdsConfig()).species[0]
    before = dict(species)
    for attribute, values in ATTRIBUTE_VALUES.items():
        for value in values:
            assert swap(species, attribute, value) == {**before, attribute: value}
    assert species == before


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [("wings", "bars", "unknown attribute 'wings'"), ("wing", "barred", "plain, bars")],
)
def test_swap_refuses_the_unknown(attribute: str, value: str, words: str) -> None:
    with pytest.raises(ChiqpmError, match=words):
        swap(make_taxonomy(BirdsConfig()).species[0], attribute, value)


def test_siblings_have_different_words() -> None:
    for attribute, values in ATTRIBUTE_VALUES.items():
        assert len({describe(attribute, value) for value in values}) == len(values)
