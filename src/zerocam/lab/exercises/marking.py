"""How a student's function is compared with the right one, and what is said of it.

The function is run on the cases of its exercise, the smallest first.  A known mistake is named when
the function does what that mistake does, on every case.  What acts right is right: of the student's
code nothing is read, except whether it is still an empty stub.
"""

import dis
import math
import sys
import threading
import warnings
from _thread import interrupt_main
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from zerocam.refusals import Refused

LIMIT = 10.0  # seconds for one call of a student's function
ROOM = 24  # numbers; a larger tensor is not printed whole
STUB = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}  # all that `...` does
MARKS = {"right": "✓", "not yet": "△", "nothing yet": "○"}


@dataclass
class Exercise:
    """A function to write.

    right: the right function; its name, arguments and docstring are the question.  chapter: "01" to
    "13".  cases[words]: makes the arguments anew, so that nobody can spoil them; the words say what
    is special about them.  mistakes[hint]: a function that makes this mistake.  stops[words]: what
    to say where the student's function stops with an error that has these words.

    Where more than one answer is right, `judged` is what is compared: a function of the result and
    the arguments; `judges` says in words what it gives.
    """

    right: Callable
    chapter: str
    cases: dict[str, Callable[[], tuple]] = field(default_factory=dict)
    mistakes: dict[str, Callable] = field(default_factory=dict)
    stops: dict[str, str] = field(default_factory=dict)
    judged: Callable | None = None
    judges: str = ""

    def __call__(self, *given: Any) -> Any:
        """What the right function gives."""
        return self.right(*given)

    @property
    def takes(self) -> list[str]:
        """The names of the arguments."""
        return list(signature(self.right).parameters)

    @property
    def asks(self) -> str:
        """What to write, as a sentence of a graded assignment."""
        words = " ".join((self.right.__doc__ or "").split())
        return f"Write `{self.right.__name__}({', '.join(self.takes)})`. {words}"


EXERCISES: dict[str, Exercise] = {}


def exercise(chapter: str) -> Callable[[Callable], Exercise]:
    """Register the right function of an exercise under its name."""

    def register(right: Callable) -> Exercise:
        EXERCISES[right.__name__] = Exercise(right, chapter)
        return EXERCISES[right.__name__]

    return register


@dataclass(frozen=True)
class Verdict:
    """What is said of an attempt.

    state: "right", "not yet" or "nothing yet".  hint: what to say to the student.  case: lines with
    the smallest input on which the function fails, what it gives there, and what was wanted.
    """

    state: str
    hint: str
    case: str = ""

    def __str__(self) -> str:
        return f"{self.state}. {self.hint}" + (f"\n{self.case}" if self.case else "")


class _Hint(Exception):
    """What to tell the student instead of a traceback."""


class _Empty(Exception):
    """The function has not been written yet."""


@dataclass(frozen=True)
class _Case:
    """One case: in words, the arguments, and the right result."""

    words: str
    make: Callable[[], tuple]
    right: Any


@dataclass(frozen=True)
class _Answer:
    """A result as tensors, and what of it is compared: None if it does not fit."""

    raw: list[Tensor]
    seen: list[Tensor] | None


def attempt(function: Callable, name: str | None = None) -> None:
    """Print what `verdict` says of a student's function.

    >>> def class_maps(W, A): ...
    >>> attempt(class_maps)
    ○ class_maps: nothing yet. Write the function, then run this cell again.
    """
    name = _name(function, name)
    found = verdict(function, name)
    print(f"{MARKS[found.state]} {name}: {found}")


