"""What a run remembers of the machine that made it."""

from __future__ import annotations

import getpass
import json
import socket
from datetime import datetime

from chiqpm import __version__
from chiqpm.provenance import describe_environment, machine_words


def test_versions_and_kind_of_machine_but_nobody_s_name():
    found = describe_environment()
    assert json.loads(json.dumps(found)) == found
    assert datetime.fromisoformat(found["date"]).tzinfo is not None
    assert found["packages"]["chiqpm"] == __version__
    assert all(version for version in found["packages"].values())
    text = json.dumps(found).lower()
    assert socket.gethostname().lower() not in text or len(socket.gethostname()) < 4
    assert getpass.getuser().lower() not in text or len(getpass.getuser()) < 5
    assert f"{found['machine']['cores']} core" in machine_words(found)
