"""A heatmap page for this machine alone: `python -m zerocam page`, then open the address it prints.

It listens on the loopback address and answers no other name, takes photographs of at most 20 MB,
one at a time, and keeps nothing.
"""

import base64
import contextlib
import html
import io
import json
import re
import tempfile
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

LIMIT = 20 * 2**20
LIBRARY = re.compile(r"site-packages|^<|lib.python3").search
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>What does zero mean?</title>
<meta name="viewport" content="width=device-width"><style>
body{font:1rem/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
label{display:block;margin:.5rem 0}img{max-width:100%}pre{white-space:pre-wrap}</style>
<h1>Your photograph</h1><p>Model: MODEL. Nothing leaves this machine, and nothing is kept.</p>
<form><label>Photograph <input type="file" name="photo" accept="image/*" required></label>
<label>Class <input name="class" placeholder="the predicted one"></label>
<label>What is explained <select name="target">TARGETS</select></label>
<label>Zero <select name="reference">REFERENCES</select></label><button>Draw the map</button></form>
<p role="status"></p><img alt="" hidden><pre></pre><script>
const form=document.querySelector("form"),say=document.querySelector("p[role]"),
img=document.querySelector("img"),pre=document.querySelector("pre");
form.onsubmit=async e=>{e.preventDefault();const f=new FormData(form),photo=f.get("photo");
f.delete("photo");say.textContent="Working";img.hidden=true;pre.textContent="";
const r=await fetch("/?"+new URLSearchParams(f),{method:"POST",body:photo,
headers:{"content-type":"application/octet-stream"}}).then(a=>a.json()).catch(()=>(
{error:"No answer; is the command that serves this page still running?"}));
say.textContent=r.error||"";
if(r.picture){img.src="data:image/png;base64,"+r.picture;img.hidden=false;
img.alt="The photograph, and its signed map. "+r.text;pre.textContent=r.text}};</script></html>"""


def told(error: Exception) -> str:
    """An error in one line: this package's own as it is, any other as the model's, with its place.

    The place is the last one in a file that is neither this package's nor an installed one's.
    """
    said, places = " ".join(str(error).split()), traceback.extract_tb(error.__traceback__)
    own = [Path(p.filename).parent == Path(__file__).parent for p in places]
    theirs = [p for p, o in zip(places, own, strict=True) if not o and not LIBRARY(p.filename)]
    if (isinstance(error, ValueError) and own[-1]) or (isinstance(error, OSError) and not theirs):
        return said
    at = "".join(f" ({Path(p.filename).name} line {p.lineno}, in {p.name})" for p in theirs[-1:])
    return f"model: got {type(error).__name__}, {said}{at}; see --help, or run it by itself first"


def server(
    draw: Callable[[list[str]], None], model: str, port: int, choices: dict
) -> ThreadingHTTPServer:
    """The page's server on 127.0.0.1; draw: does what the words of a `map` command say."""
    page = PAGE.replace("MODEL", html.escape(model))
    for name in ("target", "reference"):
        options = "".join(f"<option>{choice}</option>" for choice in choices[name])
        page = page.replace(f"{name.upper()}S", options)

    one_at_a_time = threading.Lock()  # drawing prints, and uses one model

    class Handler(BaseHTTPRequestHandler):
        timeout = 20

        def do_GET(self) -> None:
            self.answer(200, page, "text/html") if self.path == "/" else self.refuse(404, "nothing")

        def do_POST(self) -> None:
            size = self.headers.get("content-length", "")
            origin = self.headers.get("origin")
            names = {f"{host}:{self.server.server_port}" for host in ("127.0.0.1", "localhost")}
            kind = self.headers.get("content-type")
            if self.headers.get("host") not in names or (origin and origin[7:] not in names):
                return self.refuse(403, "this page answers its own machine only")
            if kind != "application/octet-stream" or not size.isdigit() or not int(size):
                return self.refuse(400, "photo: got none, wanted the bytes of an image file")
            if int(size) > LIMIT:
                return self.refuse(413, f"photo: got {size} bytes, wanted at most {LIMIT}")
            asked = parse_qs(urlsplit(self.path).query)
            words = [f"--{key}={asked[key][0]}" for key in ("class", *choices) if key in asked]
            said = io.StringIO()
            sent = self.rfile.read(int(size))
            alone = contextlib.redirect_stdout(said)
            with tempfile.TemporaryDirectory() as folder, one_at_a_time, alone:
                photo, out = Path(folder) / "photo", Path(folder) / "map.png"
                photo.write_bytes(sent)
                try:
                    draw(["map", str(photo), "--model", model, *words, "--out", str(out)])
                except SystemExit:
                    return self.refuse(400, f"got {' '.join(words)}, wanted what the form offers")
                except Exception as error:  # whatever it is, the page must hear of it
                    return self.refuse(422, told(error).replace(f"{folder}/", ""))
                picture = base64.b64encode(out.read_bytes()).decode()
            text = said.getvalue().partition("written: ")[0]
            return self.answer(200, json.dumps({"picture": picture, "text": text}))

        def refuse(self, status: int, error: str) -> None:
            self.answer(status, json.dumps({"error": error}))

        def answer(self, status: int, text: str, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("content-type", f"{kind}; charset=utf-8")
            self.send_header("x-content-type-options", "nosniff")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing: file names and classes are nobody's business."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)
