"""Exercises that check themselves: right, not yet (with a hint and a case), or nothing yet.

tasks     the exercises of chapters 1 to 6: the question, the right answer, cases, known mistakes
later     those of chapters 7 to 13
marking   how a student's function is compared with the right one, and what is said of it

>>> def class_maps(W, A):
...     return (W[None, :, :, None, None] * A[:, None]).sum(2)
>>> attempt(class_maps)
△ class_maps: not yet. The mean is left out: divide by the number of positions.
  The smallest input that fails, one class:
    W = [[-1, -7, 9]]
    A = [[[[-5, 6]], [[2, 4]], [[-2, 4]]]]
    yours: [[[[-27, 2]]]]
    wanted: [[[[-13.5, 1]]]]
"""

from zerocam.lab.exercises import later, tasks  # noqa: F401  they register the exercises
from zerocam.lab.exercises.marking import EXERCISES, Exercise, Verdict, attempt, exercise, verdict

__all__ = ["EXERCISES", "Exercise", "Verdict", "attempt", "exercise", "verdict"]
