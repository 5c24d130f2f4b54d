"""The command line: maps of a photograph or a folder, an audit, and a form in the browser.

    zerocam map photo.jpg --class espresso --out map.png      (or: python -m zerocam map ...)
    zerocam map folder/ --out table.csv --out sheet.png
    zerocam audit photo.jpg --model my_module:make_model
    zerocam page

What a photograph shows is said by `zerocam.cases`, of a folder by `zerocam.folders`; the model
comes from `zerocam.networks`.

Exit codes: 0 done, 1 refused (one line on stderr says why and what would help), 2 wrong usage.
What your model raises is told in that line, too, with its place in your file; so is a mistake of
this package, with its place here.  `--traceback` shows above the line how it came to that.
"""

import argparse
import base64
import contextlib
import functools
import io
import re
import sys
import traceback
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from zerocam import cases
from zerocam.answers import OWN_TARGET
from zerocam.audits import AuditReport, audit
from zerocam.cases import CHOICES, SIZE, Case, Explanation, Photo, drawing, explain, look, png, text
from zerocam.folders import SHEET, explain_folder, photographs
from zerocam.networks import MODELS, Network, load_model, torchvision_input
from zerocam.page import Asked, server
from zerocam.refusals import Refused

__all__ = ["load_model", "main", "reply", "torchvision_input"]

ENDINGS = {  # what is asked -> the files that can hold the answer; the first word is for people
    "map": (".png", ".csv", ".npy", ".npz", ".json"),
    "several maps": (".png", ".json"),
    "folder": (".csv", ".png", ".npz"),
    "audit": (".png", ".csv"),
}
NETWORK = "efficientnet_lite0"
WRAP = "let make_model wrap it: an nn.Module that returns y['out'], y[0] or y[:, None] of it"
LIBRARY = re.compile(r"site-packages|^<|lib.python3").search  # a file that is not the user's own
GIVEN = ("_module", "_called", "prepared", "answer")  # functions that run what the user named


