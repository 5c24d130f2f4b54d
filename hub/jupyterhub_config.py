"""A JupyterHub for a class on one Linux machine, with a wall round each student.

Run as root, from the repository, after `make course`; each student has an account of the system:

    ZEROCAM_STUDENTS="s01 s02 s03"  jupyterhub -f hub/jupyterhub_config.py

A student logs in with the name and the password of the account, which the system keeps as a hash,
and works in ~/zerocam as that account: what other accounts may not read, a student may not.  The
hub does not start where that would not hold: walls.py says what it asks for.
"""

import os
import pwd
import runpy
import subprocess
import sys
from pathlib import Path

c = get_config()  # noqa: F821
HERE = Path(__file__).resolve().parent
refusals = runpy.run_path(str(HERE / "walls.py"))["refusals"]
COURSE = Path(os.environ.get("ZEROCAM_COURSE", HERE.parent / "_build" / "course")).resolve()
CLASS = Path(os.environ.get("ZEROCAM_CLASS", "/var/lib/zerocam")).resolve()
STUDENTS = os.environ.get("ZEROCAM_STUDENTS", "").split()
PORT = int(os.environ.get("ZEROCAM_PORT", "8000"))
GIB = int(os.environ.get("ZEROCAM_MEMORY", "6"))  # for each process of a student
SECONDS = int(os.environ.get("ZEROCAM_SECONDS", "3600"))  # of a processor, for each process
BIN = Path(sys.executable).parent

if wrong := refusals(STUDENTS, COURSE, CLASS):
    sys.exit("The hub does not start, since its walls would not hold:\n- " + "\n- ".join(wrong))

c.JupyterHub.bind_url = os.environ.get("ZEROCAM_BIND", f"http://127.0.0.1:{PORT}")
c.JupyterHub.hub_port = PORT + 1
c.JupyterHub.db_url = f"sqlite:///{CLASS / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(CLASS / "cookie_secret")
# A proxy in Python, from the package index: no node.  Of itself it gives a server 20 s to answer;
# when a class of twenty starts its kernels at once, some servers need longer.
PROXY = [str(BIN / "configurable-http-proxy"), "--proxy-timeout=300000"]  # ms
c.ConfigurableHTTPProxy.command = PROXY
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{PORT + 2}"
c.ConfigurableHTTPProxy.pid_file = str(CLASS / "proxy.pid")

c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.open_sessions = False
c.Authenticator.allowed_users = set(STUDENTS)

c.JupyterHub.spawner_class = "localprocess"  # as the student's account
limits = ["prlimit", f"--data={GIB * 2**30}", f"--cpu={SECONDS}", "--nproc=500", "--core=0"]
c.Spawner.cmd = [*limits, str(BIN / "jupyterhub-singleuser")]
c.Spawner.notebook_dir = "~/zerocam"
c.Spawner.default_url = "/lab/tree/notebooks"
c.Spawner.args = [
    "--MappingKernelManager.cull_idle_timeout=7200",
    # A server speaks to its kernels through files in the student's home, not through ports of the
    # machine: there, two servers that start kernels at once can choose the same port.
    "--KernelManager.transport=ipc",
]
c.Spawner.start_timeout = c.Spawner.http_timeout = 300
c.Spawner.environment = {
    "PATH": f"{BIN}{os.pathsep}/usr/local/bin{os.pathsep}/usr/bin{os.pathsep}/bin",
    "OMP_NUM_THREADS": "1",  # many students, few cores
    "MKL_NUM_THREADS": "1",
    "JUPYTER_PREFER_ENV_PATH": "1",
}
if path := os.environ.get("PYTHONPATH"):
    c.Spawner.environment["PYTHONPATH"] = path
c.JupyterHub.concurrent_spawn_limit = 0  # a slow start is better than none
c.JupyterHub.cleanup_servers = True


def hand_out(spawner):
    """Bring the student's folder up to date, as the student: so a link in it leads nowhere new.

    And tell the server where it keeps the sockets and the keys of its kernels.
    """
    account = pwd.getpwnam(spawner.user.name)
    # A short name: the path of a socket may have 107 characters.
    runtime = {"JUPYTER_RUNTIME_DIR": f"{account.pw_dir}/.jupyter-run"}
    spawner.environment = spawner.environment | runtime
    command = [sys.executable, "-I", str(HERE / "hand_out.py"), str(COURSE / "student")]
    subprocess.run(
        [*command, f"{account.pw_dir}/zerocam"],
        check=True,
        cwd="/",
        env={},
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        umask=0o077,
    )


c.Spawner.pre_spawn_hook = hand_out

# For whoever has the token, tests/test_hub.py among them: starting and stopping servers.
if token := os.environ.get("ZEROCAM_API_TOKEN"):
    c.JupyterHub.services = [{"name": "teacher", "api_token": token}]
    scopes = ["admin:users", "admin:servers", "access:servers", "tokens", "list:users"]
    c.JupyterHub.load_roles = [{"name": "teacher", "services": ["teacher"], "scopes": scopes}]
