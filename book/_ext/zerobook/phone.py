"""A figure that is wider than a phone, laid out anew: its panels stand in more rows, each as large.

A figure has text of one size.  On a phone it would scroll sideways, and what the reader is to
compare would be out of view.  So it is cut where a column of it is white from top to bottom.  What
lies between two cuts is

    a panel     an image, a map or a chart, with the numbers and words beside its axis
    the names   of the rows, left of all panels: they are repeated in each row of the layout
    the bar     of colours, if there is one for all: it goes beside the last row, if there is room

Where rows have no name but each panel a title, the panels are read row by row, and cut between the
rows too.  Text in the middle, above all panels, names all of them and stays above.  A picture with
such text more than once, as of a slider's stops, is as many figures below each other.
"""

from itertools import combinations, pairwise

import numpy as np
from PIL import Image

WIDEST = 600  # CSS pixels: a phone of 390 shows a figure of that width with text of 10
WHITE = 250  # of 255; above nothing is drawn
GUTTER, ROWS = 4, 2  # CSS pixels between two parts, at least: beside each other, below each other
WORDS = 12  # CSS pixels: two words of a line are nearer
NARROW, LINE = 60, 32  # CSS pixels: what is narrower is no panel, what is lower is a line of text
ABOVE, EDGE, APART = 10, 4, 14  # CSS pixels above and below, on the sides, and between the rows

Run = tuple[int, int]


def _runs(filled: np.ndarray, gap: float) -> list[Run]:
    """From where to where something is drawn; a gap that is smaller is none."""
    at = np.flatnonzero(filled)
    if not at.size:
        return []
    cuts = np.flatnonzero(np.diff(at) > gap)
    starts, ends = [at[0], *at[cuts + 1]], [*at[cuts], at[-1]]
    return [(int(a), int(b) + 1) for a, b in zip(starts, ends, strict=True)]


def _ink(pixels: np.ndarray) -> np.ndarray:
    return (pixels < WHITE).any(2)


def _trimmed(pixels: np.ndarray) -> np.ndarray:
    (top, bottom), *_ = _runs(_ink(pixels).any(1), pixels.shape[0])
    return pixels[top:bottom]


