"""What contrastive methods share: InfoNCE, the queue of keys, the momentum copy, projectors.

Shapes: B queries of this rank, N negatives, K keys in the queue, D dimensions.

References
----------
He et al., *Momentum Contrast*, CVPR 2020; Chen et al., *SimCLR*, ICML 2020.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.learning.distributed import gather_constant
from storage_schemas.errors import ParameterError


def contrast(
    query_BD: Tensor, positive_BD: Tensor, negatives_KD: Tensor, *, temperature: float
) -> Tensor:
    """Logits (B, 1 + K) of unit vectors; the positive stands in column 0.

    In single precision also under autocast: the temperature would enlarge what is lost.
    """
    with torch.autocast(query_BD.device.type, enabled=False):
        query_BD, positive_BD = query_BD.to(negatives_KD), positive_BD.to(negatives_KD)
        positive_B1 = (query_BD * positive_BD).sum(1, keepdim=True)
        return torch.cat([positive_B1, query_BD @ negatives_KD.T], dim=1) / temperature


def info_nce(logits_BN: Tensor) -> Tensor:
    """Mean cross entropy of logits whose right answer is column 0."""
    zeros = torch.zeros(len(logits_BN), dtype=torch.long, device=logits_BN.device)
    return functional.cross_entropy(logits_BN.float(), zeros)


def accuracy(logits_BN: Tensor, *, top: int = 1) -> Tensor:
    """Share of the rows in which fewer than `top` negatives reach the positive of column 0."""
    logits_BN = logits_BN.detach()
    return ((logits_BN[:, 1:] >= logits_BN[:, :1]).sum(1) < top).float().mean()


class Queue(nn.Module):
    """The K newest keys of all ranks, first in, first out.

    Parameters
    ----------
    size, dim : int
        K and D. Any size will do: the queue wraps round within a batch.
    """

    keys_KD: Tensor
    place: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys_KD", functional.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys_BD: Tensor) -> None:
        """Overwrite the oldest keys with those of all ranks; for `Method.after_step`."""
        keys, places = self._places(keys_BD)
        self.keys_KD.index_copy_(0, places, keys)
        self.place.add_(len(keys)).remainder_(len(self.keys_KD))

    @torch.no_grad()
    def after(self, keys_BD: Tensor) -> Tensor:
        """Keys (K, D) as a `push` would leave them; changes nothing."""
        keys, places = self._places(keys_BD)
        return self.keys_KD.index_copy(0, places, keys)

    def _places(self, keys_BD: Tensor) -> tuple[Tensor, Tensor]:
        keys = gather_constant(keys_BD).to(self.keys_KD)[-len(self.keys_KD) :]
        steps = torch.arange(len(keys), device=keys.device)
        return keys, (self.place + steps) % len(self.keys_KD)


class Projector(nn.Module):
    """Average over time and space, linear layers, unit length: (B, C, T, H, W) -> (B, D).

    Parameters
    ----------
    channels, dim : int
    hidden : int, optional
        Width of one hidden layer with ReLU (MoCo v2); None for a single linear layer.
    before : Module, optional
        Works on the map before it is averaged, and keeps its channels.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        hidden: int | None = None,
        before: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.before = before or nn.Identity()
        layers: list[nn.Module] = []
        if hidden is not None:
            layers += [nn.Linear(channels, hidden), nn.ReLU()]
            channels = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(channels, dim))

    @property
    def linear(self) -> nn.Linear:
        """The only layer; raises `ParameterError` where there are more."""
        (*more, layer) = self.layers
        if more or not isinstance(layer, nn.Linear) or not isinstance(self.before, nn.Identity):
            raise ParameterError(
                "the projector has more than one layer; this needs a single linear one"
            )
        return layer

    def forward(self, features_BCTHW: Tensor) -> Tensor:
        """Unit vectors (B, D)."""
        vectors_BC = self.before(features_BCTHW).mean((2, 3, 4))
        return functional.normalize(self.layers(vectors_BC), dim=1)


def momentum_copy(module: nn.Module) -> nn.Module:
    """A copy that no gradient reaches; `follow` moves it."""
    twin = copy.deepcopy(module)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    return twin


@torch.no_grad()
def follow(twin: nn.Module, module: nn.Module, *, momentum: float) -> None:
    """Exponential moving average of the parameters; buffers of the twin are its own.

    ``twin <- momentum * twin + (1 - momentum) * module``.
    """
    sources = [p.detach() for p in module.parameters()]
    torch._foreach_lerp_(list(twin.parameters()), sources, 1 - momentum)
