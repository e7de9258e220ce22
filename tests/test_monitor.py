"""The monitor over streams of pictures whose brightness a made-up classifier reads."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from chiqpm.bulk.rows import header
from chiqpm.config import DataConfig
from chiqpm.conformal import THR, ConformalPredictor, HierarchicalScore
from chiqpm.errors import ChiqpmError
from chiqpm.files import write_npz
from chiqpm.monitor import monitor
from chiqpm.monitor import watch as module
from chiqpm.monitor.stream import read_stream
from chiqpm.recalibration import CALIBRATION_ANSWERS

NAMES = ("dark", "grey", "light")
CENTRES = np.array([50.0, 130.0, 210.0])
WEIGHT = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]])


class FakeClassifier:
    """Logits are minus the distance of the picture's mean grey from the class's."""

    class_names = NAMES
    coverage = 0.8
    data_config = DataConfig()

    def __init__(self, score=None):
        logits, features, labels = answers(*draw(200, np.random.default_rng(0)))
        self.predictor = ConformalPredictor(score or THR()).calibrate(logits, labels, features)

    def outputs(self, pictures):
        greys = np.array([np.asarray(picture, dtype=np.float64).mean() for picture in pictures])
        logits, features, _ = answers(greys, np.zeros(len(greys), dtype=np.int64))
        return logits, features, None


def draw(count, generator):
    labels = generator.integers(3, size=count)
    return np.clip(CENTRES[labels] + 20 * generator.normal(size=count), 0, 255).round(), labels


def answers(greys, labels):
    logits = (-np.abs(greys[:, None] - CENTRES) / 15).astype(np.float32)
    features = np.abs(greys[:, None] - np.array([0, 85, 170, 255])).astype(np.float32)
    return logits, features, labels


@pytest.fixture
def run(tmp_path, monkeypatch):
    logits, features, labels = answers(*draw(200, np.random.default_rng(0)))
    write_npz(tmp_path / CALIBRATION_ANSWERS, {"logits_NC": logits, "features_NK": features, "labels_N": labels})
    monkeypatch.setattr(module, "load", lambda *_, **__: FakeClassifier())
    return tmp_path


def write_stream(folder, count, seed, *, dull=False, labelled=True):
    folder.mkdir()
    greys, labels = draw(count, np.random.default_rng(seed))
    if dull:
        greys = np.where(greys < 130, 92, 168)
    with (folder / "stream.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"] if labelled else ["path"])
        for number, (grey, label) in enumerate(zip(greys, labels, strict=True)):
            Image.new("L", (2, 2), int(grey)).save(folder / f"{number:04d}.png")
            writer.writerow([f"{number:04d}.png", NAMES[label]] if labelled else [f"{number:04d}.png"])
    return folder / "stream.csv"


def test_a_stream_like_the_calibration_raises_no_alarm_and_its_coverage_is_reported(run, tmp_path):
    report = monitor(run, write_stream(tmp_path / "s", 150, 1), window=60, false_alarm=0.05)
    assert report.alarm_at is None and "No alarm" in report.sentence()
    assert [(part.first, part.last) for part in report.windows] == [(1, 60), (61, 120), (121, 150)]
    covered = [image.covered for image in report.images]
    assert report.total.hits == sum(covered) == sum(part.coverage.hits for part in report.windows)
    assert report.total.low <= 0.8 <= report.total.high
    assert all(0 <= image.p_image <= 1 and 0 <= image.p_label <= 1 for image in report.images)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["total"]["trials"] == 150


@pytest.mark.parametrize("labelled", [True, False])
def test_other_images_raise_an_alarm_with_and_without_labels(run, tmp_path, labelled):
    report = monitor(run, write_stream(tmp_path / "s", 250, 2, dull=True, labelled=labelled))
    assert report.alarm_at is not None and report.alarm_at <= 250
    assert "ALARM" in report.sentence() and "at most 0.01" in report.sentence()
    assert report.by in (("images", "labels") if labelled else ("images",))
    assert (report.total.trials > 0) == labelled
    json.dumps(report.to_dict(), allow_nan=False)


def test_two_halves_of_a_stream_are_the_whole(run, tmp_path):
    whole = monitor(run, write_stream(tmp_path / "s", 60, 3))
    rows = (tmp_path / "s" / "stream.csv").read_text().splitlines()
    for name, part in (("a", rows[1:31]), ("b", rows[31:])):
        (tmp_path / "s" / f"{name}.csv").write_text("\n".join([rows[0], *part]))
    kept = tmp_path / "state.json"
    first = monitor(run, tmp_path / "s" / "a.csv", state=kept)
    second = monitor(run, tmp_path / "s" / "b.csv", state=kept)
    assert [image.log10_capital for image in (*first.images, *second.images)] == [
        image.log10_capital for image in whole.images
    ]
    with pytest.raises(ChiqpmError, match="another false_alarm"):
        monitor(run, tmp_path / "s" / "b.csv", state=kept, false_alarm=0.2)
    logits, features, labels = answers(*draw(90, np.random.default_rng(8)))
    write_npz(run / CALIBRATION_ANSWERS, {"logits_NC": logits, "features_NK": features, "labels_N": labels})
    with pytest.raises(ChiqpmError, match="calibrated with other images"):
        monitor(run, tmp_path / "s" / "b.csv", state=kept)
    kept.write_text("[]")
    with pytest.raises(ChiqpmError, match="no state of a monitor"):
        monitor(run, tmp_path / "s" / "b.csv", state=kept)


def test_a_stream_that_grows_is_counted_once_and_its_windows_go_on(run, tmp_path):
    whole = monitor(run, write_stream(tmp_path / "s", 60, 3), window=20)
    stream = tmp_path / "s" / "stream.csv"
    rows = stream.read_text().splitlines()
    stream.write_text("\n".join(rows[:41]))
    kept = tmp_path / "state.json"
    monitor(run, stream, state=kept, window=20)
    stream.write_text("\n".join(rows))
    second = monitor(run, stream, state=kept, window=20)
    assert (second.before, len(second.images)) == (40, 20)
    assert second.windows == whole.windows[2:] and second.images == whole.images[40:]
    assert second.sentence().startswith("20 images after 40 of earlier calls")
    nothing = monitor(run, stream, state=kept)
    assert (nothing.before, nothing.images, nothing.windows) == (60, (), ())
    json.dumps(nothing.to_dict(), allow_nan=False)
    Image.new("L", (3, 3), 99).save(tmp_path / "s" / "0000.png")  # another picture of the same name
    assert len(monitor(run, stream, state=kept).images) == 1


def test_labels_that_become_known_later_count_once_and_then(run, tmp_path):
    whole = monitor(run, write_stream(tmp_path / "s", 30, 3), window=10)
    stream, kept = tmp_path / "s" / "stream.csv", tmp_path / "state.json"
    rows = stream.read_text().splitlines()
    labels = [row.partition(",")[2] for row in rows]

    def known(first, count):
        """Write a stream of some pictures, of which only the first ones have labels."""
        stream.write_text("\n".join([rows[0], *(row if n < first else row[:9] for n, row in enumerate(rows[1:count]))]))

    known(first=5, count=21)
    first = monitor(run, stream, state=kept, window=10)
    assert first.total.trials == 5 and len(first.images) == 20
    known(first=12, count=31)
    second = monitor(run, stream, state=kept, window=10)
    late, new = second.images[:7], second.images[7:]
    assert [(image.p_image, image.label) for image in late] == [(None, label) for label in labels[6:13]]
    assert [image.p_image for image in (*first.images, *new)] == [image.p_image for image in whole.images]
    assert (second.before, second.total.trials) == (20, 7)
    assert [(part.first, part.last, part.coverage.trials) for part in second.windows] == [(21, 30, 0)]
    assert second.sentence().startswith(
        "10 images after 20 of earlier calls, for 7 of which labels came since; 7 labels are new: the set holds"
    )
    known(first=30, count=31)
    third = monitor(run, stream, state=kept)
    assert len(third.images) == third.total.trials == 18 and third.windows == ()
    assert first.total.hits + second.total.hits + third.total.hits == whole.total.hits
    # Seen in the same order, the labels tell the gambler the same.
    found = [image.p_label for report in (first, second, third) for image in report.images if image.label is not None]
    assert found == [image.p_label for image in whole.images]
    stream.write_text("\n".join(rows))
    again = monitor(run, stream, state=kept)
    assert (again.before, again.images) == (30, ())
    json.dumps(third.to_dict(), allow_nan=False)


def test_labels_that_come_later_raise_the_alarm(run, tmp_path):
    """The pictures look as ever, but are of other classes than they were."""
    stream, kept = write_stream(tmp_path / "s", 60, 3), tmp_path / "state.json"
    rows = [row.split(",") for row in stream.read_text().splitlines()[1:]]
    stream.write_text("\n".join(["path", *(name for name, _ in rows)]))
    assert monitor(run, stream, state=kept).alarm_at is None
    others = [(name, NAMES[NAMES.index(label) - 1]) for name, label in rows]
    stream.write_text("\n".join(["path,label", *(f"{name},{label}" for name, label in others)]))
    report = monitor(run, stream, state=kept)
    assert (report.alarm_at, report.by, report.total.trials) == (60, "labels", 60)
    assert "ALARM after 60 images, by the labels" in report.sentence()
    assert monitor(run, stream, state=kept).alarm_at == 60


def test_a_picture_of_several_rows_counts_once_with_its_label(run, tmp_path):
    stream, kept = write_stream(tmp_path / "s", 4, 3), tmp_path / "state.json"
    names = ["0000.png", "0001.png", "0002.png"]
    stream.write_text("path,label\n0000.png,\n0001.png,\n0000.png,dark\n0000.png,\n")
    first = monitor(run, stream, state=kept)
    assert [(image.path[-8:], image.label) for image in first.images] == [(names[0], "dark"), (names[1], None)]
    stream.write_text("path,label\n0000.png,\n0001.png,\n0002.png,\n0001.png,grey\n0001.png,grey\n")
    second = monitor(run, stream, state=kept)
    assert [(image.path[-8:], image.is_new) for image in second.images] == [(names[1], False), (names[2], True)]
    assert second.total.trials == 1
    stream.write_text("path,label\n0003.png,dark\n0003.png,grey\n")
    with pytest.raises(ChiqpmError, match=r"'0003\.png' has two labels, 'dark' and 'grey'"):
        monitor(run, stream, state=kept)


def test_a_label_that_is_changed_later_stays_as_it_was_counted_and_this_is_said(run, tmp_path, caplog):
    stream, kept = write_stream(tmp_path / "s", 3, 3), tmp_path / "state.json"
    stream.write_text("path,label\n0000.png,dark\n0001.png,dark\n0002.png,\n")
    monitor(run, stream, state=kept)
    stream.write_text("path,label\n0000.png,grey\n0001.png,\n0002.png,\n")
    assert monitor(run, stream, state=kept).images == ()
    assert "images with another label than the one that was counted: 1;" in caplog.text


def test_a_stream_of_which_only_what_cannot_be_read_is_left_goes_on(run, tmp_path):
    """As in a folder that is watched every night and has not changed."""
    stream, kept = write_stream(tmp_path / "s", 3, 3, labelled=False), tmp_path / "state.json"
    (tmp_path / "s" / "0002.png").write_text("no picture")
    monitor(run, stream, state=kept)
    again = monitor(run, stream, state=kept)
    assert (again.before, again.images, len(again.skipped)) == (2, (), 1)
    (tmp_path / "s" / "0001.png").unlink()
    stream.write_text("path,label\n0000.png,dark\n0001.png,dark\n0002.png,dark\n")
    last = monitor(run, stream, state=kept)
    assert [image.is_new for image in last.images] == [False] and len(last.skipped) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("gamblers"),
        lambda state: state.update(gamblers=[]),
        lambda state: state.update(calibration=None),
        lambda state: state.update(num_images="many"),
        lambda state: state.update(num_images=7),
        lambda state: state.update(counted=3),
        lambda state: state["gamblers"].update(images=[]),
        lambda state: state["gamblers"]["images"].pop("scores"),
        lambda state: state["gamblers"]["images"].update(scores="none"),
        lambda state: state["gamblers"]["images"].update(shares=[1.0]),
        lambda state: state["gamblers"]["images"].update(log_capital=None),
        lambda state: state["gamblers"]["images"].update(num_images=-1),
        lambda state: state["gamblers"]["images"].update(generator={"bit_generator": "PCG64", "state": 3}),
        lambda state: state["gamblers"]["labels"].update(jump=10**400),
    ],
)
def test_a_damaged_state_is_refused_by_name(run, tmp_path, spoil):
    stream, kept = write_stream(tmp_path / "s", 5, 3), tmp_path / "state.json"
    monitor(run, stream, state=kept)
    state = json.loads(kept.read_text())
    spoil(state)
    kept.write_text(json.dumps(state))
    with pytest.raises(ChiqpmError, match=r"state\.json can't continue the stream"):
        monitor(run, stream, state=kept)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_a_state_that_is_no_json_is_refused_by_name(run, tmp_path, content):
    kept = tmp_path / "state.json"
    kept.write_bytes(content)
    with pytest.raises(ChiqpmError, match=r"state\.json"):
        monitor(run, write_stream(tmp_path / "s", 3, 3), state=kept)


def test_false_alarms_stay_below_their_probability(run, tmp_path):
    """Forty streams like the calibration, at .5: no more than 20 and three standard deviations may alarm."""
    calibration = module.read_calibration_answers(run, FakeClassifier())
    alarms = 0
    for seed in range(40):
        # A fresh calibration each time: the promise is over its draw, too.
        generator = np.random.default_rng([seed, 9])
        logits, features, labels = answers(*draw(60, generator))
        fresh = type(calibration)(logits_NC=logits, features_NK=features, labels_N=labels)
        watch = module._Watch(FakeClassifier(), fresh, 0.8, 0.5, seed)
        logits, features, labels = answers(*draw(150, generator))
        for name, scores in watch._scores(logits, features, labels).items():
            watch._gamblers[name].update(scores)
        alarms += any(gambler.alarm for gambler in watch._gamblers.values())
    assert alarms <= 20 + 3 * np.sqrt(10)


def test_a_score_that_chooses_its_level_is_watched_as_well(run, tmp_path, monkeypatch):
    score = HierarchicalScore(WEIGHT, "level_limited")
    monkeypatch.setattr(module, "load", lambda *_, **__: FakeClassifier(score))
    assert monitor(run, write_stream(tmp_path / "s", 20, 4)).total.trials == 20


def test_a_folder_is_a_stream_by_name_or_by_class(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / "plain").mkdir(exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / "plain" / f"{name}.png")
    assert [image.path.name for image in read_stream(tmp_path / "plain", NAMES)] == ["a.png", "b.png", "c.png"]
    for name in NAMES:
        (tmp_path / "sorted" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("L", (2, 2)).save(tmp_path / "sorted" / name / f"{name}{number}.png")
    images = read_stream(tmp_path / "sorted", NAMES, seed=1)
    assert all(image.label == image.path.parent.name for image in images)
    assert len({image.label for image in images[:15]}) == 3
    assert images == read_stream(tmp_path / "sorted", NAMES, seed=1)


def test_wrong_streams_are_named(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        monitor(run, tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ChiqpmError, match="no pictures"):
        monitor(run, tmp_path / "empty")
    table = tmp_path / "t.csv"
    table.write_text("file\na.png\n")
    with pytest.raises(ChiqpmError, match="no column 'path'"):
        monitor(run, table)
    table.write_text("path,label\na.png,blue\n")
    with pytest.raises(ChiqpmError, match="'blue', which the classifier does not know"):
        monitor(run, table)
    table.write_bytes(header("csv"))
    with pytest.raises(ChiqpmError, match="holds predictions: its column 'label' is what the classifier said"):
        monitor(run, table)
    table.write_text("path,label\na.png,\n")
    with pytest.raises(ChiqpmError, match="none of the 1 images"):
        monitor(run, table)
    with pytest.raises(ChiqpmError, match="window"):
        monitor(run, table, window=0)
    Image.new("L", (2, 2), 50).save(tmp_path / "a.png")
    table.write_text("path,label\na.png,dark\nlost.png,dark\n")
    report = monitor(run, table)
    assert len(report.images) == 1 and "lost.png" in report.skipped[0][0]
    with pytest.raises(ChiqpmError, match="false_alarm"):
        monitor(run, table, false_alarm=1.0)
    (tmp_path / CALIBRATION_ANSWERS).unlink()
    with pytest.raises(ChiqpmError, match="saved or shared classifier leaves out"):
        monitor(run, table)


def test_a_classifier_without_calibration_is_refused(run, tmp_path, monkeypatch):
    bare = FakeClassifier()
    bare.predictor = None
    monkeypatch.setattr(module, "load", lambda *_, **__: bare)
    with pytest.raises(ChiqpmError, match="is not calibrated; run"):
        monitor(run, write_stream(tmp_path / "s", 2, 5))
