"""What this package says of input it cannot use: what it got, what it wanted, what would help."""


class Refused(ValueError):
    """The input cannot be used; its parts say why, for programs, and its text says it to people.

    Raised in place of a map that would be wrong.  It is a ValueError, so `except ValueError`
    catches it; to decide what to do next, read the parts, not the words of the text.

        what     what was given: usually the name of an argument, such as "layer"
        got      what it was; "" where `why` says it in words of its own
        wanted   what would do instead; "" where there is nothing to choose from
        mend     what to do about it; "" where that is plain
        why      "got {got}, wanted {wanted}"; `why=` takes the place of the words up to the comma

    The text is "{what}: {why}; {mend}", without the parts that are empty.

    >>> from zerocam.targets import logit
    >>> import torch
    >>> try:
    ...     logit(7)(torch.zeros(1, 3))
    ... except Refused as refused:
    ...     print(refused)
    ...     print(refused.what, refused.got, refused.wanted, refused.mend, sep=" | ")
    target: got class 7, wanted 0 to 2 for 3 scores; count classes from zero
    target | class 7 | 0 to 2 for 3 scores | count classes from zero
    """

    def __init__(
        self, what: str, got: str = "", wanted: str = "", mend: str = "", *, why: str = ""
    ) -> None:
        super().__init__(what, got, wanted, mend)
        self.what, self.got, self.wanted, self.mend = what, got, wanted, mend
        self.why = (why or f"got {got}") + (f", wanted {wanted}" if wanted else "")

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" + (f"; {self.mend}" if self.mend else "")


class LayerRefused(Refused):
    """No map can be made at this layer of the model; at another one it may be.

    `zerocam.suggest_layer` passes over such a layer, and ends at any other refusal.

    >>> import torch, zerocam
    >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Flatten())
    >>> zerocam.grad_cam(net, torch.ones(1, 1, 2, 2), 0, layer="1")
    Traceback (most recent call last):
    ...
    zerocam.refusals.LayerRefused: layer '1': got output of shape (1, 4), wanted (N, K, h, w); \
choose a layer before the pooling
    """


def reason(error: Exception) -> str:
    """A refusal as it is, any other error with its kind.

    >>> reason(Refused("x", "one", "two")), reason(ZeroDivisionError("by zero"))
    ('x: got one, wanted two', 'ZeroDivisionError: by zero')
    """
    return str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