def _sections(pixels: np.ndarray, scale: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each figure of a picture: the line of text in the middle above it, and the rest."""
    ink, (height, width) = _ink(pixels), pixels.shape[:2]
    lines, after = [], False  # a second line, after the first, is a title of its own
    for top, bottom in _runs(ink.any(1), ROWS * scale):
        (start, end), *more = _runs(ink[top:bottom].any(0), WORDS * scale)
        middle = not more and abs((start + end) / width - 1) < 0.24
        after = middle and bottom - top < LINE * scale and not after
        if after:
            lines.append((top, bottom))
    if not lines or ink[: lines[0][0]].any():
        lines.insert(0, (0, 0))
    ends = [top for top, _ in lines[1:]] + [height]
    found = []
    for (top, line), end in zip(lines, ends, strict=True):
        words = slice(*next(iter(_runs(ink[top:line].any(0), width)), (0, 0)))
        found.append((pixels[top:line, words], pixels[line:end]))
    return found


def _parts(pixels: np.ndarray, scale: float) -> tuple[Run | None, list[Run], Run | None]:
    """The names of the rows, the panels and the bar: from where to where, or nothing."""
    ink, coloured = _ink(pixels), np.ptp(pixels.astype(int), axis=2) > 40
    panels: list[list[int]] = []
    bars: list[tuple[int, list[int]]] = []
    beside: list[Run] = []  # text whose panel comes
    before = []  # the text before each panel
    for start, end in _runs(ink.any(0), GUTTER * scale):
        last = len(panels) - 1
        tall = max(b - a for a, b in _runs(ink[:, start:end].any(1), ROWS * scale))
        if end - start >= NARROW * scale and tall >= LINE * scale:
            panels.append([start, end])
            before.append(beside)
            beside = []
        elif panels and coloured[:, start:end].any(1).mean() > 0.3:
            bars.append((last, [start, end]))
        elif bars and bars[-1][0] == last:
            bars[-1][1][1] = end
        else:
            beside.append((start, end))
    if not panels:
        return None, [], None
    if beside and beside[-1][1] - beside[0][0] >= NARROW * scale:  # as of a legend
        panels.append([beside[0][0], beside[-1][1]])
        before.append(beside)
    elif beside:
        panels[-1][1] = beside[-1][1]
    alone = len(bars) == 1 and bars[0][0] == len(panels) - 1
    bar = (panels[-1][1], bars[0][1][1]) if alone else None
    for n, (_, end) in [] if alone else bars:
        panels[n][1] = end
    shared = bool(before[0]) and not any(before[1:])
    for panel, text in zip(panels[shared:], before[shared:], strict=True):
        panel[0] = text[0][0] if text else panel[0]
    names = (before[0][0][0], panels[0][0]) if shared else None
    return names, [(a, b) for a, b in panels], bar


def _rows_with_titles(pixels: np.ndarray, scale: float) -> list[np.ndarray]:
    """The rows of panels, if each of them stands under a line of titles; else all as one."""
    runs = _runs(_ink(pixels).any(1), ROWS * scale)
    low = [bottom - top < LINE * scale for top, bottom in runs]
    if len(runs) < 4 or low != [True, False] * (len(runs) // 2):
        return [pixels]
    return [pixels[runs[n][0] : runs[n + 1][1]] for n in range(0, len(runs), 2)]


def _beside(parts: list[np.ndarray]) -> np.ndarray:
    """Parts of different heights beside each other, each at the top."""
    sheet = np.full((max(p.shape[0] for p in parts), sum(p.shape[1] for p in parts), 3), 255, "u1")
    along = 0
    for part in parts:
        sheet[: part.shape[0], along : along + part.shape[1]] = part
        along += part.shape[1]
    return sheet


def _below(rows: list[np.ndarray], apart: int) -> np.ndarray:
    """Rows of different widths below each other, each at the left."""
    height = sum(row.shape[0] for row in rows) + apart * (len(rows) - 1)
    sheet = np.full((height, max(row.shape[1] for row in rows), 3), 255, "u1")
    down = 0
    for row in rows:
        sheet[down : down + row.shape[0], : row.shape[1]] = row
        down += row.shape[0] + apart
    return sheet


def _figure(pixels: np.ndarray, scale: float) -> np.ndarray | None:
    """One figure, in rows that are narrow enough; None where it cannot be cut so."""
    limit, apart = (WIDEST - 2 * EDGE) * scale, round(APART * scale)
    names, columns, between = _parts(pixels, scale)
    if not columns:
        return None
    bar = _trimmed(pixels[:, slice(*between)]) if between else pixels[:, :0]
    lines = [pixels] if names else _rows_with_titles(pixels[:, : columns[-1][1]], scale)
    panels = [p for line in lines for c in columns if _ink(p := line[:, slice(*c)]).any()]
    gap = min((b[0] - a[1] for a, b in pairwise(columns)), default=0)
    space = np.full((1, gap, 3), 255, "u1")
    first = [pixels[:, slice(*names)]] if names else []
    for count in range(1, len(panels) + 1):
        ways = []
        for cuts in combinations(range(1, len(panels)), count - 1):
            rows = []
            for a, b in pairwise((0, *cuts, len(panels))):
                inside = [part for panel in panels[a:b] for part in (space, panel)][1:]
                rows.append(_trimmed(_beside([*first, *inside])))
            widths = [row.shape[1] for row in rows]
            if max(widths) <= limit:
                steps = [round(width / (40 * scale)) for width in widths]
                ways.append((max(steps), [-step for step in steps], rows))
        ways.sort(key=lambda way: way[:2])
        for places in (slice(-1, None), slice(-1)):  # the last row leaves most room for the bar
            for _, _, rows in ways:
                all_rows = _below(rows, apart)
                if all_rows.shape[1] + bar.shape[1] <= limit and bar.shape[0] > rows[-1].shape[0]:
                    return _beside([all_rows, bar])
                for n in reversed(range(count)[places]):
                    if rows[n].shape[1] + bar.shape[1] <= limit:
                        rows[n] = _beside([rows[n], bar])
                        return _below(rows, apart)
    return None


def laid_out(picture: Image.Image, scale: float) -> Image.Image | None:
    """The picture for a phone; None where it is narrow enough, or cannot be cut.

    scale: how many of its pixels make a CSS pixel.
    """
    pixels = np.asarray(picture.convert("RGB"))
    if pixels.shape[1] <= WIDEST * scale:
        return None
    rows = []
    for line, rest in _sections(pixels, scale):
        if (figure := _figure(rest, scale)) is None:
            return None
        rows += [line] * bool(line.size) + [figure]
    sheet = _below(rows, round(APART * scale))
    edges = [(round(edge * scale),) * 2 for edge in (ABOVE, EDGE, 0)]
    return Image.fromarray(np.pad(sheet, edges, constant_values=255))
