"""The templates, with escaping on and no way to reach files outside this package."""

from __future__ import annotations

from importlib import resources

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from chiqpm.explain.drawing.colours import feature_colour, rgb
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
    """Return the CSS variables of a feature's chip: its colour, with white or black on it, a contrast of 4.5 or more.

    >>> feature_style(Feature(0, "")), feature_style(Feature(1, ""))
    ('--feature:#0072B2;--on-feature:#FFFFFF', '--feature:#D55E00;--on-feature:#000000')
    """
    colour = feature_colour(feature.index)
    linear = [c / 3294.6 if c <= 10.0 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return f"--feature:{colour};--on-feature:{'#FFFFFF' if 1.05 / (luminance + 0.05) >= 4.5 else '#000000'}"
