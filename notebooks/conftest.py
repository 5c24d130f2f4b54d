"""Kernels under nbval talk through files: two that start at once can draw the same port."""

import tempfile

from jupyter_client.manager import KernelManager

KernelManager.transport.default_value = "ipc"
KernelManager._ip_default = lambda self: tempfile.mkdtemp(prefix="kernel") + "/k"