def verdict(function: Callable, name: str | Exercise | None = None) -> Verdict:
    """Compare the function of an exercise with the right one and with each known mistake.

    name: of the exercise, or an `Exercise` that is in no list; None takes the name of the function
    or, where it has none, as a lambda, the name that it has in the notebook.  What the student
    wrote raises nothing here, and is given `LIMIT` seconds a case (in the main thread, which is
    where notebooks run).  Raises `Refused` when no exercise has that name.
    """
    task = name if isinstance(name, Exercise) else EXERCISES[_name(function, name)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _verdict(task, function)


def _verdict(task: Exercise, function: Callable) -> Verdict:
    cases, got = _cases(task), []
    for case in cases:
        try:
            got.append(_answer(task, _run(task, function, case), case))
        except _Empty:
            return Verdict("nothing yet", "Write the function, then run this cell again.")
        except _Hint as told:
            return Verdict("not yet", str(told), "\n".join(_given(task, case)))
    wanted = [_answer(task, case.right, case) for case in cases]
    good = [_same(a, b) for a, b in zip(got, wanted, strict=True)]
    if all(good):
        return Verdict("right", f"It agrees on {len(cases)} inputs.")
    first = good.index(False)
    shown = _given(task, cases[first]) + _difference(task, got[first], wanted[first])
    for hint, mistake in task.mistakes.items():
        wrong = [_answer(task, mistake(*case.make()), case) for case in cases]
        if all(map(_same, got, wrong)):
            return Verdict("not yet", hint, "\n".join(shown))
    return Verdict("not yet", _general(got, wanted, good, cases), "\n".join(shown))


def _name(function: Callable, name: str | None) -> str:
    """The exercise that is meant."""
    own = getattr(function, "__name__", type(function).__name__)
    notebook = vars(sys.modules["__main__"])
    held = [key for key in EXERCISES if notebook.get(key) is function]
    found = name or (own if own in EXERCISES else next(iter(held), own))
    if found not in EXERCISES:
        raise Refused("function", f"{found!r}", f"one of {', '.join(EXERCISES)}",
                      "name the exercise, as in attempt(function, 'lift')")  # fmt: skip
    return found


def _is_stub(function: Callable) -> bool:
    """Whether the body of a function does nothing at all."""
    code = getattr(function, "__code__", None)
    return code is not None and {i.opname for i in dis.get_instructions(code)} <= STUB


def _cases(task: Exercise) -> list[_Case]:
    """The cases, the smallest first."""
    sizes = {w: sum(t.numel() for t in _tensors(make())) for w, make in task.cases.items()}
    order = sorted(task.cases, key=lambda words: sizes[words])
    return [_Case(w, task.cases[w], task.right(*task.cases[w]())) for w in order]


# ---- running what the student wrote --------------------------------------------------------------


def _run(task: Exercise, function: Callable, case: _Case) -> Any:
    """What the function gives on a case; a `_Hint` where it stops, hangs or changes its input."""
    given = case.make()
    try:
        result = _limited(function, given)
    except SystemExit:
        raise _Hint("It ends Python, with exit(). Give the value back with `return`.") from None
    except TimeoutError:
        raise _Hint(
            f"It has not ended after {LIMIT:g} seconds. Is there a loop that never stops?"
        ) from None
    except Exception as error:
        if type(error) is NotImplementedError and not str(error):
            raise _Empty from None  # as assignments leave it
        what = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0].rstrip('.')}"
        known = [hint for words, hint in task.stops.items() if words in what]
        raise _Hint(" ".join([f"It stops with {what}.", *known])) from None
    for key, now, before in zip(task.takes, given, case.make(), strict=True):
        if _print(now) != _print(before):
            raise _Hint(f"It changes `{key}`, which it was given. Work on a copy.")
    if result is None:
        if _is_stub(function):
            raise _Empty
        raise _Hint("It returns None. Does each way through it end with `return`?")
    return result


