"""A fitted classifier as files that anyone can read, as a model card, and on the Hugging Face Hub."""

from __future__ import annotations

from chiqpm.sharing.card import write_card
from chiqpm.sharing.description import FORMAT, Description, HeadOptions
from chiqpm.sharing.fingerprint import fingerprint
from chiqpm.sharing.folder import (
    CALIBRATION,
    DESCRIPTION,
    METRICS,
    WEIGHTS,
    Saved,
    read_folder,
    write_folder,
    write_weights,
)
from chiqpm.sharing.hub import CARD, fetch, is_hub_id, locate, push

__all__ = [
    "CALIBRATION",
    "CARD",
    "DESCRIPTION",
    "FORMAT",
    "METRICS",
    "WEIGHTS",
    "Description",
    "HeadOptions",
    "Saved",
    "fetch",
    "fingerprint",
    "is_hub_id",
    "locate",
    "push",
    "read_folder",
    "write_card",
    "write_folder",
    "write_weights",
]
