"""Deletion and insertion of image regions in the order of an explanation's maps, and in orders that know nothing.

Axis letters: N images, S shares, K features, H×W grid, Y×X pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.functional import gaussian_blur

from chiqpm import metrics
from chiqpm.explain import heat_map
from chiqpm.model import CHiQPM

FRACTIONS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_BLUR = 0.08


@dataclass(frozen=True)
class PerturbationResult:
    """Curves by the order in which regions are taken away or shown.

    Attributes:
        deletion: "map", "random", "centre" -> probability of the predicted class as regions are blurred.
        insertion: likewise as regions of a blurred image are shown.
    """

    deletion: dict[str, metrics.PerturbationCurve]
    insertion: dict[str, metrics.PerturbationCurve]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def measure_perturbation(
    model: CHiQPM, images_N3YX: torch.Tensor, *, active_mean_K: NDArray[np.float64], seed: int = 0
) -> PerturbationResult:
    """Delete and insert regions of images, most salient ones first, and follow the predicted class's probability.

    The map of an image is the sum of the heat maps of the predicted class's features, as figures show them. What is
    taken away is blurred (a Gaussian, 8% of the image's side), so that no new edges appear. The controls: cells of the
    grid in random order, and places from the centre outwards.

    Args:
        model: the classifier.
        images_N3YX: images as the model takes them, on its device.
        active_mean_K: usual activation of each feature where it is active.
        seed: of the random orders.
    """
    generator = np.random.default_rng(seed)
    curves: dict[str, list[NDArray[np.float64]]] = {}
    kernel = 2 * max(1, round(1.5 * _BLUR * images_N3YX.shape[-1])) + 1
    with torch.inference_mode():
        for image in images_N3YX:
            blurred = gaussian_blur(image, [kernel, kernel], [_BLUR * images_N3YX.shape[-1]] * 2)
            output = model(image[None])
            predicted = int(output.logits.argmax())
            own = np.flatnonzero(model.weight_CK[predicted].cpu().numpy()).tolist()
            maps, activations = output.maps[0].cpu().numpy(), output.features[0].cpu().numpy()
            shape = (int(image.shape[1]), int(image.shape[2]))
            heats = [
                heat_map(maps[k], shape, activation=float(activations[k]), active_mean=float(active_mean_K[k]))
                for k in own
            ]
            orders = _orders(np.sum(heats, axis=0), maps.shape[1:], generator)
            for name, scores_S in _scores(model, image, blurred, orders, predicted).items():
                curves.setdefault(name, []).append(scores_S)
    found = {name: metrics.perturbation_curve(np.array(FRACTIONS), np.stack(scores)) for name, scores in curves.items()}
    names = ("map", "random", "centre")
    return PerturbationResult(
        deletion={name: found[f"deletion {name}"] for name in names},
        insertion={name: found[f"insertion {name}"] for name in names},
    )


def _orders(
    heat: NDArray[np.float64], grid: tuple[int, ...], generator: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Rank of every pixel, as a share in [0, 1): 0 goes first."""
    (height, width), (rows, columns) = heat.shape, grid
    cells = generator.permutation(rows * columns).reshape(rows, columns)
    y, x = (np.arange(height) * rows) // height, (np.arange(width) * columns) // width
    from_centre = np.hypot(*np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
    # Equal values are told apart by chance, not by their place in the array.
    noise = generator.random((height, width))
    keys = {"map": -heat, "random": cells[np.ix_(y, x)], "centre": from_centre}
    return {
        name: np.lexsort((noise.ravel(), key.ravel())).argsort().reshape(height, width) / (height * width)
        for name, key in keys.items()
    }


def _scores(
    model: CHiQPM, image: torch.Tensor, blurred: torch.Tensor, orders: dict[str, NDArray[np.float64]], predicted: int
) -> dict[str, NDArray[np.float64]]:
    """Probability of the predicted class along each curve; the ends of all curves are computed once."""
    wanted: dict[str, list[torch.Tensor]] = {}
    for name, rank in orders.items():
        for share in FRACTIONS[1:-1]:
            chosen = torch.from_numpy(rank < share).to(image.device)
            wanted.setdefault(f"deletion {name}", []).append(torch.where(chosen, blurred, image))
            if name != "random":
                wanted.setdefault(f"insertion {name}", []).append(torch.where(chosen, image, blurred))
    batch = torch.stack([image, blurred, *(picture for pictures in wanted.values() for picture in pictures)])
    logits = torch.cat([model(part.to(memory_format=torch.channels_last)).logits for part in torch.split(batch, 16)])
    probability = logits.double().softmax(dim=1)[:, predicted].cpu().numpy()
    whole, nothing, rest = probability[0], probability[1], probability[2:].reshape(len(wanted), -1)
    found = {
        name: np.array([whole, *inner, nothing] if name.startswith("deletion") else [nothing, *inner, whole])
        for name, inner in zip(wanted, rest, strict=True)
    }
    # To show a random share is to take the rest away in random order.
    return {**found, "insertion random": found["deletion random"][::-1]}