def _limited(function: Callable, given: tuple) -> Any:
    """The function's result; TimeoutError after `LIMIT` seconds, where it can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        return function(*given)
    late = threading.Event()

    def ring() -> None:
        late.set()
        interrupt_main()

    timer = threading.Timer(LIMIT, ring)
    timer.daemon = True
    timer.start()
    try:
        try:
            return function(*given)
        finally:
            timer.cancel()
            timer.join()  # an interrupt on its way arrives here, and not later
    except KeyboardInterrupt:
        if not late.is_set():
            raise
        raise TimeoutError from None


def _print(value: Any) -> list:
    """What shows that an argument was changed: its numbers, and of a network how it stands."""
    if isinstance(value, nn.Module):
        return [_print(list(value.state_dict().values())), [m.training for m in value.modules()]]
    return [(t.dtype, t.shape, t.tolist()) for t in _tensors(value)]


# ---- results, and whether they are the same ------------------------------------------------------


def _tidy(value: Any) -> Any:
    """Numbers in any form as one tensor; several things as a list; a network as it is."""
    if isinstance(value, nn.Module):
        return value
    if not isinstance(value, tuple | list):
        return torch.as_tensor(value).detach()
    try:
        return torch.as_tensor(value, dtype=torch.float64)  # a list of numbers
    except (ValueError, TypeError, RuntimeError):
        return [_tidy(part) for part in value]


def _tensors(value: Any) -> list[Tensor]:
    """A flat list of tensors; of a network its state, of a function nothing."""
    if isinstance(value, nn.Module):
        return list(value.state_dict().values())
    if isinstance(value, tuple | list):
        return [tensor for part in value for tensor in _tensors(part)]
    return [] if callable(value) else [torch.as_tensor(value).detach()]


def _answer(task: Exercise, result: Any, case: _Case) -> _Answer:
    """A result, ready to compare; a `_Hint` if it is not numbers, or not a network."""
    network = isinstance(case.right, nn.Module)
    of_type: dict[type, str] = {bool: "True or False", tuple: "numbers, in several tensors"}
    wanted = of_type.get(type(case.right), "numbers in a tensor")
    wanted = "a network" if network else wanted
    try:
        result = _tidy(result)
    except (TypeError, RuntimeError, ValueError):
        raise _Hint(f"It returns a {type(result).__name__}, wanted {wanted}.") from None
    if network and not isinstance(result, nn.Module):
        raise _Hint(f"It returns numbers, wanted {wanted}.")
    raw = _tensors(result)
    if any(t.is_complex() for t in raw):
        raise _Hint("It returns complex numbers, wanted real ones.")
    if [t.shape for t in raw] != [t.shape for t in _tensors(_tidy(case.right))]:
        return _Answer(raw, None)
    if task.judged is None:
        return _Answer(raw, raw)
    if not all(t.isfinite().all() for t in raw):
        return _Answer(raw, None)
    try:
        seen = task.judged(result if network else raw[0].double(), *case.make())
    except AttributeError as error:  # a network with other names
        raise _Hint(f"What it returns does not fit the question: {error}.") from None
    return _Answer(raw, _tensors(seen))


def _near(p: Tensor, q: Tensor) -> Tensor:
    """Where two tensors of one shape are equal but for rounding."""
    return torch.isclose(p.double(), q.double(), rtol=1e-5, atol=1e-7, equal_nan=True)


def _same(a: _Answer, b: _Answer) -> bool:
    if (a.seen is None) != (b.seen is None):
        return False
    p, q = a.seen or a.raw, b.seen or b.raw
    return len(p) == len(q) and all(
        x.shape == y.shape and bool(_near(x, y).all()) for x, y in zip(p, q, strict=True)
    )


# ---- what is said --------------------------------------------------------------------------------


def _shown(value: Any, digits: int = 4) -> str:
    """A value as a student would type it; a large one by its shape."""
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    if callable(value):
        return "a function"
    tensor = torch.as_tensor(value).detach()
    if tensor.numel() > ROOM:
        return f"numbers of the shape {[*tensor.shape]}"
    return _nested(tensor.tolist(), digits)


def _nested(value: Any, digits: int) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_nested(part, digits) for part in value)}]"
    return str(value) if isinstance(value, bool) else f"{value + 0.0:.{digits}g}"  # no -0


def _given(task: Exercise, case: _Case) -> list[str]:
    pairs = zip(task.takes, case.make(), strict=True)
    return [
        f"  The smallest input that fails, {case.words}:",
        *(f"    {k} = {_shown(v)}" for k, v in pairs),
    ]


def example(task: Exercise) -> str:
    """The smallest case and what is wanted there, for a question; "" if a case is no numbers."""
    case = _cases(task)[0]
    if any(callable(value) for value in case.make()):
        return ""
    wanted = _answer(task, case.right, case)
    result = wanted.raw if wanted.seen is None else wanted.seen
    pairs = zip(task.takes, case.make(), strict=True)
    given = [f"{key} = {_shown(value)}" for key, value in pairs]
    what = f"{task.judges}: " if task.judges else ""
    return "\n".join([*given, f"wanted: {what}{', '.join(map(_shown, result))}"])


def _difference(task: Exercise, a: _Answer, b: _Answer) -> list[str]:
    """The student's numbers and the wanted ones; of large tensors the first place that differs."""
    got, wanted = (a.raw, b.raw) if a.seen is None or b.seen is None else (a.seen, b.seen)
    what = f"{task.judges}, " if task.judges and a.seen is not None else ""
    if task.judges and a.seen is None:  # the right result is one of many: its shape says enough
        return []
    pairs = list(zip(got, wanted, strict=False))
    unlike = [(p, q) for p, q in pairs if p.shape != q.shape or not _near(p, q).all()]
    p, q = unlike[0] if len(got) == len(wanted) else pairs[0]
    place = ""
    if p.shape == q.shape and p.numel() > ROOM:
        index = [int(i) for i in (~_near(p, q)).nonzero()[0]]
        place, p, q = f" at {index}", p[*index], q[*index]
    digits = 4 if _shown(p) != _shown(q) else 9
    yours, right = _shown(p, digits), _shown(q, digits)
    return [f"    {what}yours{place}: {yours}", f"    {what}wanted{place}: {right}"]


