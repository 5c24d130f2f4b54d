"""A JupyterHub for one class on one machine.

Run from the repository, after `make course`:

    ZEROCAM_CLASS=/srv/zerocam  ZEROCAM_PASSWORD=...  jupyterhub -f hub/jupyterhub_config.py

Students log in with any name of ZEROCAM_STUDENTS, or any at all if it is empty, and one password.
Each gets a folder with the student edition, and a server of their own that runs as the user who
started the hub.  That is enough for a class that trusts itself, in a closed network.  Where it is
not: accounts of the system, PAMAuthenticator and LocalProcessSpawner, or containers.
"""

import os
import secrets
import shutil
import sys
from pathlib import Path

c = get_config()  # noqa: F821
ROOT = Path(__file__).resolve().parents[1]
CLASS = Path(os.environ.get("ZEROCAM_CLASS", ROOT / "_build" / "class")).resolve()
EDITION = Path(os.environ.get("ZEROCAM_EDITION", ROOT / "_build" / "course" / "student"))
PORT = int(os.environ.get("ZEROCAM_PORT", "8000"))
BIN = Path(sys.executable).parent
CLASS.mkdir(parents=True, exist_ok=True)

c.JupyterHub.bind_url = os.environ.get("ZEROCAM_BIND", f"http://127.0.0.1:{PORT}")
c.JupyterHub.hub_port = PORT + 1
c.JupyterHub.db_url = f"sqlite:///{CLASS / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(CLASS / "cookie_secret")
# A proxy in Python, from the package index: no node.
c.ConfigurableHTTPProxy.command = [str(BIN / "configurable-http-proxy")]
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{PORT + 2}"
c.ConfigurableHTTPProxy.pid_file = str(CLASS / "proxy.pid")

c.JupyterHub.authenticator_class = "dummy"
if "ZEROCAM_PASSWORD" not in os.environ:  # without one, anybody would be let in
    os.environ["ZEROCAM_PASSWORD"] = secrets.token_hex(4)
    print("The password of the class:", os.environ["ZEROCAM_PASSWORD"])
c.DummyAuthenticator.password = os.environ["ZEROCAM_PASSWORD"]
c.Authenticator.allowed_users = set(os.environ.get("ZEROCAM_STUDENTS", "").split())
c.Authenticator.allow_all = not c.Authenticator.allowed_users

c.JupyterHub.spawner_class = "simple"  # a process; it asks for no account of the system
c.SimpleLocalProcessSpawner.home_dir_template = str(CLASS / "{username}")
c.Spawner.cmd = [str(BIN / "jupyterhub-singleuser")]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.Spawner.default_url = "/lab/tree/notebooks"
c.Spawner.start_timeout = c.Spawner.http_timeout = 300
c.Spawner.environment = {
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",  # many students, few cores
    "MKL_NUM_THREADS": "1",
    "JUPYTER_PREFER_ENV_PATH": "1",
}
if path := os.environ.get("PYTHONPATH"):
    c.Spawner.environment["PYTHONPATH"] = path
c.JupyterHub.concurrent_spawn_limit = 0  # a slow start is better than none
c.JupyterHub.cleanup_servers = True


def hand_out(spawner):
    """Give a student the edition; what is there already is the student's work, and stays."""
    home = CLASS / spawner.user.name
    for file in sorted(p for p in EDITION.rglob("*") if p.is_file()):
        place = home / file.relative_to(EDITION)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


c.Spawner.pre_spawn_hook = hand_out

# For whoever has the token, tests/test_hub.py among them: starting and stopping servers.
if token := os.environ.get("ZEROCAM_API_TOKEN"):
    c.JupyterHub.services = [{"name": "teacher", "api_token": token}]
    scopes = ["admin:users", "admin:servers", "access:servers", "tokens", "list:users"]
    c.JupyterHub.load_roles = [{"name": "teacher", "services": ["teacher"], "scopes": scopes}]
