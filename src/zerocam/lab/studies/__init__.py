"""Numbers that need many seeds: one function for each, and the file in `lab/results` it fills.

chapter   file          studies
5         encodings     encodings_relu, encodings_tanh
7         relu          relu_ablation
7         evidence      recipes, sight; `cuts` of chapter 10, `lites` of 12
8         zero          input_codings, dropped
10        references    reference_study
12        networks      families, photographs; and `trained`, on networks of the reader's own
13        transformers  transformer_heads

result    what a study found: means, intervals, whether another number belongs with them
runner    running a study over seeds, here or on a cluster, and storing what it found
zoo       no study over seeds: whether maps are in their place, on networks of other packages

    python -m zerocam.lab.studies                                        lists the studies
    python -m zerocam.lab.studies NAME --seeds 0:20                      runs one, one by one
    python -m zerocam.lab.studies NAME --seeds 0:20 --jobs 2             on two processes
    python -m zerocam.lab.studies NAME --seeds 0:20 --scheduler tcp://…  on a Dask cluster

All give the same numbers.  Each seed is written to results/NAME.json as soon as it is done; seeds
found there are not run again, so a run that was cut short goes on where it stopped.

A study is a function `seed -> {name: number, tensor or word}` with the decorator `study`: it makes
its own data and nets from the seed, uses no global random state, and takes seconds.  Its name is
the name of the result, the first line of its docstring what the result says.  Of a tensor the mean
is kept; where its entries are yes or no, also how many they were, since a share of 300 things moves
in steps of 1/300.
"""

from zerocam.lab.studies.encodings import (
    ENCODINGS,
    alike,
    encoded,
    encodings_relu,
    encodings_tanh,
)
from zerocam.lab.studies.evidence import cuts, dilate, lites, recipe, recipes, regions, sight
from zerocam.lab.studies.networks import families, on_pair, photographs, trained
from zerocam.lab.studies.references import reference_study
from zerocam.lab.studies.relu import fixed_level, relu_ablation, rival_maps
from zerocam.lab.studies.result import RESULTS, Result, load
from zerocam.lab.studies.runner import REDRAWN, STUDIES, measured, redrawn, run, study
from zerocam.lab.studies.transformers import transformer_heads
from zerocam.lab.studies.zero import DropTo, dropped, he, input_codings, right

__all__ = [
    "ENCODINGS",
    "REDRAWN",
    "RESULTS",
    "STUDIES",
    "DropTo",
    "Result",
    "alike",
    "cuts",
    "dilate",
    "dropped",
    "encoded",
    "encodings_relu",
    "encodings_tanh",
    "families",
    "fixed_level",
    "he",
    "input_codings",
    "lites",
    "load",
    "measured",
    "on_pair",
    "photographs",
    "recipe",
    "recipes",
    "redrawn",
    "reference_study",
    "regions",
    "relu_ablation",
    "right",
    "rival_maps",
    "run",
    "sight",
    "study",
    "trained",
    "transformer_heads",
]
