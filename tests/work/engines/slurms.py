"""A real Slurm for tests: munged, slurmctld and nodes, each in namespaces of its own, on loopback, without systemd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import environment, need, need_root, wait_for
from tests.work.engines.clusters import marked

_NODE = 'hostname "$0" && mount --bind "$1" /etc/hosts && exec slurmd -D -N "$0"'
_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={port}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool/%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=100000
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=20
KillWait=5
MinJobAge=300
JobRequeue=1
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=main Nodes=n[1-{number}] Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A controller and some nodes of two processors, all of them processes of this test."""

    def __init__(self, home: Path, number: int = 2) -> None:
        need("munged", "slurmctld", "slurmd", "sbatch", "unshare")
        need_root()
        self.home = home
        for name in ("state", "spool", "munge"):
            (home / name).mkdir(parents=True)
        (home / "munge").chmod(0o755)
        self.port = _free_ports(number + 1)
        ports = {f"n{at}": self.port + at for at in range(1, number + 1)}
        nodes = "\n".join(
            f"NodeName={name} NodeAddr=127.0.0.1 Port={port} CPUs=2 Gres=gpu:2" for name, port in ports.items()
        )
        text = _CONF.format(home=home, host=socket.gethostname(), port=self.port, nodes=nodes, number=number)
        self.conf = home / "slurm.conf"
        self.conf.write_text(text)
        cards = (f"NodeName=n[1-{number}] Name=gpu File=/dev/{file}\n" for file in ("null", "zero"))
        (home / "gres.conf").write_text("".join(cards))
        self.environment = {"SLURM_CONF": str(self.conf), "XDG_STATE_HOME": str(home / "state-home")}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._start_munge()
            self.start_controller()
            for name in ports:
                self.start_node(name)
            wait_for(lambda: len(self._idle_nodes()) == number, "the nodes of Slurm", 60)
        except BaseException:
            self.close()
            raise

    def _start_munge(self) -> None:
        key = self.home / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        names = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
        options = [f"--{option}={self.home}/munge/{name}" for option, name in names.items()]
        self._start("munge", "munged", "--foreground", "--force", *options)
        wait_for((self.home / "munge" / "socket").exists, "munged")

    def start_controller(self) -> None:
        self._start("controller", "slurmctld", "-D")

    def start_node(self, name: str) -> None:
        """Its death is `kill` of that process, which takes all that runs there along."""
        spaces = ("--uts", "--pid", "--mount", "--fork", "--kill-child=KILL", "--mount-proc")
        (self.home / "spool" / name).mkdir(exist_ok=True)
        hosts = self.home / f"hosts-{name}"  # slurmd looks its own name up
        hosts.write_text(f"{Path('/etc/hosts').read_text()}\n127.0.0.1 {name}\n")
        self._start(name, "unshare", *spaces, "sh", "-c", _NODE, name, str(hosts))

    def _start(self, name: str, *words: str) -> None:
        with (self.home / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment(**self.environment),
                start_new_session=True,
            )  # fmt: skip

    def _idle_nodes(self) -> set[str]:
        return set(self.run("sinfo", "-h", "-N", "-r", "-t", "idle,alloc,mix", "-o", "%N").split())

    def run(self, *words: str) -> str:
        """What a command of Slurm prints; empty if it fails."""
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(**self.environment))
        return done.stdout if done.returncode == 0 else ""

    def jobs(self, *states: str) -> dict[str, str]:
        """The names of nodes by the ids of jobs, of those in these states or in any in which they may still run."""
        wanted = ",".join(states or ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING"))
        lines = self.run("squeue", "-h", "-t", wanted, "-o", "%i %N").splitlines()
        return {line.split()[0]: line.partition(" ")[2].strip() for line in lines}

    def pids(self, text: str) -> list[int]:
        """The processes of this Slurm, and of what uses it, whose command line has that text."""
        return [pid for pid in marked(text) if self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        try:
            return f"SLURM_CONF={self.conf}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def close(self) -> None:
        for process in reversed(self.processes.values()):  # with a node ends all that runs there
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


def _free_ports(number: int) -> int:
    """The first of so many ports in a row that are free now."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
        if port + number < 65536 and _are_free(range(port, port + number)):
            return port


def _are_free(ports: Sequence[int]) -> bool:
    try:
        for port in ports:
            socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
