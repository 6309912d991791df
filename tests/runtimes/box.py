"""Processes and directories that end with the run.

`run` starts the suite in its own mount, network and process namespaces, so that no process outlives them and the suite
neither sees nor touches the machine's own runtimes. This module makes the mounts inside, and starts the processes.
"""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

# Debian's own programs alone: the caller's PATH may hold others, such as another docker or a snap.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# A pull that takes longer is killed and counts as failed.
CLIENT_SECONDS = 60


# All of 127.0.0.0/8 is loopback (RFC 1122, 3.2.1.3). The stand-in of Oracle's services has 127.0.0.2.
OTHER_LOOPBACK = "127.0.0.3"


class SetupError(Exception):
    """A program that the suite itself needs failed."""


def enter(work, names, others):
    """Prepares the namespaces: loopback is up, state lies in memory, and the machine's own /etc is read-only.

    `names` resolve to 127.0.0.1 and `others` to `OTHER_LOOPBACK`; no other name resolves.
    """
    # The gate runs as another user and must be able to read its files.
    os.umask(0o022)
    _loopback_up()
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(work))
    # The sockets of the machine's own containerd, docker and podman are hidden, and new files vanish with the run.
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    # containers/image caches the locations of blobs here, for every root.
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/var/lib/containers")
    _mount("--bind", "/etc", "/etc")
    _mount("-o", "remount,bind,ro", "/etc")
    # Writable: Podman and skopeo read the packaged files at the paths where an administrator installs them.
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
    """Adds an address to loopback, for a server that clients ask at a fixed one."""
    siocsifaddr = 0x8916
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        name = struct.pack("16sH2x4s8x", b"lo:1", socket.AF_INET, socket.inet_aton(address))
        fcntl.ioctl(sock, siocsifaddr, name)


class Daemon:
    """A server and its log."""

    def __init__(self, name, process, log):
        self.name = name
        self.process = process
        self.log = log

    def stop(self, seconds=20):
        """Sends SIGTERM, then SIGKILL; returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def tail(self, lines=40):
        """Returns the last lines of both outputs."""
        texts = [path.read_text(errors="replace") for path in (self.log, self.log.with_suffix(".out"))]
        return "\n".join(line for text in texts for line in text.splitlines()[-lines:])


class Output:
    """The exit status of a program, and both of its outputs in one text."""

    def __init__(self, argv, status, text):
        self.argv = argv
        self.status = status
        self.text = text

    def __str__(self):
        return f"$ {' '.join(map(str, self.argv))}\n{self.text.rstrip()}\n[exit {self.status}]"


class Box:
    """A temporary directory, and every process that runs in it."""

    def __init__(self, work):
        self.work = Path(work)
        self.daemons = []
        home = self.work / "home"
        for directory in (home, self.work / "tmp", self.work / "log"):
            directory.mkdir()
        (self.work / "tmp").chmod(0o1777)
        # The processes inherit no variable of the machine: no proxy, no credentials, no certificate paths.
        self.environment = {
            "PATH": PATH,
            "HOME": str(home),
            "TMPDIR": str(self.work / "tmp"),
            "XDG_RUNTIME_DIR": "/run",
            "LANG": "C.UTF-8",
        }

    def directory(self, name):
        """Creates a directory in the box."""
        path = self.work / name
        path.mkdir(parents=True)
        return path

    def trust(self, authority):
        """Makes later Go programs read this file as the machine's certificate authorities."""
        empty = self.directory("no-authorities")
        self.environment.update(SSL_CERT_FILE=str(authority), SSL_CERT_DIR=str(empty))

    def spawn(self, name, argv, environment=None, user=None):
        """Starts a server; its standard error goes to `log/<name>.log`, its standard output to `log/<name>.out`."""
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

    def await_ready(self, daemon, condition, probe, seconds=20):
        """Waits until `probe()` is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if daemon.process.poll() is not None:
                raise SetupError(f"{daemon.name} exited with {daemon.process.returncode}:\n{daemon.tail()}")
            if probe():
                return
            time.sleep(0.02)
        raise SetupError(f"{daemon.name}: no {condition} within {seconds} s:\n{daemon.tail()}")

    def run(self, argv, stdin=b"", seconds=CLIENT_SECONDS):
        """Runs a program to its end; after `seconds` it kills the whole process group."""
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
        """Runs a program that the suite itself needs."""
        output = self.run(argv, **options)
        if output.status != 0:
            raise SetupError(str(output))
        return output

    def close(self):
        """Stops every server, in the reverse order of their start."""
        for daemon in reversed(self.daemons):
            daemon.stop(5)


def port_open(port, address="127.0.0.1"):
    """Returns whether a server listens on this port of loopback."""
    with socket.socket() as sock:
        return sock.connect_ex((address, port)) == 0
