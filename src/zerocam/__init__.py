"""Grad-CAM, the symmetries that do and do not change it, and a way to choose its zero.

targets      what is explained: one number per image, from the scores
refusals     what is said of input that cannot be used
shortcuts    the weights of all classes by a short way, proved on the data at hand
answers      what a model is given, and what it returns: the one place where either is judged
hooks        one run of a model: a layer by its name, its output, the scores, the gradient
cam          Grad-CAM, one function per equation; why a map is blank
references   what zero means: the activation that counts as nothing
metrics      numbers from maps: overlap, pointing, normalisations
methods      other heatmaps from the same layer
symmetries   re-codings of a layer's channels, and of the scores
recode       the same network with a re-coding put in, or folded into its weights
cuts         the part of a network behind a layer
peers        methods of other libraries, with the signature of this one
audits       which maps move when the network is re-coded
layers       where a heatmap can be made: the layer that is suggested
imagenet     networks trained on ImageNet, and the names of its classes
photos       the reader's own photographs
views        what of a photograph the model saw
overlays     a map over its image, as a picture: white is zero, red is for, blue is against
plots        the same on matplotlib's axes, and figures of several
networks     the network that a command names: its model, its input, the names of its classes
cases        a photograph before a network, and all that is said of its map
folders      a folder of photographs: a table, a contact sheet
cli, page    the command line, and a form in the browser
extras       what is installed only if asked for, and what is said when it is missing
moved        names of version 1, and where they are now
lab          what the book's chapters experiment with, with a map of its own; it imports the tool,
             never the reverse
"""

from zerocam import moved
from zerocam.audits import audit
from zerocam.cam import channel_weights, explain_blank, grad_cam, grad_cam_all, signed_map
from zerocam.hooks import activations, channels_first, tap, tokens_to_map
from zerocam.layers import suggest_layer
from zerocam.metrics import enlarge
from zerocam.overlays import overlay
from zerocam.recode import reparametrize
from zerocam.refusals import Refused

moved.install()  # modules of version 1 under their old names

__version__ = "2.0.0"

__all__ = [
    "Refused",
    "activations",
    "audit",
    "channel_weights",
    "channels_first",
    "enlarge",
    "explain_blank",
    "grad_cam",
    "grad_cam_all",
    "overlay",
    "reparametrize",
    "signed_map",
    "suggest_layer",
    "tap",
    "tokens_to_map",
]
