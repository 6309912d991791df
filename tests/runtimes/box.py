"""Processes and directories that end with the test.

The entry script has put us into mount, network and process namespaces of our own, so that nothing outlives them and
nothing of the machine's own runtimes is seen or touched; here are the mounts inside, and the processes.
"""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

# Debian's own programs only: what else stands on PATH (another docker, a snap) is not what is tested.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# No client's pull takes longer when all is well; one that does is ended and counts as failed.
CLIENT_SECONDS = 60


# All of 127.0.0.0/8 is loopback (RFC 1122, 3.2.1.3). 127.0.0.2 is Oracle's.
OTHER_LOOPBACK = "127.0.0.3"


class SetupError(Exception):
    """Something that the test itself needs did not come up."""


def enter(work, names, others):
    """Prepares the namespaces: loopback up, memory file systems for all state, the machine's own /etc out of reach.

    `names` are the hosts that are found on loopback, `others` those at a second address of it; there are no others.
    """
    # The gate runs as another user and must read what is written here for it.
    os.umask(0o022)
    _loopback_up()
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(work))
    # Sockets of the machine's own containerd, docker and podman are out of sight; what is written here vanishes.
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    # containers/image keeps a cache of where blobs were seen here, whatever root is named.
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/var/lib/containers")
    _mount("--bind", "/etc", "/etc")
    _mount("-o", "remount,bind,ro", "/etc")
    # Here alone: Podman and skopeo are given the packaged files at the paths where an administrator puts them.
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/etc/containers")
    os.makedirs("/run/lock", exist_ok=True)
    hosts = Path("/run/hosts")
    hosts.write_text(f"127.0.0.1 localhost {' '.join(names)}\n{OTHER_LOOPBACK} {' '.join(others)}\n")
    _mount("--bind", str(hosts), "/etc/hosts")


def _mount(*arguments):
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SetupError(f"mount {' '.join(arguments)}: {done.stderr.strip()}")


def _loopback_up():
    siocsifflags, up_running = 0x8914, 0x41
    with socket.socket() as sock:
        fcntl.ioctl(sock, siocsifflags, struct.pack("16sh14x", b"lo", up_running))


def add_address(address):
    """Gives loopback one more address, for a server that clients look for under a fixed one."""
    siocsifaddr = 0x8916
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        name = struct.pack("16sH2x4s8x", b"lo:1", socket.AF_INET, socket.inet_aton(address))
        fcntl.ioctl(sock, siocsifaddr, name)


class Daemon:
    """A running server, its log, and its end."""

    def __init__(self, name, process, log):
        self.name = name
        self.process = process
        self.log = log

    def stop(self, seconds=20):
        """SIGTERM, then SIGKILL; gives the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def tail(self, lines=40):
        """The end of its log, whichever output it goes to."""
        texts = [path.read_text(errors="replace") for path in (self.log, self.log.with_suffix(".out"))]
        return "\n".join(line for text in texts for line in text.splitlines()[-lines:])


class Output:
    """What one run of a client left: exit status, and both outputs in one text."""

    def __init__(self, argv, status, text):
        self.argv = argv
        self.status = status
        self.text = text

    def __str__(self):
        return f"$ {' '.join(map(str, self.argv))}\n{self.text.rstrip()}\n[exit {self.status}]"


class Box:
    """One temporary directory with everything that runs in it."""

    def __init__(self, work):
        self.work = Path(work)
        self.daemons = []
        home = self.work / "home"
        for directory in (home, self.work / "tmp", self.work / "log"):
            directory.mkdir()
        (self.work / "tmp").chmod(0o1777)
        # Nothing is inherited: no proxy, no credentials, no certificate paths of the machine.
        self.environment = {
            "PATH": PATH,
            "HOME": str(home),
            "TMPDIR": str(self.work / "tmp"),
            "XDG_RUNTIME_DIR": "/run",
            "LANG": "C.UTF-8",
        }

    def directory(self, name):
        """A new directory below the box."""
        path = self.work / name
        path.mkdir(parents=True)
        return path

    def trust(self, authority):
        """Every Go program started from now on takes this file for the machine's certificate authorities."""
        none = self.directory("no-authorities")
        self.environment.update(SSL_CERT_FILE=str(authority), SSL_CERT_DIR=str(none))

    def spawn(self, name, argv, environment=None, user=None):
        """Starts a server; both outputs go to `log/<name>.log`, stdout alone to `log/<name>.out`."""
        log = self.work / "log" / f"{name}.log"
        options = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        with open(log, "ab") as errors, open(log.with_suffix(".out"), "ab") as output:
            process = subprocess.Popen(
                [str(argument) for argument in argv],
                cwd=self.work,
                env=self.environment if environment is None else environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                **options,
            )
        daemon = Daemon(name, process, log)
        self.daemons.append(daemon)
        return daemon

    def await_ready(self, daemon, what, probe, seconds=20):
        """Waits until `probe()` is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if daemon.process.poll() is not None:
                raise SetupError(f"{daemon.name} ended with {daemon.process.returncode}:\n{daemon.tail()}")
            if probe():
                return
            time.sleep(0.02)
        raise SetupError(f"{daemon.name}: no {what} within {seconds} s:\n{daemon.tail()}")

    def run(self, argv, stdin=b"", seconds=CLIENT_SECONDS):
        """Runs a program to its end; its whole process group is killed when it takes too long."""
        process = subprocess.Popen(
            [str(argument) for argument in argv],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            text, _ = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            text, _ = process.communicate()
            text += f"\n(killed after {seconds} s)".encode()
        return Output(argv, process.returncode, text.decode(errors="replace"))

    def must(self, argv, **options):
        """Runs a program that the test itself needs."""
        output = self.run(argv, **options)
        if output.status != 0:
            raise SetupError(str(output))
        return output

    def close(self):
        """Ends every server, last started first."""
        for daemon in reversed(self.daemons):
            daemon.stop(5)


def port_open(port, address="127.0.0.1"):
    """Whether somebody listens on this port of loopback."""
    with socket.socket() as sock:
        return sock.connect_ex((address, port)) == 0
