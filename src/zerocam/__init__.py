"""Grad-CAM, the symmetries that do and do not change it, and a way to choose its zero."""

from zerocam import _moved
from zerocam.audits import audit
from zerocam.cam import (
    channel_weights,
    explain_blank,
    grad_cam,
    grad_cam_all,
    signed_map,
)
from zerocam.hooks import activations, channels_first, tap, tokens_to_map
from zerocam.layers import suggest_layer
from zerocam.recode import reparametrize

_moved.install()  # modules of version 1 under their old names

__version__ = "1.0.0"

__all__ = [
    "activations",
    "audit",
    "channel_weights",
    "channels_first",
    "explain_blank",
    "grad_cam",
    "grad_cam_all",
    "reparametrize",
    "signed_map",
    "suggest_layer",
    "tap",
    "tokens_to_map",
]
