"""The options of a study; apart from it, so that the command line can show them without loading what makes one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What a study consists of."""

    trials: int = 18
    """Images that each reader judges, in all three arms together; a multiple of 3."""
    readers: int = 36
    """Number of different sessions; later readers get these again. A multiple of 18 is fully counterbalanced."""
    coverage: float | None = None
    """Coverage of the sets in both arms with help; by default that of the run."""
    flat_score: str = "thr"
    """Nonconformity score of the flat sets."""
    wrong_share: float = 0.33
    """Share of the images that the model gets wrong, as far as there are so many; else there is nothing to correct."""
    max_options: int = 60
    """Most classes among which a reader chooses; where there are more, those that are easiest to confuse."""
    title: str = "Which class is it?"
    """Heading of the page."""
    contact: str = ""
    """Whom readers can ask; shown on the page of consent."""
    seed: int = 0
    """Seed of the choice of images and of the randomisation."""
