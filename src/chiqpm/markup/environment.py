"""The templates, with escaping on and no way to reach files outside this package."""

from __future__ import annotations

from importlib import resources

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from chiqpm.explain.drawing.colours import feature_colour, ink_on
from chiqpm.explain.values import Feature
from chiqpm.explain.wording import count, percent


def environment(*packages: str) -> Environment:
    """Return an environment that finds the templates of this package, and of others before them.

    Args:
        *packages: packages with a folder `templates`, for instance "chiqpm.report".
    """
    found = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, "chiqpm.markup")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["percent"] = percent
    found.globals.update(count=count, feature_style=feature_style)
    return found


def stylesheet(package: str, name: str) -> Markup:
    """Return a style sheet of a package, as it is."""
    return Markup((resources.files(package) / "templates" / name).read_text(encoding="utf-8"))


def feature_style(feature: Feature) -> str:
    """Return the CSS variables of a feature's chip: its colour, and black or white on it.

    >>> feature_style(Feature(0, ""))
    '--feature:#0072B2;--on-feature:#FFFFFF'
    """
    colour = feature_colour(feature.index)
    return f"--feature:{colour};--on-feature:{ink_on(colour)}"
