"""A form in the browser, for this machine alone: what `zerocam page` serves.

It listens on the loopback address and answers no other name, takes photographs of at most 20 MB,
one at a time, and keeps nothing.  What a photograph shows is said by `zerocam.cases`.
"""

import html
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from string import Template
from urllib.parse import parse_qs, urlsplit

LIMIT = 20 * 2**20  # bytes of a photograph
BYTES = "application/octet-stream"

Asked = dict[str, str]  # what the form says, by the name of its field
Answer = Callable[[bytes, Asked], dict[str, str]]


def filled_form(model: str, choices: Mapping[str, Sequence[str]]) -> str:
    """The form: page.html with the model's name and an option for each choice."""

    def options(name: str) -> str:
        return "".join(f"<option>{html.escape(choice)}</option>" for choice in choices[name])

    form = Template((files("zerocam") / "page.html").read_text(encoding="utf-8"))
    return form.substitute(
        model=html.escape(model), targets=options("target"), references=options("reference")
    )


def server(
    answer: Answer, model: str, port: int, choices: Mapping[str, Sequence[str]]
) -> ThreadingHTTPServer:
    """The page's server on 127.0.0.1; port 0 takes a free one.

    answer: (bytes of the photograph, what the form says) -> {"picture": PNG in base64, "text": ...}
    or {"error": ...}.  It must not raise, and is called by one thread at a time.
    """

    class Page(Handler):
        form, fields, reply = filled_form(model, choices), dict(choices), staticmethod(answer)
        alone = threading.Lock()

    return ThreadingHTTPServer(("127.0.0.1", port), Page)


class Handler(BaseHTTPRequestHandler):
    """Gives the form to who asks for it, and an answer to who sends a photograph."""

    form: str
    fields: Mapping[str, Sequence[str]]
    reply: Answer
    alone: threading.Lock
    server: ThreadingHTTPServer
    timeout = 20

    def do_GET(self) -> None:
        """The form, and nothing else."""
        if self.path == "/":
            self.send(200, self.form, "text/html")
        else:
            self.refuse(404, "nothing")

    def do_POST(self) -> None:
        """The picture and the numbers for a photograph."""
        names = {f"{host}:{self.server.server_port}" for host in ("127.0.0.1", "localhost")}
        size, origin = self.headers.get("content-length", ""), self.headers.get("origin")
        asked = {name: words[0] for name, words in parse_qs(urlsplit(self.path).query).items()}
        if self.headers.get("host") not in names or (origin and origin[7:] not in names):
            self.refuse(403, "this page answers its own machine only")
        elif self.headers.get("content-type") != BYTES or not size.isdigit() or not int(size):
            self.refuse(400, "photo: got none, wanted the bytes of an image file")
        elif int(size) > LIMIT:
            self.refuse(413, f"photo: got {size} bytes, wanted at most {LIMIT}")
        elif wrong := [
            n for n, choices in self.fields.items() if asked.get(n, *choices[:1]) not in choices
        ]:
            self.refuse(400, f"{wrong[0]}: got {asked[wrong[0]]!r}, wanted what the form offers")
        else:
            photo = self.rfile.read(int(size))
            with self.alone:
                said = self.reply(photo, asked)
            self.send(422 if "error" in said else 200, json.dumps(said))

    def refuse(self, status: int, error: str) -> None:
        """Say why not."""
        self.send(status, json.dumps({"error": error}))

    def send(self, status: int, text: str, kind: str = "application/json") -> None:
        """Send a text of one kind."""
        self.send_response(status)
        self.send_header("content-type", f"{kind}; charset=utf-8")
        self.send_header("x-content-type-options", "nosniff")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: file names and classes are nobody's business."""
