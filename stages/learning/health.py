"""Whether an encoder collapses while it trains: figures to watch beside the loss.

References
----------
Wang and Isola, *Understanding Contrastive Representation Learning through Alignment and
Uniformity*, ICML 2020; Garrido et al., *RankMe*, ICML 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Health:
    """Listens to an encoder and tells the state of its features.

    Parameters
    ----------
    encoder : Module
        Its output has shape (B, C, T, H, W); of several passes in a step the newest counts.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._features_BC: Tensor | None = None
        encoder.register_forward_hook(self._listen)

    def _listen(
        self, module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]
    ) -> None:
        features = output[0] if isinstance(output, tuple) else output
        self._features_BC = features.detach().mean((2, 3, 4)).float()

    def metrics(self) -> dict[str, Tensor]:
        """``feature_std`` and ``effective_rank`` of the newest features."""
        if self._features_BC is None:
            return {}
        return {
            "feature_std": feature_std(self._features_BC),
            "effective_rank": effective_rank(self._features_BC),
        }


def feature_std(features_BC: Tensor) -> Tensor:
    """Mean over channels of the deviation over a batch, after unit length, times sqrt(C).

    About 1 where directions are spread evenly, 0 where all features are one.
    """
    unit = nn.functional.normalize(features_BC, dim=1)
    spread: Tensor = unit.std(0, correction=0).mean() * features_BC.shape[1] ** 0.5
    return spread


def effective_rank(features_BC: Tensor) -> Tensor:
    """Exp of the entropy of the singular values, at most min(B, C)."""
    values = torch.linalg.svdvals(features_BC)
    shares = values / values.sum().clamp(min=1e-12)
    return torch.exp(-(shares * torch.log(shares.clamp(min=1e-12))).sum())


def alignment(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """Mean squared distance of the unit vectors of positive pairs, 0..4."""
    return (first_BD - second_BD).detach().square().sum(1).mean()


def uniformity(vectors_BD: Tensor) -> Tensor:
    """Log of the mean Gaussian potential of pairs of unit vectors; lower is more even."""
    distance = torch.pdist(vectors_BD.detach().float()).square()
    return torch.log(torch.exp(-2 * distance).mean()) if len(distance) else distance.sum()
