"""Grad-CAM, the symmetries that do and do not change it, and a way to choose its zero.

targets      what is explained: one number per image, from the scores
shortcuts    the weights of all classes by a short way, proved on the data at hand
hooks        one run of a model: a layer's output, the scores, and the gradient between them
cam          Grad-CAM, one function per equation; why a map is blank
references   what zero means: the activation that counts as nothing
metrics      numbers from maps: overlap, pointing, normalisations
methods      other heatmaps from the same layer
symmetries   re-codings of a layer's channels, and of the scores
recode       the same network with a re-coding put in, or folded into its weights
cut          the part of a network behind a layer
peers        methods of other libraries, with the signature of this one
audits       which maps move when the network is re-coded
layers       where a heatmap can be made
imagenet     networks trained on ImageNet, and the names of its classes
photos       the reader's own photographs
plots        pictures: white is zero, red is for, blue is against
cli, page    the command line, and a form in the browser
lab          what the book's chapters experiment with; it imports the tool, never the reverse
"""

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
