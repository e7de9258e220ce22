"""What must hold before an assignment can exist, checked before anything is trained."""

from __future__ import annotations

from math import comb

from chiqpm.errors import ChiqpmError


def check_preconditions(
    num_features: int, num_classes: int, kept_features: int, features_per_class: int, pair_density: float
) -> None:
    """Refuse sizes for which no assignment exists or the method is undefined.

    Args:
        num_features: F, features of the dense model.
        num_classes: C.
        kept_features: K, features that the sparse model keeps.
        features_per_class: n, features of each class.
        pair_density: rho, forced pairs of similar classes per class.

    Raises:
        ChiqpmError: names the first condition that fails and what would mend it.
        TypeError: a size is not an integer, or the density not a number.

    Example:
        >>> check_preconditions(512, 200, 50, 5, 0.5)
        >>> check_preconditions(512, 200, 5, 3, 0.5)
        Traceback (most recent call last):
        ...
        chiqpm.errors.ChiqpmError: 200 classes need 200 different sets of features_per_class=3 out of kept_features=5, \
but there are only 10: keep more features, or use a features_per_class nearer to half of kept_features.
    """
    sizes = {
        "num_features": num_features,
        "num_classes": num_classes,
        "kept_features": kept_features,
        "features_per_class": features_per_class,
    }
    for name, value in sizes.items():
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be an integer, received {value!r} ({type(value).__name__}).")
    if isinstance(pair_density, bool) or not hasattr(pair_density, "__float__"):
        raise TypeError(f"pair_density must be a number, received {pair_density!r} ({type(pair_density).__name__}).")
    if num_classes < 2:
        raise ChiqpmError(f"There must be at least 2 classes, received num_classes={num_classes}: add classes.")
    if features_per_class < 1:
        raise ChiqpmError(
            f"features_per_class must be at least 1, received {features_per_class}: the published value is 5."
        )
    if kept_features <= features_per_class:
        raise ChiqpmError(
            f"features_per_class must be smaller than kept_features, received "
            f"features_per_class={features_per_class} and "
            f"kept_features={kept_features}: with all features in every class no two classes differ. Keep more "
            f"features "
            "or use fewer per class."
        )
    if kept_features > num_features:
        raise ChiqpmError(
            f"kept_features must not exceed the model's number of features, received kept_features={kept_features} and "
            f"{num_features} features: keep at most {num_features}, or use a wider model."
        )
    if not 0.0 <= float(pair_density) <= 1.0:
        raise ChiqpmError(
            f"pair_density must lie in [0, 1], received {pair_density}: it is the number of similar pairs per class; "
            "the published value is 0.5."
        )
    if num_classes > comb(kept_features, features_per_class):
        raise ChiqpmError(
            f"{num_classes} classes need {num_classes} different sets of features_per_class={features_per_class} "
            f"out of "
            f"kept_features={kept_features}, but there are only {comb(kept_features, features_per_class)}: keep more "
            "features, or use a features_per_class nearer to half of kept_features."
        )
