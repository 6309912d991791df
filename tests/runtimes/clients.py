"""Debian's runtimes at the registry door, each with the files of packaging/runtimes."""

import json
import re
import struct
import urllib.parse
from pathlib import Path

import box
import gate
import images
import origin
from report import Failure, expect

PACKAGING = Path(__file__).resolve().parents[2] / "packaging" / "runtimes"


class Target:
    """The name of an image: a repository, and a tag or a digest."""

    def __init__(self, repository, reference):
        self.repository = repository
        self.reference = reference

    def under(self, host):
        """Returns the name with this host."""
        separator = "@" if ":" in self.reference else ":"
        return f"{host}/{self.repository}{separator}{self.reference}"

    @property
    def name(self):
        """The name in a pod's specification: it has the registry's host, not the gate's."""
        return self.under(origin.HOST)


class Client:
    """The calls that the cases make to each runtime."""

    # The name of its part, and its name in the report.
    name = ""
    # The start of its user agent, by which the registry's access log shows a pull past the gate.
    agent = ""
    # The client's treatment of a registry that the packaged files do not list: "gate" sends it to the gate as well,
    # "policy" reads the manifest and then lets policy.json reject the image, "open" pulls.
    unlisted = "gate"

    def __init__(self, the_box):
        self.box = the_box
        self.directory = the_box.directory(self.name)

    def start(self):
        """Starts its daemon, if it has one."""

    def pull(self, target):
        """Pulls through the gate."""
        raise NotImplementedError

    def check_present(self, target, image):
        """Raises `Failure` unless the client holds exactly this image."""
        raise NotImplementedError

    def check_absent(self, target):
        """Raises `Failure` if the client holds an image of this name."""
        raise NotImplementedError

    def pull_directly(self, target):
        """Pulls from the registry itself: this control shows that the access log records such a pull."""
        raise NotImplementedError

    def pull_unlisted(self, target):
        """Pulls under the registry's other name, with the packaged configuration."""
        raise NotImplementedError


def strangers(requests):
    """Returns the requests of the access log that neither the gate nor the tests themselves sent."""
    ours = (gate.AGENT, images.UPLOADER)
    return [request for request in requests if not request["agent"].startswith(ours)]


def packaged(name, host=origin.HOST):
    """Returns the text of a packaged file, with this registry in the place of Docker Hub."""
    return (PACKAGING / name).read_text().replace("docker.io", host)


# The configuration of Podman and skopeo; `box.enter` mounted an empty file system there.
CONTAINERS = Path("/etc/containers")


def install_containers_files(host=origin.HOST):
    """Installs the packaged registries.conf drop-in and policy.json as an administrator does."""
    CONTAINERS.joinpath("registries.conf").write_text("unqualified-search-registries = []\n")
    for name in ("registries.conf.d/pullgate.conf", "policy.json"):
        CONTAINERS.joinpath(name).parent.mkdir(exist_ok=True)
        CONTAINERS.joinpath(name).write_text(packaged(f"containers/{name}", host))


class Skopeo(Client):
    """`skopeo copy` to a directory: first every platform, then this machine's alone."""

    name = "skopeo"
    agent = "skopeo/"
    unlisted = "policy"

    def _directory(self, target, kind):
        return self.directory / kind / re.sub(r"[^\w.-]", "_", target.name)

    def _copy(self, source, directory, *options):
        directory.mkdir(parents=True, exist_ok=True)
        return self.box.run(["skopeo", *options, f"docker://{source}", f"dir:{directory}"])

    def pull(self, target):
        output = self._copy(target.name, self._directory(target, "all"), "copy", "--all")
        if output.status != 0:
            return output
        return self._copy(target.name, self._directory(target, "native"), "copy")

    def check_present(self, target, image):
        everything = self._directory(target, "all")
        expect("manifest", images.digest_of((everything / "manifest.json").read_bytes()), image.digest)
        for _, child in image.children:
            name = images.digest_of(child).removeprefix("sha256:")
            expect("child", (everything / f"{name}.manifest.json").read_bytes(), child)
        native = self._directory(target, "native") / "manifest.json"
        expect("this machine's manifest", images.digest_of(native.read_bytes()), image.native_digest)

    def check_absent(self, target):
        for kind in ("all", "native"):
            if (self._directory(target, kind) / "manifest.json").exists():
                raise Failure(f"{self._directory(target, kind)} holds a manifest")

    def pull_directly(self, target):
        directory = self.directory / "direct"
        return self._copy(target.under(origin.OTHER_HOST), directory, "--insecure-policy", "copy")

    def pull_unlisted(self, target):
        return self._copy(target.under(origin.OTHER_HOST), self.directory / "unlisted", "copy")


