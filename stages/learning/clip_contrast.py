"""Contrast between whole clips of one batch: SimCLR's loss, of a clip and its other view.

Free of torch at import, so that planning can read the settings. Views stand in one batch:
first all first views, then all second ones.

References
----------
Chen et al., *SimCLR*, ICML 2020; for clips CVRL (Qian et al., CVPR 2021), which is the
global half of ConST-CL (Yuan et al., CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pipeline.parameters import Parameters, constant

if TYPE_CHECKING:
    from torch import Tensor, nn

_BN_MOMENTUM = 0.003


class ClipContrast(Parameters):
    """Settings of the contrast between the clips of a batch (constcl.md section 4.1).

    Parameters
    ----------
    dim : int
        Dimensions of the embedding.
    hidden, hidden_layers : int
        Width and number of the projector's hidden layers.
    temperature : float
    """

    dim: int = constant(128, "ConST-CL code: yaml", ge=1)
    hidden: int = constant(2048, "ConST-CL code: yaml", ge=1)
    hidden_layers: int = constant(3, "ConST-CL code: yaml", ge=0)
    temperature: float = constant(0.1, "ConST-CL code: losses.py", gt=0)

    def consequences(self) -> Iterable[tuple[str, Any, str]]:
        """How fast the projector's running statistics follow."""
        yield "batch_norm_momentum", _BN_MOMENTUM, "ConST-CL code: 0.997 as Keras counts"

    def projector(self, channels: int) -> nn.Module:
        """Hidden layers with batch normalisation and ReLU, then a linear one: (B, C) -> (B, D)."""
        from torch import nn

        layers: list[nn.Module] = []
        for _ in range(self.hidden_layers):
            layers += [
                nn.Linear(channels, self.hidden, bias=False),
                nn.BatchNorm1d(self.hidden, momentum=_BN_MOMENTUM),
                nn.ReLU(),
            ]
            channels = self.hidden
        return nn.Sequential(*layers, nn.Linear(channels, self.dim))

    def loss(self, projector: nn.Module, maps_BCTHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`clip_loss` of the feature maps of first, then second views, and what to log."""
        from torch.nn import functional

        from stages.learning.health import alignment, uniformity

        vectors_BD = projector(maps_BCTHW.mean((2, 3, 4)))
        loss, accuracy = clip_loss(vectors_BD, temperature=self.temperature)
        first, second = functional.normalize(vectors_BD.detach().float(), dim=1).chunk(2)
        return loss, {
            "clip_accuracy": accuracy,
            "alignment": alignment(first, second),
            "uniformity": uniformity(first),
        }


def clip_loss(vectors_BD: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Tell the other view of a clip from all other clips of the global batch.

    Parameters
    ----------
    vectors_BD : Tensor
        Embeddings of first views, then of second ones; of any length.
    temperature : float

    Returns
    -------
    loss : Tensor
        Mean cross entropy of first views plus that of second ones.
    accuracy : Tensor
        Share of the views that are most similar to their other view.
    """
    import torch
    from torch.nn import functional

    from stages.learning.distributed import gather, rank

    with torch.autocast(vectors_BD.device.type, enabled=False):
        single_BD = vectors_BD.to(torch.promote_types(vectors_BD.dtype, torch.float32))
        units_BD = functional.normalize(single_BD, dim=1)
        logits_BG = units_BD @ gather(units_BD).T / temperature
    batch = len(units_BD)
    own = torch.arange(batch, device=units_BD.device)
    other = (own + batch // 2) % batch + rank() * batch
    itself = torch.zeros_like(logits_BG, dtype=torch.bool)
    itself[own, own + rank() * batch] = True
    logits_BG = logits_BG.masked_fill(itself, -torch.inf)
    right = (logits_BG.detach().argmax(1) == other).float().mean()
    return 2 * functional.cross_entropy(logits_BG, other), right
