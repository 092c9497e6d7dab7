"""C3D with batch normalisation, as in RSPNet.

References
----------
Tran et al., *Learning Spatiotemporal Features with 3D Convolutional Networks*, ICCV 2015;
here without the last pooling and the fully connected layers (Chen et al., AAAI 2021).
"""

from __future__ import annotations

from torch import Tensor, nn

from stages.learning.encoders.blocks import Encoder, kaiming, scaled, unit

_CHANNELS = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class C3D(Encoder):
    """Plain 3x3x3 convolutions with bias; pooling between the stages.

    The first pooling keeps the frames. A 16 x 112 x 112 clip gives a 512 x 2 x 7 x 7 map.
    """

    def __init__(self, width: int) -> None:
        super().__init__(out_channels=scaled(512, width), temporal_stride=8, spatial_stride=16)
        self.stages = nn.Sequential()
        inputs = 3
        for i, published in enumerate(_CHANNELS):
            stage = nn.Sequential()
            if i > 0:
                stage.append(nn.MaxPool3d((1 if i == 1 else 2, 2, 2)))
            for channels in published:
                outputs = scaled(channels, width)
                stage.append(unit(inputs, outputs, (3, 3, 3), bias=True))
                inputs = outputs
            self.stages.append(stage)
        kaiming(self)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map of the last convolution."""
        features_BCTHW: Tensor = self.stages(x_BCTHW)
        return features_BCTHW