class Podman(Client):
    """`podman pull` into its own store."""

    name = "podman"
    agent = "containers/"
    unlisted = "policy"

    def _run(self, *arguments):
        return self.box.run(
            [
                "podman",
                f"--root={self.directory}/root",
                f"--runroot={self.directory}/run",
                f"--tmpdir={self.directory}/tmp",
                "--storage-driver=vfs",
                "--cgroup-manager=cgroupfs",
                "--events-backend=file",
                *arguments,
            ]
        )

    def pull(self, target):
        return self._run("pull", target.name)

    def check_present(self, target, image):
        output = self._run("image", "inspect", target.name)
        if output.status != 0:
            raise Failure(str(output))
        found = json.loads(output.text)[0]
        expect("image id", "sha256:" + found["Id"], image.config_digest)
        digests = {digest.partition("@")[2] for digest in found["RepoDigests"]}
        expect("repository digests", digests, {image.digest, image.native_digest})

    def check_absent(self, target):
        expect("`podman image exists`", self._run("image", "exists", target.name).status, 1)

    def pull_directly(self, target):
        policy = self.directory / "open-policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        return self._run("pull", f"--signature-policy={policy}", target.under(origin.OTHER_HOST))

    def pull_unlisted(self, target):
        return self._run("pull", target.under(origin.OTHER_HOST))


class Containerd:
    """Debian's containerd with its own root, state and socket, for `ctr` and the CRI."""

    def __init__(self, the_box):
        self.box = the_box
        self.directory = the_box.directory("containerd")
        self.socket = self.directory / "containerd.sock"
        self.hosts = self.directory / "certs.d"

    def start(self):
        default = self.hosts / "_default"
        default.mkdir(parents=True)
        (default / "hosts.toml").write_text(packaged("containerd/certs.d/_default/hosts.toml"))
        configuration = self.directory / "config.toml"
        # The native snapshotter needs no overlay mounts, which this machine may forbid. With isolated content, the CRI
        # must fetch again what `ctr` fetched for its own namespace.
        configuration.write_text(
            f"""version = 2
root = "{self.directory}/root"
state = "{self.directory}/state"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.directory}/opt"
[plugins."io.containerd.metadata.v1.bolt"]
  content_sharing_policy = "isolated"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{origin.HOST}/pause:none"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{self.hosts}"
"""
        )
        daemon = self.box.spawn("containerd", ["containerd", "--config", configuration])
        self.box.await_ready(daemon, "answer", lambda: self.ctr("k8s.io", "version").status == 0)

    def ctr(self, namespace, *arguments):
        """Runs `ctr` in a namespace of containerd."""
        return self.box.run(["ctr", "--address", self.socket, "--namespace", namespace, *arguments])

    def check_present(self, namespace, name, image):
        """Raises `Failure` unless the name refers to the image and the content store holds its parts."""
        listed = self.ctr(namespace, "images", "list", f"name=={name}").text.splitlines()[1:]
        expect("digest", [line.split()[2] for line in listed], [image.digest])
        content = set(self.ctr(namespace, "content", "list", "--quiet").text.split())
        for digest in (image.digest, image.native_digest, image.config_digest):
            if digest not in content:
                raise Failure(f"{digest} is not in the content store")

    def check_absent(self, namespace, name):
        """Raises `Failure` if containerd has an image of this name."""
        listed = self.ctr(namespace, "images", "list", "--quiet", f"name=={name}")
        expect("`ctr images list`", (listed.status, listed.text.split()), (0, []))


class Ctr(Client):
    """`ctr images pull --hosts-dir`."""

    name = "ctr"
    agent = "containerd/"
    namespace = "test"

    def __init__(self, the_box, containerd):
        super().__init__(the_box)
        self.containerd = containerd

    def _pull(self, name, *options):
        return self.containerd.ctr(self.namespace, "images", "pull", "--snapshotter=native", *options, name)

    def pull(self, target):
        return self._pull(target.name, f"--hosts-dir={self.containerd.hosts}")

    def check_present(self, target, image):
        self.containerd.check_present(self.namespace, target.name, image)

    def check_absent(self, target):
        self.containerd.check_absent(self.namespace, target.name)

    def pull_directly(self, target):
        return self._pull(target.under(origin.OTHER_HOST))

    def pull_unlisted(self, target):
        return self._pull(target.under(origin.OTHER_HOST), f"--hosts-dir={self.containerd.hosts}")


