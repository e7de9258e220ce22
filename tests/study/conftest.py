from __future__ import annotations

import numpy as np
import pytest

from chiqpm.study.design import make_plans
from chiqpm.study.key import Item, StudyKey
from chiqpm.study.page import Help, Shown, picture_uri, render_page

CLASSES = tuple(f"bird {letter}" for letter in "abcdefghij")


def small_key(trials=6, readers=18, classes=CLASSES):
    names = [f"image-{number:03d}" for number in range(trials + 3)]
    items = {
        name: Item(
            id=name,
            path=f"test/{name}.jpg",
            truth=place % len(classes),
            predicted=(place + (place % 3 == 0)) % len(classes),
            flat_set=((place + (place % 3 == 0)) % len(classes), (place + 2) % len(classes)),
            hierarchical_set=((place + (place % 3 == 0)) % len(classes), place % len(classes)),
            options=tuple(range(len(classes))),
            stratum="wrong" if place % 3 == 0 else "single",
        )
        for place, name in enumerate(names)
    }
    plans = make_plans({name: items[name].stratum for name in names[:trials]}, names[trials:], readers, seed=1)
    return StudyKey(study="s1", classes=classes, coverage=0.9, flat_score="thr", items=items, plans=plans)


def small_page(key):
    generator = np.random.default_rng(0)
    picture = picture_uri(generator.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    figure = picture_uri(np.full((900, 700, 3), 240, dtype=np.uint8))
    shown = {
        name: Shown(
            picture=picture,
            options=item.options,
            predicted=item.predicted,
            flat=Help(classes=item.flat_set),
            hierarchical=Help(
                classes=item.hierarchical_set,
                sentence="Predicted it.",
                figure=figure,
                narrow=figure,
                text="path </script> & tree",
            ),
        )
        for name, item in key.items.items()
    }
    examples = dict.fromkeys(range(len(key.classes)), picture)
    practice = [name for block in key.plans[0].blocks for name in block.practice]
    truth = {name: key.items[name].truth for name in practice}
    return render_page(key, shown, examples, practice_truth=truth, title="Which bird?", contact="a <b> person")


@pytest.fixture
def key():
    return small_key()


@pytest.fixture
def study(tmp_path, key):
    """A folder with a small study of made-up pictures."""
    key.save(tmp_path)
    (tmp_path / "index.html").write_text(small_page(key), encoding="utf-8")
    return tmp_path