# ---- the commands -------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The arguments of the three commands."""
    top = argparse.ArgumentParser(
        prog="zerocam",
        description="A class heatmap with an honest zero, and an audit of heatmap methods.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="map | audit | page")
    for name, what in (
        ("map", "draw a Grad-CAM map over a photograph, and print its numbers"),
        ("audit", "re-code the network without moving a prediction; print which maps move"),
    ):
        sub = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
        sub.add_argument("photo", help="an image file, whose centred square is used" + (
            "; or a folder of them" if name == "map" else ""))  # fmt: skip
        sub.add_argument("--layer", help="dotted name; default: one is suggested")
        sub.add_argument("--size", type=whole, default=SIZE,
                         help=f"pixels of the shorter side (default {SIZE})")  # fmt: skip
        sub.add_argument("--whole", action="store_true", help="the whole picture, not its square")
        sub.add_argument("--white", type=whole, help="white in a file of 16 bits, e.g. 4095")
    draw, check = commands.choices["map"], commands.choices["audit"]
    for option, choices in CHOICES.items():
        what = {"target": "what is explained", "reference": "what counts as nothing"}[option]
        draw.add_argument(f"--{option}", choices=choices, default=choices[0], help=what)
    draw.add_argument(
        "--complete", action="store_const", dest="reference", const="local_score",
        help="make the map sum to what is explained; short for --reference local_score",
    )  # fmt: skip
    draw.add_argument(
        "--call", type=int, help="which run of a layer that runs several times; from 0"
    )
    draw.add_argument("--batch", type=whole, default=16, help="photographs at once (default 16)")
    check.add_argument("--seed", type=int, default=0, help="of the random re-codings (default 0)")
    page = commands.add_parser("page", help="a form in the browser, for this machine alone")
    page.add_argument("--port", type=whole, default=8765, help="(default 8765)")
    for sub in (draw, check, page):
        again = "; may be repeated, for maps on one scale" if sub is draw else ""
        how: dict[str, Any] = {"action": "append"} if sub is draw else {}
        sub.add_argument("--model", help=MODELS + again, **how)
        sub.add_argument("--labels", type=Path, help="a text file, one name of a class a line")
        sub.add_argument("--device", default="cpu", help="cpu (default), cuda, mps, ...")
        sub.add_argument("--traceback", action="store_true", help="show where an error came from")
        if sub is not page:
            what = "number, or a name the model gives; default: predicted"
            sub.add_argument("--class", dest="c", help=what + again, **how)
        sub.add_argument("--weights", choices=("default", "none"), default="default",
                         help="of a torchvision model; none: random")  # fmt: skip
    for sub, rest in ((draw, "; default map.png, of a folder maps.csv and maps.png"), (check, "")):
        endings = ", ".join(ENDINGS["map" if sub is draw else "audit"])
        sub.add_argument("--out", action="append", default=[], metavar="FILE",
                         help=f"what to write: {endings}{rest}; may be repeated")  # fmt: skip
    return top


def whole(text: str) -> int:
    """A number of pixels, of photographs, or of a port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a whole number from 1 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> None:
    """Do what the words of `map` or `audit` say; `Refused` if it cannot be done."""
    asked, classes = args.command, args.c if isinstance(args.c, list) else [args.c]
    models = args.model if isinstance(args.model, list) else [args.model or NETWORK]
    if asked == "map" and len(classes) * len(models) > 1:
        asked = "several maps"
    if asked != "audit" and Path(args.photo).is_dir():
        asked = "folder"
        if len(classes) * len(models) > 1:
            raise Refused("photo", "a folder, and several maps of each", "one model and one class")
    _check_outs(args.out, asked)
    if getattr(args, "call", None) is not None and args.layer is None:
        raise Refused("call", f"{args.call}", "the layer of which it is a run: add --layer")
    networks = [load_model(name, args.weights, args.device, args.labels) for name in models]
    read = {"size": args.size, "whole": args.whole, "white": args.white}
    if asked == "folder":
        draw_folder(networks[0], args, classes[0], read)
        return
    photo = Photo.read(Path(args.photo), **read)
    call = getattr(args, "call", None)
    looked = [look(network, photo, classes[0], args.layer, call) for network in networks]
    if asked == "audit":
        draw_audit(looked[0], args.seed, args.out)
    else:
        asking = [case.asking(c) for case in looked for c in classes]
        explained = [explain(case, args.target, args.reference) for case in asking]
        draw_maps(explained, args.out or ["map.png"])


def _check_outs(outs: list[str], asked: str) -> None:
    """Refuse a file that cannot be written before anything is computed."""
    for out in outs:
        if not (out.lower().endswith(ENDINGS[asked]) and Path(out).parent.is_dir()):
            of = {"several maps": ", for several maps", "folder": ", for a folder of photographs"}
            endings = ", ".join(ENDINGS[asked])
            wanted = f"a name that ends in {endings}{of.get(asked, '')}, in a folder that exists"
            raise Refused("out", f"{out!r}", wanted)


def draw_maps(explanations: list[Explanation], outs: list[str]) -> None:
    """Print what there is to say of one map, or of several on one scale, and write it."""
    for explanation in explanations:
        named = [explanation.case.network.name] if len(explanations) > 1 else []
        print("\n".join([*named, *explanation.lines()]))
    audited = any(out.lower().endswith((".json", ".npz")) for out in outs)
    records = [e.record(outs, e.symmetries() if audited else None) for e in explanations]
    for out in outs:
        if len(explanations) == 1:
            explanations[0].write(out, records[0])
        elif out.lower().endswith(".png"):
            Path(out).write_bytes(png(explanations, records))
        else:
            Path(out).write_text(text(records) + "\n")
        print(f"written: {out}")


def draw_folder(
    network: Network, args: argparse.Namespace, c: str | None, read: dict[str, Any]
) -> None:
    """Write the table and the contact sheet of a folder, and print what there is to say of it."""
    options = {"target": args.target, "reference": args.reference, "batch": args.batch}
    files = photographs(Path(args.photo))
    album = explain_folder(network, files, c, args.layer, call=args.call, **options, **read)
    assert album.first is not None
    print("\n".join(album.first.lines()))
    print(f"{len(album.maps)} maps, target {args.target}, zero: {args.reference}")
    if without := len(files) - len(album.maps):
        print(f"{without} of {len(files)} files give no map; the table says why")
    if len(album.maps) > SHEET:
        print(f"the sheet shows the first {SHEET}")
    outs = args.out or ["maps.csv", "maps.png"]
    asked = {"photo": files[0].parent.name, "layer": args.layer, "call": args.call, "c": c}
    record = cases.provenance(network, **asked, **options, **read, out=outs)
    record |= {"rows": album.rows, "layer": album.first.where["layer"]}
    for out in outs:
        album.write(out, record)
        print(f"written: {out}")


def draw_audit(case: Case, seed: int, outs: list[str]) -> AuditReport:
    """Print which methods' maps move, and write the table."""
    print("\n".join(case.lines()))
    model = case.network.model
    report = audit(None, model, case.x, case.c, **case.where, seed=seed, progress=True)
    print(f"{case.title}\n\n{report}")
    for out in outs:
        if out.lower().endswith(".csv"):
            report.frame.to_csv(out)
        else:
            plt = drawing().plt
            fig, ax = plt.subplots(figsize=(10, 5))
            report.plot(ax)
            fig.savefig(out)
            plt.close(fig)
        print(f"written: {out}")
    return report


def serve(args: argparse.Namespace) -> None:
    """Answer the page until the user has had enough; the model is loaded once."""
    network = load_model(args.model or NETWORK, args.weights, args.device, args.labels)
    try:
        to_page = functools.partial(reply, network, full=args.traceback)
        page = server(to_page, network.name, args.port, CHOICES)
    except OSError as error:
        got = f"{args.port}, which cannot be had ({error.strerror})"
        raise Refused("port", got, "a free one", f"--port {args.port + 1}") from None
    with page as s:
        print(f"http://127.0.0.1:{s.server_port}/ (Ctrl+C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            s.serve_forever()


def reply(network: Network, photo: bytes, asked: Asked, full: bool = False) -> dict[str, str]:
    """What the page hears of a photograph: {"picture": PNG in base64, "text"}, or {"error"}."""
    file = io.BytesIO(photo)
    file.name = "photo"  # for the messages, and the record
    chosen = {name: asked.get(name, choices[0]) for name, choices in CHOICES.items()}
    try:
        case = look(network, Photo.read(file), asked.get("class") or None)
        explanation = explain(case, **chosen)
        picture = png([explanation], explanation.record([]))
    except Exception as error:  # whatever it is, the page must hear of it
        return {"error": told(error, full)}
    lines = "".join(f"{line}\n" for line in explanation.lines())
    return {"picture": base64.b64encode(picture).decode(), "text": lines}


def told(error: Exception, full: bool = False) -> str:
    """An error in one line: a refusal as it is, and any other as the model's or as a mistake here.

    It is the model's if the last function of this package that ran had called what the user named,
    or autograd: then the place is the last one in a file of the user's.  full: print the traceback.
    """
    if full:
        traceback.print_exception(error)
    said, places = " ".join(str(error).split()), traceback.extract_tb(error.__traceback__)
    own = [Path(p.filename).is_relative_to(Path(__file__).parent) for p in places]
    here = len(own) - 1 - own[::-1].index(True)
    behind = places[here + 1 :]
    theirs = [p for p in behind if not LIBRARY(p.filename)]
    if isinstance(error, Refused) or (isinstance(error, OSError | MemoryError) and not theirs):
        return said.replace(OWN_TARGET, WRAP)
    named = places[here].name in GIVEN or any("autograd" in p.filename for p in behind)
    at = theirs[-1:] if theirs or named else [places[here]]
    place = "".join(f" ({Path(p.filename).name} line {p.lineno}, in {p.name})" for p in at)
    what = f"{type(error).__name__}, {said}{place}"
    if theirs or named:
        return f"model: got {what}; see --help, or run it by itself first"
    return f"a mistake in zerocam: {what}; please report it{_issues()} with what --traceback shows"


def _issues() -> str:
    """Where mistakes are reported, if the setting of the address was made for this build."""
    with contextlib.suppress(PackageNotFoundError):
        for line in metadata("zerocam").get_all("Project-URL") or ():
            if line.startswith("Issues, "):
                return line.replace("Issues,", " at") + ","
    return ""


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 done, 1 refused."""
    args = parser().parse_args(argv)
    try:
        serve(args) if args.command == "page" else run(args)
    except Exception as error:  # one line, whatever it is
        print("zerocam:", told(error, args.traceback), file=sys.stderr)
        return 1
    return 0
