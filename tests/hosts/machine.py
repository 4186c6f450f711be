"""Emulated machines on a private network: hosts with a kernel, a clock and a disk of their own, and a real NFS server.

They boot the kernel that `scripts/machines install` has put into `.machines`. Their root is this machine's, read-only
by 9p, below files in memory; /disk is theirs, and so are /tmp and /var/tmp, which lie there and outlive a reboot. As
nothing is virtualized (qemu 7.2, TCG), they are fifteen times slower than this machine: a trial, not a part of CI.

What runs on this machine is reached at 10.0.2.2, by its ports on loopback.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support import wait_for

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / ".machines"
HERE = "10.0.2.2"
"""The address at which machines reach this one."""
_BOOT, _START = 300.0, 300.0
_AGENT_PORT = 7777
_MODULES = ("virtio_pci", "virtio_net", "virtio_blk", "9pnet_virtio", "9p", "overlay", "ext4")
_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin; mount -t proc proc /proc; mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </order
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 root /below
mount -t tmpfs -o size=300m above /above; mkdir /above/upper /above/work
mount -t overlay -o lowerdir=/below,upperdir=/above/upper,workdir=/above/work root /root
for word in $(cat /proc/cmdline); do case $word in begin=*) begin=${word#*=};; esac; done
umount /dev; exec switch_root /root /bin/bash "$begin"
"""
_BEGIN = """\
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run; mkdir -p /lib/modules
mount --bind {files}/lib/modules /lib/modules; hostname {name}
mkdir -p /disk; mount /dev/vda /disk; mkdir -p -m 1777 /disk/tmp; mount --bind /disk/tmp /tmp
mount --bind /disk/tmp /var/tmp; ip link set lo up; ip addr add {address}/24 dev eth0; ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth1; ip link set eth1 up
echo "127.0.0.1 localhost {name}" > /etc/hosts
exec setsid {python} {agent} {port} </dev/null >/dev/console 2>&1
"""
_SERVE = """\
set -e; modprobe nfsd; mkdir -p /disk/spools /disk/nfs /run/nfs; mount -t nfsd nfsd /proc/fs/nfsd 2>/dev/null || true
mount --bind /disk/nfs /var/lib/nfs; mkdir -p /var/lib/nfs/sm /var/lib/nfs/v4recovery
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
echo "/disk/spools 10.99.0.0/24(rw,sync,no_root_squash,no_subtree_check,fsid=0)" > /etc/exports; exportfs -ar
echo 10 > /proc/fs/nfsd/nfsv4gracetime; echo 10 > /proc/fs/nfsd/nfsv4leasetime; rpc.nfsd --no-nfs-version 3 4
rpc.mountd --no-nfs-version 3
"""


class Machines:
    """Those on one network; files in `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.network = _free_port()
        self.all: list[Machine] = []
        self._make_first_files()

    def boot(self, name: str, *, clock: datetime | None = None) -> Machine:
        """Start a machine; `wait_up` before it is used. Its clock is this machine's, unless another is given."""
        machine = Machine(self, name, len(self.all) + 1, clock)
        self.all.append(machine)
        return machine

    def close(self) -> None:
        for machine in self.all:
            machine.die()
        shutil.rmtree(self.root, ignore_errors=True)

    def _make_first_files(self) -> None:
        """The image from which all of them boot."""
        (version,) = os.listdir(FILES / "lib/modules")
        tree = self.root / "first"
        for directory in ("bin", "modules", "below", "above", "root", "proc", "dev"):
            (tree / directory).mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, tree / "bin/busybox")
        (tree / "bin/sh").symlink_to("busybox")
        order: list[str] = []
        for module in _MODULES:
            words = ["modprobe", "-d", str(FILES), "-S", version, "--show-depends", module]
            for line in subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines():
                path = line.split()[1]
                if line.startswith("insmod") and os.path.basename(path) not in order:
                    order.append(os.path.basename(path))
                    shutil.copy(path, tree / "modules")
        (tree / "order").write_text("".join(f"{name}\n" for name in order))
        (tree / "init").write_text(_INIT)
        (tree / "init").chmod(0o755)
        pack = f"cd {tree} && find . | cpio -o -H newc --quiet | gzip -1 > {self.root}/initrd"
        subprocess.run(["sh", "-c", pack], check=True)
        shutil.rmtree(tree)


