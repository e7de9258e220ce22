"""The study's server by raw requests: who may write what, and what stays on disk."""

from __future__ import annotations

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest

from chiqpm.cli import main
from chiqpm.study import read_answers, simulate_answers
from chiqpm.study.answers import COLUMNS
from chiqpm.study.server import StudyServer


@pytest.fixture
def server(study):
    with StudyServer(study, port=0) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    content = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
    connection.request(
        method, path, content, headers or ({"Content-Type": "application/json"} if body is not None else {})
    )
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    return reply.status, text, reply.headers


def rows_of(key, reader, count=None):
    rows = [asdict(answer) for answer in simulate_answers(key, reader) if answer.reader == f"simulated-{reader:03d}"]
    return rows[:count]


def test_it_listens_to_this_machine_only_and_sends_the_page(server, study):
    assert server.server_address[0] == "127.0.0.1"
    status, text, headers = ask(server, "GET", "/")
    assert status == 200
    assert text == (study / "index.html").read_bytes()
    assert headers["X-Frame-Options"] == "DENY"
    for path in ("/study.json", "/answers/reader-00001.csv", "/../study.json", "/.server-secret"):
        assert ask(server, "GET", path)[0] == 404


def test_many_readers_write_at_once_and_every_file_is_whole(server, study, key):
    def session(_):
        _, text, _ = ask(server, "POST", "/reader", {})
        given = json.loads(text)
        rows = rows_of(key, given["reader"])
        for count in range(1, len(rows) + 1):
            assert ask(server, "POST", "/answers", {**given, "rows": rows[:count]})[0] == 200
        return given["reader"], len(rows)

    with ThreadPoolExecutor(6) as pool:
        wrote = dict(pool.map(session, range(6)))
    assert sorted(wrote) == [1, 2, 3, 4, 5, 6]
    kept = read_answers(sorted((study / "answers").glob("*.csv")))
    assert {str(reader): count for reader, count in wrote.items()} == {
        reader: sum(row.reader == reader for row in kept) for reader in {row.reader for row in kept}
    }
    assert all(row.simulated == 0 for row in kept)
    assert sorted(file.name for file in (study / "answers").iterdir()) == [
        ".server-secret",
        *(f"reader-{number:05d}.csv" for number in range(1, 7)),
    ]


def test_nobody_writes_for_another_reader_or_from_another_page(server, key):
    given = json.loads(ask(server, "POST", "/reader", {})[1])
    rows = rows_of(key, 1, 2)
    wrong = [
        {**given, "reader": 2, "rows": rows},
        {**given, "token": "0" * 64, "rows": rows},
        {**given, "reader": True, "rows": rows},
        {**given, "reader": "1/../../x", "rows": rows},
        {**given, "rows": "all"},
        {**given, "rows": [{**rows[0], "study": "other"}]},
        {**given, "rows": [{**rows[0], "item": "image-999"}]},
        {**given, "rows": [{**rows[0], "kind": "nonsense"}]},
        {**given, "rows": [{**rows[0], "seconds": "nan"}]},
        {**given, "rows": [{**rows[0], "extra": 1}]},
        {**given, "rows": [3]},
        {**given},
        [],
    ]
    for message in wrong:
        status, text, _ = ask(server, "POST", "/answers", message)
        assert status == 400, message
        assert json.loads(text)["error"]
    json_type = {"Content-Type": "application/json"}
    assert ask(server, "POST", "/answers", b"{", json_type)[0] == 400
    assert ask(server, "POST", "/reader", b"{}", {"Content-Type": "text/plain"})[0] == 400
    assert ask(server, "POST", "/reader", b"{}", {**json_type, "Origin": "https://example.org"})[0] == 400
    assert ask(server, "POST", "/reader", b"{}", {**json_type, "Content-Length": "99999999"})[0] == 400
    assert ask(server, "POST", "/elsewhere", {})[0] == 404
    assert (server.answers / "reader-00001.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_tokens_outlive_the_server_and_a_full_disk_is_reported(server, study, key, monkeypatch):
    given = json.loads(ask(server, "POST", "/reader", {})[1])
    with StudyServer(study, port=0) as again:
        again.keep({**given, "rows": rows_of(key, 1, 3)})
    assert len(read_answers([study / "answers" / "reader-00001.csv"])) == 3

    def full(path, answers):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("chiqpm.study.server.write_answers", full)
    assert ask(server, "POST", "/answers", {**given, "rows": rows_of(key, 1, 4)})[0] == 500
    monkeypatch.undo()
    assert len(read_answers([study / "answers" / "reader-00001.csv"])) == 3


def test_the_command_serves_until_interrupted(study, monkeypatch, capsys, tmp_path):
    def interrupted(self, poll_interval=0.5):
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyServer, "serve_forever", interrupted)
    assert main(["study", "serve", str(study), "--port", "0"]) == 130
    assert "http://127.0.0.1:" in capsys.readouterr().out
    assert main(["study", "serve", str(study), "--port", "0", "--json"]) == 130
    assert json.loads(capsys.readouterr().out)["url"].startswith("http://127.0.0.1:")
    assert main(["study", "serve", str(tmp_path / "nothing")]) == 2
    assert "make one with" in capsys.readouterr().err
