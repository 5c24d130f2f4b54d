"""Inputs on which float64 arithmetic is exact, so that laws can be tested with ==."""

from math import prod

import torch
from hypothesis import strategies as st


@st.composite
def integers_like(draw, *shape, bound=8):
    """Integer-valued float64 tensor."""
    values = draw(st.lists(st.integers(-bound, bound), min_size=prod(shape), max_size=prod(shape)))
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


@st.composite
def unimodular(draw, K, steps=4):
    """Integer matrix with determinant +-1: its inverse is an integer matrix too."""
    M = torch.eye(K, dtype=torch.float64)[list(draw(st.permutations(range(K))))]
    for _ in range(draw(st.integers(0, steps))):
        i, j = draw(st.permutations(range(K)))[:2]
        M[i] += draw(st.integers(-2, 2)) * M[j]
    return M


@st.composite
def powers_of_two(draw, K, size=3):
    """Positive scales by which multiplying and dividing is exact."""
    powers = draw(st.lists(st.integers(-size, size), min_size=K, max_size=K))
    return 2 ** torch.tensor(powers, dtype=torch.float64)


def signs(K):
    """+1 or -1 for each channel."""
    flips = st.lists(st.sampled_from((-1.0, 1.0)), min_size=K, max_size=K)
    return flips.map(lambda s: torch.tensor(s, dtype=torch.float64))


def orders(K):
    """A permutation as a LongTensor."""
    return st.permutations(range(K)).map(torch.tensor)
