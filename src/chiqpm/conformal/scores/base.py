"""What every nonconformity score offers to the predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch

from chiqpm.errors import ChiqpmError


class Score(ABC):
    """Nonconformity of each class for an image: the smaller, the better the class fits.

    A score is a fixed function of one image's logits and features (and, where it is randomised, of one
    uniform draw). It is all that split conformal prediction needs: whatever the score, the sets of
    `ConformalPredictor` cover the truth with the requested probability, as long as calibration and test
    images are exchangeable. The score decides how large the sets are and how they read.

    A family of scores has several `variants`, each at least as exclusive as the one before (infinite for the
    classes that it never admits); the predictor takes, for each coverage, the last variant with a finite
    threshold.

    Attributes:
        name: name in saved files.
        needs_features: whether the features of the images are read.
        randomized: whether one uniform draw per image is read.
        variants: number of scores in the family.
        num_classes: number of classes the score is made for; None if any.
        num_features: number of features the score is made for; None if any.
    """

    name: ClassVar[str]
    needs_features: ClassVar[bool] = False
    randomized: bool = False
    variants: int = 1
    num_classes: int | None = None
    num_features: int | None = None

    @abstractmethod
    def class_scores(
        self,
        logits_BC: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
        *,
        variant: int = 0,
    ) -> torch.Tensor:
        """Score every class of a block of images.

        Args:
            logits_BC: finite logits, float32 or float64.
            features_BK: finite features, where `needs_features`.
            uniform_B: one draw from [0, 1) for each image, where `randomized`.
            variant: which score of the family, 0 .. variants - 1.

        Returns:
            Scores (B, C), free of NaN, where `logits_BC` live.
        """

    def label_scores(
        self,
        logits_BC: torch.Tensor,
        labels_B: torch.Tensor,
        features_BK: torch.Tensor | None = None,
        uniform_B: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Score the true class of each image under every variant: (variants, B)."""
        return torch.stack(
            [
                self.class_scores(logits_BC, features_BK, uniform_B, variant=variant).gather(1, labels_B[:, None])[:, 0]
                for variant in range(self.variants)
            ]
        )

    def options(self) -> dict[str, Any]:
        """Keyword arguments that make this score again: plain values, and NumPy arrays."""
        return {}

    def __repr__(self) -> str:
        """The call that makes the score, without its arrays."""
        plain = [f"{key}={value!r}" for key, value in self.options().items() if not hasattr(value, "shape")]
        return f"{type(self).__name__}({', '.join(plain)})"


class RandomizableScore(Score):
    """A score that counts a share u of the class's own step: all of it, or one uniform draw per image.

    The randomised form covers exactly rather than at least, its sets are smaller on average, and may be empty.
    """

    def __init__(self, randomized: bool = False) -> None:
        """Choose the form.

        Args:
            randomized: read one uniform draw per image from the generator that is given to `calibrate` and
                `predict_set`.
        """
        self.randomized = bool(randomized)

    def share(self, uniform_B: torch.Tensor | None) -> torch.Tensor | float:
        """Return u: (B, 1) draws for a randomised score, else 1.

        Raises:
            ChiqpmError: the score is randomised and there are no draws.
        """
        if not self.randomized:
            return 1.0
        if uniform_B is None:
            raise ChiqpmError(f"{self!r} reads one uniform draw per image; pass uniform_B.")
        return uniform_B[:, None]

    def options(self) -> dict[str, Any]:
        """Keyword arguments that make this score again."""
        return {"randomized": self.randomized}
