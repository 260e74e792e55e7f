"""A Slurm cluster of this machine alone, in a folder of its own, beside any other that there may be."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CONF = """\
ClusterName=drill
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
# The second shortens how long a requeued job waits for its next life.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SchedulerParameters=sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=main Nodes={host} Default=YES
"""
PATIENCE = 60  # seconds for the node to come up


@contextmanager
def one_node(folder: Path, cpus: int = 2) -> Iterator[None]:
    """Start munged, slurmctld and slurmd, for root; commands of Slurm find them by SLURM_CONF.

    Args:
        folder: holds all that they write; others may enter it, as munged runs as a user of its own.
        cpus: that Slurm gives to jobs.
    """
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    for path in (folder / "munge", key):
        shutil.chown(path, "munge", "munge")
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    conf.write_text(CONF.format(host=host, folder=folder, cpus=cpus, ports=_free_ports(2)))
    os.environ["SLURM_CONF"] = str(conf)
    places = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
    munged = ["munged", "--foreground", *(f"--{what}={folder / 'munge' / name}" for what, name in places.items())]
    with ExitStack() as daemons:
        daemons.enter_context(_daemon(munged, user="munge", group="munge"))
        daemons.enter_context(_daemon(["slurmctld", "-D", "-i"]))
        daemons.enter_context(_daemon(["slurmd", "-D"]))
        _await_node(folder)
        yield


@contextmanager
def _daemon(words: list[str], **options: str) -> Iterator[None]:
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    found = shutil.which(words[0], path=path)
    if found is None:
        raise SystemExit(f"There is no {words[0]}. On Debian and Ubuntu: apt-get install slurm-wlm munge")
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([found, *words[1:]], **silent, **options)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in sockets]


def _await_node(folder: Path) -> None:
    """Wait until the node takes jobs."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        state = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True).stdout.strip()
        if state == "idle":
            return
        time.sleep(0.5)
    raise SystemExit(f"Slurm does not come up (its node is {state or 'unknown'}): see {folder}/*.log")