class Machine:
    """One machine. Its network cards, and what is on its disk, stay the same through a reboot."""

    def __init__(self, machines: Machines, name: str, number: int, clock: datetime | None) -> None:
        self.name, self.address, self.clock = name, f"10.99.0.{number}", clock
        self._machines, self._number = machines, number
        self.home = machines.root / name
        self.home.mkdir()
        self._disk = self.home / "disk"
        with self._disk.open("wb") as file:
            file.truncate(400 << 20)
        subprocess.run(["mkfs.ext4", "-q", self._disk], check=True)
        begin = _BEGIN.format(
            files=FILES,
            name=name,
            address=self.address,
            python=sys.executable,
            agent=Path(__file__).with_name("agent.py"),
            port=_AGENT_PORT,
        )
        (self.home / "begin").write_text(begin)
        self.start()

    def start(self) -> None:
        """Boot, again after `die`."""
        self._port = _free_port()
        append = f"console=ttyS0 quiet panic=-1 net.ifnames=0 begin={self.home}/begin"
        mac, base = f"52:54:00:00:00:0{self._number}", str(self._machines.root)
        words = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "qemu-system-x86_64",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-smp",
            "1",
            "-m",
            "512",
            "-nographic",
        ]
        words += ["-no-reboot", "-kernel", str(FILES / "kernel"), "-initrd", f"{base}/initrd", "-append", append]
        words += ["-fsdev", "local,id=f,path=/,security_model=none,readonly=on,multidevs=remap"]
        words += ["-device", "virtio-9p-pci,fsdev=f,mount_tag=root"]
        words += ["-drive", f"file={self._disk},format=raw,if=virtio,cache=writeback"]
        words += ["-netdev", f"socket,id=n,mcast=230.0.0.1:{self._machines.network},localaddr=127.0.0.1"]
        words += ["-device", f"virtio-net-pci,romfile=,netdev=n,mac={mac}"]
        words += ["-netdev", f"user,id=u,hostfwd=tcp:127.0.0.1:{self._port}-:{_AGENT_PORT}"]
        words += ["-device", f"virtio-net-pci,romfile=,netdev=u,mac={mac.replace(':00:0', ':01:0')}"]
        if self.clock is not None:
            words += ["-rtc", f"base={self.clock:%Y-%m-%dT%H:%M:%S},clock=vm"]
        with (self.home / "console").open("wb") as console:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=console, stderr=console)

    def wait_up(self) -> Machine:
        wait_for(self._is_up, f"the boot of {self.name} (see {self.home}/console)", _BOOT)
        return self

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"{self.name}: {(self.home / 'console').read_bytes()[-1000:]!r}"
        try:
            return self.popen("true", patience=3).wait(3).code == 0
        except OSError:
            return False

    def die(self) -> None:
        """Its death, at once; its disk is as a power cut would leave it whose caches last."""
        self.process.kill()
        self.process.wait()

    def popen(
        self,
        *words: str,
        stdin: str = "",
        stderr: str = "",
        env: Mapping[str, str] | None = None,
        patience: float = _START,
    ) -> Remote:
        """Start a command there, with its errors in that file of the machine. Raises OSError if that cannot be done."""
        request = {"words": words, "env": dict(env or {}), "stdin": stdin, "stderr": stderr}
        return Remote(self._port, request, patience)

    def run(self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None, patience: float = 120) -> Ended:
        """A command there, to its end. Raises OSError if it has not ended by then."""
        return self.popen(*words, stdin=stdin, env=env).wait(patience)

    def ok(self, *words: str, stdin: str = "", patience: float = 120) -> str:
        done = self.run(*words, stdin=stdin, patience=patience)
        assert done.code == 0, f"{self.name}: {' '.join(words)}: {done.code}\n{done.out}{done.err}"
        return done.out.removesuffix("\n")

    def shell(self, text: str, patience: float = 120) -> str:
        return self.ok("bash", "-c", text, patience=patience)

    def serve(self) -> None:
        """Export /disk/spools by the kernel's NFS server; again after a reboot."""
        self.shell(_SERVE)

    def mount(self, server: Machine, options: str = "vers=4.2") -> None:
        """Mount what that machine exports on /mnt."""
        self.shell(f"modprobe nfsv4; mkdir -p /mnt; mount -t nfs -o {options} {server.address}:/ /mnt")


class Ended:
    """How a command went."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> Any:
        return json.loads(self.out)


class Remote:
    """A command that runs on a machine; `pid` is as that numbers it."""

    def __init__(self, port: int, request: Mapping[str, object], patience: float) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), patience)
        self._stream = self._socket.makefile("rb")
        self._ended: Ended | None = None
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            self.pid = int(self._line())
        except OSError:
            self._socket.close()
            raise

    def _line(self) -> bytes:
        line = self._stream.readline()
        if not line:
            raise ConnectionResetError("the machine does not answer")
        return line

    def poll(self) -> Ended | None:
        """How it ended; None while it runs, or once its machine has died."""
        with suppress(OSError):
            return self.wait(0)
        return None

    def wait(self, patience: float) -> Ended:
        """Raises OSError if it has not ended by then, or its machine has died."""
        if self._ended is None:
            if not select.select([self._socket], [], [], patience)[0]:
                raise TimeoutError(f"process {self.pid} has not ended")
            self._socket.settimeout(_START)
            said = json.loads(self._line())
            self._ended = Ended(said["code"], said["out"], said["err"])
            self._socket.close()
        return self._ended


def missing() -> str | None:
    """Why no machine can be started here; None if nothing is missing."""
    if os.geteuid():
        return "needs root"
    done = subprocess.run(["sh", str(ROOT / "scripts/machines"), "check"], check=False, capture_output=True, text=True)
    return done.stderr.strip() or None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def up(machines: Sequence[Machine]) -> None:
    for machine in machines:
        machine.wait_up()
