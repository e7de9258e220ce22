"""Any timm model as a network from images to feature maps, and the bundled EfficientNet-Lite0."""

from __future__ import annotations

from chiqpm.backbone.build import build_backbone
from chiqpm.backbone.classifier_weights import pretrained_classifier
from chiqpm.backbone.fold import fold_batch_norm
from chiqpm.backbone.module import Backbone

__all__ = ["Backbone", "build_backbone", "fold_batch_norm", "pretrained_classifier"]
