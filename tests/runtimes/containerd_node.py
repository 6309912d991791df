"""A containerd with its own gate: the verifier plug-in in its bin_dir, the CRI door in front of its socket."""

import json
import os
import shutil
import socket

import box
import clients
import gate
import images
import origin
from node_images import PAUSE, PAUSE_REPOSITORY, PAUSE_TAG
from report import expect, require_reason, require_success

# The current version and the one before, which `peers.sh` builds with Go under these names.
FROM_GO = ("2.4.2", "2.3.7")
# Debian's own, by the version that Debian 12 has.
DEBIAN = "1.6"


class Node:
    """A containerd of one version and a gate, with the clients that ask them."""

    def __init__(self, the_box, the_gate, version, programs):
        self.box = the_box
        self.gate = the_gate
        self.version = version
        self.programs = programs
        self.directory = the_box.directory(f"node-{version}")
        self.directory.chmod(0o755)
        self.run = the_box.directory(f"node-{version}/run")
        os.chown(self.run, gate.USER, gate.USER)
        self.socket = self.directory / "containerd.sock"
        self.admission = self.run / "admission.sock"
        self.control = self.run / "control.sock"
        self.cri = self.run / "cri.sock"
        self.daemon = None
        self.containerd = None
        self.has_verifier = version in FROM_GO
        self.path = f"{programs / f'containerd-{version}'}:{box.PATH}" if version in FROM_GO else box.PATH
        self.configuration = None
        self.verifier = None
        self.authority = the_box.work / "authority.pem"

    def start(self):
        """Starts the gate, then containerd."""
        self.configure()
        self.start_gate()
        bin_dir = self.box.directory(f"node-{self.version}/bin")
        self.verifier = bin_dir / "pullgate-verifier"
        shutil.copy(self.gate.binaries["pullgate-verifier"], self.verifier)
        self.directory.joinpath("config.toml").write_text(self._containerd_configuration(bin_dir))
        self.start_containerd()

    def start_containerd(self):
        """Starts containerd and waits until it answers."""
        self.containerd = self.box.spawn(
            f"containerd-{self.version}",
            ["containerd", "--config", self.directory / "config.toml"],
            environment={**self.box.environment, "PATH": self.path, "PULLGATE_ADMISSION": str(self.admission)},
        )
        self.box.await_ready(
            self.containerd, "answer", lambda: self.ctr("images", "list", "--quiet").status == 0, seconds=60
        )

    def configure(self, recheck_present=False):
        """Writes the gate's configuration: the rules and keys of the registry door's gate, and the sockets."""
        text = self.gate.configuration.read_text()
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        os.chown(state, gate.USER, gate.USER)
        _, policy = text.split("[policy]", 1)
        self.configuration = self.gate.directory / f"node-{self.version}.toml"
        self.configuration.write_text(
            f"""[daemon]
state = {json.dumps(str(state))}
admission = {json.dumps(str(self.admission))}
control = {json.dumps(str(self.control))}

[door.cri]
listen = {json.dumps(str(self.cri))}
runtime = {json.dumps(str(self.socket))}
recheck_present = {json.dumps(recheck_present)}

[policy]{policy}
[[registry]]
host = "{origin.GCR}"
endpoint = "https://{origin.GCR}"
ca = {json.dumps(str(self.authority))}

[[rule]]
scope = "{origin.HOST}/{PAUSE_REPOSITORY}"
require = "digest"
digests = ["{PAUSE.digest}"]

[[rule]]
scope = "{origin.GCR}/**"
require = "insecure-accept-anything"
"""
        )

    def start_gate(self):
        """Starts pullgated and waits until its sockets accept connections."""
        self.daemon = self.box.spawn(
            f"pullgated-{self.version}",
            [self.gate.binaries["pullgated"], "--config", self.configuration],
            environment=self.gate.environment,
            user=gate.USER,
        )
        self.box.await_ready(self.daemon, "socket", lambda: _accepts(self.cri) and _accepts(self.admission))

    def stop_gate(self):
        """Stops pullgated, which must exit with 0."""
        status = self.daemon.stop(40)
        if status != 0:
            raise box.SetupError(f"pullgated exited with {status} after SIGTERM:\n{self.daemon.tail()}")

    def stop(self):
        """Stops containerd and pullgated."""
        self.containerd.stop()
        self.stop_gate()

    def _containerd_configuration(self, bin_dir):
        # Inside a container, root may not lower `oom_score_adj`, which the process of a pod otherwise does.
        common = f"""root = "{self.directory}/root"
state = "{self.directory}/containerd"
[grpc]
  address = "{self.socket}"
  gid = {gate.USER}
[plugins."io.containerd.metadata.v1.bolt"]
  content_sharing_policy = "isolated"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.directory}/opt"
"""
        if self.version not in FROM_GO:
            return f"""version = 2
{common}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{origin.HOST}/{PAUSE_REPOSITORY}:{PAUSE_TAG}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
"""
        return f"""version = 3
{common}
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{origin.HOST}/{PAUSE_REPOSITORY}:{PAUSE_TAG}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/{images.NATIVE}"
  snapshotter = "native"
[plugins."io.containerd.image-verifier.v1.bindir"]
  bin_dir = "{bin_dir}"
  per_verifier_timeout = "10s"
"""

    def ctr(self, *arguments, seconds=box.CLIENT_SECONDS):
        """Runs this version's `ctr`."""
        program = "ctr"
        if self.version in FROM_GO:
            program = self.programs / f"containerd-{self.version}" / "ctr"
        return self.box.run([program, "--address", self.socket, "--namespace", "k8s.io", *arguments], seconds=seconds)

    def cri_endpoint(self, door=True):
        """Returns the address of the CRI door, or of containerd itself."""
        return f"unix://{self.cri if door else self.socket}"

    def crictl(self, *arguments, door=True, seconds=box.CLIENT_SECONDS):
        """Runs `crictl` at the CRI door, or at containerd itself."""
        endpoint = self.cri_endpoint(door)
        return self.box.run(
            [
                self.programs / "bin/crictl",
                "--config=/dev/null",
                "--timeout=50s",
                f"--runtime-endpoint={endpoint}",
                f"--image-endpoint={endpoint}",
                *arguments,
            ],
            seconds=seconds,
        )

    def nerdctl(self, *arguments):
        """Runs `nerdctl`, which reaches every registry through the registry door."""
        hosts = self.directory / "certs.d"
        hosts.joinpath("_default").mkdir(parents=True, exist_ok=True)
        hosts.joinpath("_default/hosts.toml").write_text(clients.packaged("containerd/certs.d/_default/hosts.toml"))
        return self.box.run(
            [
                *(self.programs / "bin/nerdctl", f"--address={self.socket}", "--namespace=k8s.io"),
                *("--snapshotter=native", f"--data-root={self.directory}/nerdctl", f"--hosts-dir={hosts}"),
                *arguments,
            ]
        )

    def check_pull(self, pull, case):
        """Pulls the image of a case by `pull(name)` and checks the outcome; returns a word for the report."""
        self.remove_all()
        name = case.target.name
        output = pull(name)
        if not case.reasons:
            require_success(output)
            self.check_present(name, case.image.digest)
            return "pulled"
        reason = require_reason(output, case.reasons)
        self.check_absent(name)
        return f"blocked, {reason}"

    def check_absent(self, name):
        """Raises `Failure` if containerd has an image of this name."""
        expect("`ctr images list`", self._listed("--quiet", f"name=={name}"), [])

    def check_present(self, name, digest):
        """Raises `Failure` unless containerd has the image under this name."""
        listed = self._listed(f"name=={name}")[1:]
        expect("digest", [line.split()[2] for line in listed], [digest])

    def _listed(self, *arguments):
        listed = require_success(self.ctr("images", "list", *arguments))
        # `ctr` may print warnings about deprecated settings first.
        return [line for line in listed.text.splitlines() if not line.startswith("time=")]

    def listed(self):
        """Returns the names of all images."""
        return sorted(self._listed("--quiet"))

    def remove_all(self):
        """Removes every image."""
        names = self.listed()
        if names:
            self.ctr("images", "remove", "--sync", *names)


def _accepts(path):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True
