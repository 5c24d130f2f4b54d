"""A folder of photographs: their maps in batches, a table of numbers, a contact sheet."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from zerocam.cases import Case, Photo, drawing, explain_all, kind_of_score, look, shown, text
from zerocam.networks import Network, class_number
from zerocam.refusals import Refused, reason
from zerocam.views import view

SHEET = 100  # photographs on a contact sheet: more would be too small to see, and fill the memory
COLUMNS = ("photo", "class", "name", "score", "score_is", "highest", "row", "column", "lowest",
           "sum", "positive", "blank", "note", "sha256")  # fmt: skip
OF_ONE = ("activations", "gradients", "scores")  # refused of one photograph: they are not finite


@dataclass
class Album:
    """What a folder gave: a row of the table for each photograph, and the first tiles.

    rows: `COLUMNS`; of a photograph without a map the name and the note alone.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    tiles: list[tuple[str, Any, Any]] = field(default_factory=list)
    maps: list[np.ndarray] = field(default_factory=list)
    limit: float = 0.0  # the largest absolute value of all maps
    first: Case | None = None

    def add(self, photo: Photo, network: Network, x: Tensor, y: Tensor, c: int, M: Tensor,
            blank: str) -> None:  # fmt: skip
        """One photograph's row, map and tile."""
        names = network.class_names(len(y))
        named = names[c] if names else ""
        if len(self.tiles) < SHEET:
            seen = view(network.prepare, photo.pixels, x[None])
            self.tiles.append((f"{photo.name}\n{c} {named}", seen.darkened(), seen.lay(M)))
        row, column = divmod(int(M.argmax()), M.shape[1])
        values = [float(v) for v in (M.max(), M.min(), M.sum(), (M > 0).float().mean())]
        self.rows.append(dict(zip(COLUMNS, [
            photo.name, c, named, float(y[c]), kind_of_score(y, c), values[0], row + 1, column + 1,
            *values[1:], blank, "; ".join(photo.lines()), photo.sha256], strict=True)))  # fmt: skip
        self.maps.append(M.numpy())
        self.limit = max(self.limit, float(M.abs().max()))

    def write(self, out: str, record: dict[str, Any]) -> None:
        """The table (.csv), the sheet (.png), or the maps and names (.npz)."""
        kind = Path(out).suffix.lower()
        if kind == ".csv":
            with open(out, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(self.rows)
        elif kind == ".npz":
            read = [row["photo"] for row in self.rows if "class" in row]
            np.savez(out, maps=_stacked(self.maps), photos=np.array(read), record=text(record))
        else:
            plots = drawing()
            fig, _ = plots.tiles(self.tiles, limit=self.limit or None, columns=5, height=2.2)
            fig.savefig(out, metadata={"zerocam": text(record)})
            plots.plt.close(fig)


def photographs(folder: Path) -> list[Path]:
    """The image files of a folder, by their names' endings, in alphabetical order.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("b.PNG", "a.jpg", "notes.txt"):
    ...     (folder / name).touch()
    >>> [path.name for path in photographs(folder)]
    ['a.jpg', 'b.PNG']
    """
    from PIL import Image

    endings = {*Image.registered_extensions(), ".heic", ".dcm"} - {".pdf", ".mpg", ".mpeg", ".h5"}
    found = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in endings)
    if not found:
        raise Refused("photo", f"the folder {str(folder)!r}, without an image file", "some")
    return found


def explain_folder(
    network: Network,
    files: list[Path],
    c: str | None = None,
    layer: str | None = None,
    *,
    target: str = "logit",
    reference: str = "zero",
    batch: int = 16,
    call: int | None = None,
    **read: Any,
) -> Album:
    """The maps of many photographs, at one layer: the one named, or suggested for the first.

    batch: how many at once; photographs of different sizes go alone.  read: as `Photo.read` takes
    it.  A photograph that cannot be read, that gives NaN or inf, or that fails after another has
    its map, has its reason in the table, and the others go on.  What else fails is the settings'.
    """
    album = Album()

    def add(photos: list[Photo]) -> None:
        album.first = first = album.first or look(network, photos[0], c, layer, call)
        number = class_number(c, network.class_names(len(first.y)))
        x = torch.cat([shown(network, photo)[:1] for photo in photos])
        y, M, blank = explain_all(first, x, number, target, reference)
        for i, photo in enumerate(photos):
            asked = int(y[i].argmax()) if number is None else number
            album.add(photo, network, x[i], y[i], asked, M[i], blank[i])

    with tqdm(total=len(files), desc="photographs", unit="photo") as bar:
        for photos in _batches(files, 1 if read.get("whole") else batch, album, read):
            done = len(album.maps)
            try:
                add(photos)
            except Exception:  # whatever the model and prepare raise, for one of them or for all
                for photo in photos[len(album.maps) - done :]:
                    try:
                        add([photo])
                    except Exception as error:
                        if not (album.maps or getattr(error, "what", "") in OF_ONE):
                            raise
                        album.rows.append({"photo": photo.name, "note": reason(error)})
            bar.update(len(photos))
    if album.first is None or not album.maps:
        raise Refused("photo", f"{len(files)} files, none of which gives a map", "image files",
                      album.rows[0]["note"])  # fmt: skip
    order = {file.name: i for i, file in enumerate(files)}
    album.rows.sort(key=lambda row: order[row["photo"]])
    return album


def _batches(
    files: list[Path], size: int, album: Album, read: dict[str, Any]
) -> Iterator[list[Photo]]:
    """The photographs that can be read, so many at a time; the others go into the table."""
    ready: list[Photo] = []
    for file in files:
        try:
            ready.append(Photo.read(file, **read))
        except Refused as refused:
            album.rows.append(
                {"photo": file.name, "note": str(refused).replace(str(file), file.name)}
            )
        if len(ready) == size:
            yield ready
            ready = []
    if ready:
        yield ready


def _stacked(maps: list[np.ndarray]) -> np.ndarray:
    """(N, h, w), or N arrays of different shapes."""
    if len({m.shape for m in maps}) == 1:
        return np.stack(maps)
    found = np.empty(len(maps), dtype=object)
    found[:] = maps
    return found