class Cri(Client):
    """The kubelet's own call, `runtime.v1.ImageService/PullImage`, sent by curl: Debian has no crictl, and this part
    must run without Go."""

    name = "cri"
    agent = "containerd/"
    namespace = "k8s.io"

    def __init__(self, the_box, containerd):
        super().__init__(the_box)
        self.containerd = containerd
        self.image_ref = None

    def _pull(self, name):
        # PullImageRequest { ImageSpec image = 1 { string image = 1 } }
        message = _field(1, _field(1, name.encode()))
        answer, head = self.directory / "answer", self.directory / "head"
        answer.write_bytes(b"")
        head.write_text("")
        output = self.box.run(
            [
                *("curl", "--silent", "--show-error", "--http2-prior-knowledge"),
                *("--unix-socket", self.containerd.socket, "--data-binary", "@-"),
                *("--header", "content-type: application/grpc", "--header", "te: trailers"),
                *("--dump-header", head, "--output", answer),
                "http://localhost/runtime.v1.ImageService/PullImage",
            ],
            stdin=b"\0" + struct.pack(">I", len(message)) + message,
        )
        trailers = dict(re.findall(r"^(grpc-[\w-]+):[ \t]*(.*?)\r?$", head.read_text(), re.MULTILINE))
        status = trailers.get("grpc-status", "none")
        text = urllib.parse.unquote(trailers.get("grpc-message", ""))
        if status == "0":
            # PullImageResponse { string image_ref = 1 }, after five bytes of gRPC framing and two of the field.
            self.image_ref = answer.read_bytes()[7:].decode()
        failed = output.status != 0 or status != "0"
        argv = ["PullImage", name]
        return box.Output(argv, 1 if failed else 0, f"{output.text}code {status}: {text}")

    def pull(self, target):
        return self._pull(target.name)

    def check_present(self, target, image):
        expect("image_ref", self.image_ref, image.config_digest)
        self.containerd.check_present(self.namespace, target.name, image)

    def check_absent(self, target):
        self.containerd.check_absent(self.namespace, target.name)

    def pull_directly(self, target):
        # An empty directory for this registry hides `_default`.
        directory = self.containerd.hosts / origin.OTHER_HOST
        directory.mkdir()
        output = self._pull(target.under(origin.OTHER_HOST))
        directory.rmdir()
        return output

    def pull_unlisted(self, target):
        return self._pull(target.under(origin.OTHER_HOST))


def _field(number, data):
    # A length-delimited protobuf field. Every length here is below 16384, which needs at most two bytes of varint.
    length = len(data)
    size = bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])
    return bytes([number << 3 | 2]) + size + data


class Docker(Client):
    """`docker pull localhost:5443/…` at a dockerd with its own root, socket and containerd."""

    name = "docker"
    agent = "docker/"
    # dockerd before 28 reads no file that closes a registry.
    unlisted = "open"

    def start(self):
        self.socket = f"unix://{self.directory}/docker.sock"
        configuration = self.directory / "daemon.json"
        configuration.write_text(json.dumps({"deprecated-key-path": str(self.directory / "key.json")}))
        daemon = self.box.spawn(
            "dockerd",
            [
                "dockerd",
                f"--config-file={configuration}",
                f"--host={self.socket}",
                f"--data-root={self.directory}/data",
                f"--exec-root={self.directory}/exec",
                f"--pidfile={self.directory}/pid",
                "--storage-driver=vfs",
                # No container runs, so dockerd needs no bridge, no firewall rules and no forwarding.
                *("--bridge=none", "--iptables=false", "--ip6tables=false"),
                *("--ip-forward=false", "--ip-masq=false", "--userland-proxy=false"),
            ],
        )
        self.box.await_ready(daemon, "answer", lambda: self._run("version").status == 0)

    def _run(self, *arguments):
        return self.box.run(["docker", f"--host={self.socket}", *arguments])

    @staticmethod
    def _name(target):
        return f"localhost:{gate.PORT}/{target.name}"

    def pull(self, target):
        return self._run("pull", self._name(target))

    def check_present(self, target, image):
        output = self._run("image", "inspect", self._name(target))
        if output.status != 0:
            raise Failure(str(output))
        found = json.loads(output.text)[0]
        expect("image id", found["Id"], image.config_digest)
        expect("digests", [digest.partition("@")[2] for digest in found["RepoDigests"]], [image.digest])

    def check_absent(self, target):
        listed = self._run("images", "--quiet", "--no-trunc", "--filter", f"reference={self._name(target)}")
        expect("`docker images`", (listed.status, listed.text.split()), (0, []))

    def pull_directly(self, target):
        return self._run("pull", target.under(origin.OTHER_HOST))
