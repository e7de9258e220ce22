"""Check what would be released: `python .ci/check_release.py dist` after `python -m build`.

The wheel is installed into a fresh environment that has the dependencies of the interpreter that runs this, and nothing
else of the project; it must answer there. Wheel and source archive must hold every file that the package reads.
"""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "chiqpm"

ANSWERS = """
import importlib.metadata, importlib.resources, pathlib, sys
import chiqpm
home = pathlib.Path(chiqpm.__file__)
assert pathlib.Path(sys.prefix) in home.parents, f"imported from {home}"
assert importlib.metadata.version("chiqpm") == chiqpm.__version__ == sys.argv[1]
for name in chiqpm.__all__:
    getattr(chiqpm, name)
assert (importlib.resources.files("chiqpm") / "py.typed").is_file()
from chiqpm.config import BackboneConfig, DataConfig
from chiqpm.sharing import Description, HeadOptions
from chiqpm.sharing.card import card
head = HeadOptions(pooled_share=1.0, dropout=0.1, dropout_place="pooled", rectify=True)
description = Description(backbone=BackboneConfig().resolved(), data=DataConfig(), model=head, classes=("a", "b"),
                          features=None, active_mean=(1.0,), coverage=0.9)
assert "not calibrated yet" in card(description, None, None)
from chiqpm.backbone import build_backbone
assert build_backbone(BackboneConfig(), image_size=64).grid == (4, 4), "the bundled weights"
"""


def main(folder: Path) -> None:
    """Check the one wheel and the one source archive of a folder."""
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    version = _version()
    with zipfile.ZipFile(wheel) as file:
        inside = set(file.namelist())
        _check_wheel(inside, email.message_from_bytes(file.read(f"chiqpm-{version}.dist-info/METADATA")), version)
    with tarfile.open(archive) as tar:
        _check_archive({name.split("/", 1)[-1] for name in tar.getnames()})
    with tempfile.TemporaryDirectory() as empty:
        _check_installed(wheel, version, Path(empty))
    sizes = ", ".join(f"{file.name} {file.stat().st_size / 1e6:.2f} MB" for file in (wheel, archive))
    sys.stdout.write(f"release {version}: {sizes}: complete, and the wheel answers in a fresh environment\n")


def _version() -> str:
    """Return the version, and check that it is the same wherever else it must be written."""
    version = _only(r'__version__ = "(.+)"', PACKAGE / "__init__.py")
    assert _only(r"^version: (.+)$", ROOT / "CITATION.cff") == version, "CITATION.cff has another version"
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.M), "CHANGELOG.md lacks it"
    return version


def _only(pattern: str, file: Path) -> str:
    (found,) = re.findall(pattern, file.read_text(encoding="utf-8"), re.M)
    return found


def _files() -> list[Path]:
    """Return the package's files, without what Python leaves beside them."""
    return [file for file in PACKAGE.rglob("*") if file.is_file() and "__pycache__" not in file.parts]


def _check_wheel(inside: set[str], metadata: email.message.Message, version: str) -> None:
    wanted = {file.relative_to(PACKAGE.parent).as_posix() for file in _files()}
    assert not wanted - inside, f"the wheel lacks {sorted(wanted - inside)}"
    more = {name for name in inside - wanted if not name.startswith(f"chiqpm-{version}.dist-info/")}
    assert not more, f"the wheel has more than the package: {sorted(more)}"
    for name in ("LICENSE", "NOTICE"):
        assert f"chiqpm-{version}.dist-info/licenses/{name}" in inside, f"the wheel lacks {name}"
    assert metadata["Version"] == version and metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload(decode=True).decode("utf-8")
    assert text == (ROOT / "README.md").read_text(encoding="utf-8"), "the description is not README.md"


def _check_archive(inside: set[str]) -> None:
    wanted = {file.relative_to(ROOT).as_posix() for file in _files()}
    wanted |= {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "NOTICE", "CITATION.cff", "tests/conftest.py"}
    assert not wanted - inside, f"the source archive lacks {sorted(wanted - inside)}"


def _check_installed(wheel: Path, version: str, empty: Path) -> None:
    home = empty / "environment"
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    place = subprocess.run(where, capture_output=True, text=True, check=True)
    # The path alone: files in it that add further paths, such as this project's own, aren't followed.
    (Path(place.stdout.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=empty, env=kept, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    assert run(scripts / "chiqpm", "--version") == f"chiqpm {version}\n"
    assert run(python, "-m", "chiqpm", "--version") == f"chiqpm {version}\n"
    text = run(scripts / "chiqpm", "--help")
    for command in ("fit", "predict", "explain", "calibrate", "export", "report"):
        assert command in text, f"--help does not name {command}"
    run(python, "-c", ANSWERS, version)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