def _general(
    got: list[_Answer], wanted: list[_Answer], good: list[bool], cases: list[_Case]
) -> str:
    """A hint for a mistake that is not in the list."""
    first = good.index(False)
    a, b = got[first].raw, wanted[first].raw
    if len(a) != len(b):
        return f"It returns {len(a)} things, wanted {len(b)}."
    for number, (p, q) in enumerate(zip(a, b, strict=True), 1):
        if p.shape != q.shape:
            it = "It" if len(a) == 1 else f"Result {number} of {len(a)}"
            return f"{it} has the shape {[*p.shape]}, wanted {[*q.shape]}."
    if not all(p.isfinite().all() for p in a):
        return "It gives nan or inf. Where does it divide by zero?"
    if any(good):
        words = f"It is right on {sum(good)} of {len(good)} inputs."
        return f"{words} Given {cases[first].words}, it is not."
    pairs = [(_flat(a.raw), _flat(b.raw)) for a, b in zip(got, wanted, strict=True)]
    if all(torch.allclose(p, q.relu()) for p, q in pairs):
        return "What is negative has become zero. No ReLU was asked for."
    factors = [f for f in (_factor(p, q) for p, q in pairs) if f is not None]
    if len(factors) == len(pairs):
        if math.isclose(min(factors), max(factors), rel_tol=1e-5):
            return f"It is right up to a factor of {factors[0]:.3g}."
        each = ", ".join(f"{f:.3g}" for f in factors)
        return (
            f"It is right up to a factor, another one on each input: {each}. "
            "Which size is left out, or comes from other data?"
        )
    return "These numbers come from none of the usual mistakes. Do the input below by hand."


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.double().flatten() for t in tensors])


def _factor(p: Tensor, q: Tensor) -> float | None:
    """f where p = f q and f is not 0."""
    factor = ((p @ q) / (q @ q)).item()
    return factor if factor and torch.allclose(p, factor * q, rtol=1e-5, atol=1e-7) else None
