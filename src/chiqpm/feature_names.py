"""Names that people give to features: `features.yaml`."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from chiqpm.errors import ChiqpmError

FEATURE_NAMES = "features.yaml"
LONGEST = 80


def read_feature_names(path: Path, num_features: int) -> tuple[str, ...]:
    """Read names of features.

    Each line of the file is `index: name` or `findex: name`, for instance `17: red crest` or `f17: red crest`, the
    index as all figures show it. Features may be left out.

    Args:
        path: a YAML file.
        num_features: K.

    Returns:
        K names, "" for the features without one.

    Raises:
        ChiqpmError: the file can't be read, is no mapping, names a feature that doesn't exist or one twice, or a name
            is no text, empty or longer than 80 characters; says in which line.
        FileNotFoundError: there is no such file.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ChiqpmError(f"{path} can't be read as YAML: {' '.join(str(error).split())}") from error
    found = [""] * num_features
    if root is None:
        return tuple(found)
    if not isinstance(root, yaml.MappingNode):
        raise ChiqpmError(
            f"{path}, line {root.start_mark.line + 1}: write one `index: name` a line, as in `17: red crest`"
        )
    seen: dict[int, int] = {}
    for key, value in root.value:
        where = f"{path}, line {key.start_mark.line + 1}"
        written = key.value if isinstance(key, yaml.ScalarNode) else ""
        match = re.fullmatch(r"f?(\d{1,9})", written)
        if match is None or int(match[1]) >= num_features:
            raise ChiqpmError(f"{where}: {written!r} is no feature; they are 0 to {num_features - 1}, or f0, f1 ...")
        index = int(match[1])
        if index in seen:
            raise ChiqpmError(f"{where}: feature {index} already has a name in line {seen[index]}")
        name = " ".join(value.value.split()) if isinstance(value, yaml.ScalarNode) else ""
        if not name or len(name) > LONGEST or not name.isprintable():
            raise ChiqpmError(
                f"{where}: the name of feature {index} must be a printable text of 1 to {LONGEST} characters, "
                f"received {getattr(value, 'value', None)!r:.100}"
            )
        seen[index] = key.start_mark.line + 1
        found[index] = name
    return tuple(found)
