"""The gRPC doors, between containerd of three versions and the clients of the CRI: containerd's verifier plug-in, the CRI
door, and the admission socket as a program asks it that nobody here wrote.

What is newer than Debian's is built from the Go proxy by `run`; without Go there is a line that says what is left out.
"""

import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import socket
import time
import xml.etree.ElementTree

import box
import clients
import gate
import images
import origin

# Those of the Go proxy: the current one and the one before. `run` builds them under these names.
NEWER = ("2.4.2", "2.3.7")

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"

# How many clients pull at one time.
CROWD = 100


# Specs of `critest` that our images are enough for, at least.
CRITEST = 5


def push_critest(the_origin):
    """The images that `critest` wants, as far as it does not know their digests."""
    project = "k8s-staging-cri-tools"
    for name in ("latest", "1", "2", "3"):
        the_origin.uploader.push(f"{project}/test-image-{name}", "latest", images.single(f"critest-{name}"))
    for tag in ("test", "all"):
        the_origin.uploader.push(f"{project}/test-image-tag", tag, images.single(f"critest-{tag}"))
    same = images.single("critest-tags")
    for tag in ("1", "2", "3"):
        the_origin.uploader.push(f"{project}/test-image-tags", tag, same)


# The image of a pod's own process, and one whose program says a word: pods run from these.
PAUSE = images.runnable("pause")
APP = images.runnable("app")
APP_REPOSITORY = "shop/runs"
# By this name, which no other case pulls, the runtimes here know the pause image.
PAUSE_REPOSITORY = "pause"
PAUSE_TAG = "none"


def push_runnable(the_origin, the_gate):
    """The pause image, which nobody signs, and a signed one."""
    the_origin.uploader.push(PAUSE_REPOSITORY, PAUSE_TAG, PAUSE)
    the_origin.uploader.push(APP_REPOSITORY, "v1", APP)
    the_gate.sign(APP_REPOSITORY, "v1", "release")


# What a registry with two faces shows the gate, and shows the runtime: one that is nobody else's, and another's.
FACES_REPOSITORY = "shop/faces"
EVIL_REPOSITORY = "shop/masked"


def push_faces(the_origin, the_gate, anothers):
    """The gate finds signed images; the runtime finds others in their place."""
    other_face = the_origin.start_other_face()
    for repository, shown in ((FACES_REPOSITORY, anothers), (EVIL_REPOSITORY, images.single("evil"))):
        the_origin.uploader.push(repository, "v1", images.single(repository))
        the_gate.sign(repository, "v1", "release", host=origin.FACES)
        other_face.push(repository, "v1", shown)


class Node:
    """One containerd with a gate of its own: the verifier in its bin_dir, the CRI door before its socket."""

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
        self.path = f"{programs / f'containerd-{version}'}:{box.PATH}" if version in NEWER else box.PATH
        self.configuration = None
        self.verifier = None
        self.authority = the_box.work / "authority.pem"

    def start(self, recheck_present=False):
        """Brings up the gate, then containerd."""
        self.configure(recheck_present)
        self.start_gate()
        bin_dir = self.box.directory(f"node-{self.version}/bin")
        self.verifier = bin_dir / "pullgate-verifier"
        shutil.copy(self.gate.binaries["pullgate-verifier"], self.verifier)
        configuration = self.directory / "config.toml"
        configuration.write_text(self._containerd(bin_dir))
        self.containerd = self.box.spawn(
            f"containerd-{self.version}",
            ["containerd", "--config", configuration],
            environment={**self.box.environment, "PATH": self.path, "PULLGATE_ADMISSION": str(self.admission)},
        )
        self.box.await_ready(
            self.containerd, "answer", lambda: self.ctr("images", "list", "--quiet").status == 0, seconds=60
        )

    def configure(self, recheck_present=False):
        """Writes the gate's configuration: the rules and keys of the other tests, and sockets."""
        text = self.gate.configuration.read_text()
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        os.chown(state, gate.USER, gate.USER)
        head, rest = text.split("[policy]", 1)
        del head
        recheck = json.dumps(recheck_present)
        self.configuration = self.gate.directory / f"node-{self.version}.toml"
        self.configuration.write_text(
            f"""[daemon]
state = {json.dumps(str(state))}
admission = {json.dumps(str(self.admission))}
control = {json.dumps(str(self.control))}

[door.cri]
listen = {json.dumps(str(self.cri))}
runtime = {json.dumps(str(self.socket))}
recheck_present = {recheck}

[policy]{rest}
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
        """Starts pullgated and waits until its sockets answer."""
        self.daemon = self.box.spawn(
            f"pullgated-{self.version}",
            [self.gate.binaries["pullgated"], "--config", self.configuration],
            environment=self.gate.environment,
            user=gate.USER,
        )
        self.box.await_ready(self.daemon, "socket", lambda: _answers(self.cri) and _answers(self.admission))

    def stop_gate(self):
        """Ends pullgated."""
        status = self.daemon.stop(40)
        if status != 0:
            raise box.SetupError(f"pullgated ended with {status} after SIGTERM:\n{self.daemon.tail()}")

    def stop(self):
        """Ends both."""
        self.containerd.stop()
        self.stop_gate()

    def _containerd(self, bin_dir):
        # In a container root may not lower `oom_score_adj`, as a pod's own process wants it.
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
        if self.version not in NEWER:
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
  platform = "linux/{_architecture()}"
  snapshotter = "native"
[plugins."io.containerd.image-verifier.v1.bindir"]
  bin_dir = "{bin_dir}"
  per_verifier_timeout = "10s"
"""

    def ctr(self, *arguments, seconds=box.CLIENT_SECONDS):
        """Runs this version's `ctr`."""
        program = "ctr"
        if self.version in NEWER:
            program = self.programs / f"containerd-{self.version}" / "ctr"
        return self.box.run([program, "--address", self.socket, "--namespace", "k8s.io", *arguments], seconds=seconds)

    def crictl(self, *arguments, door=True, seconds=box.CLIENT_SECONDS):
        """Runs `crictl`: through the CRI door, or past it."""
        endpoint = f"unix://{self.cri if door else self.socket}"
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
        """Runs `nerdctl`, whose registries are all behind the registry door."""
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

    def check_absent(self, name):
        """Raises `Mismatch` when containerd has an image of this name."""
        clients.expect("`ctr images list`", self._listed("--quiet", f"name=={name}"), [])

    def check_present(self, name, digest):
        """Raises `Mismatch` unless containerd has the image under this name."""
        listed = self._listed(f"name=={name}")[1:]
        clients.expect("digest", [line.split()[2] for line in listed], [digest])

    def _listed(self, *arguments):
        listed = self.ctr("images", "list", *arguments)
        if listed.status != 0:
            raise clients.Mismatch(str(listed))
        # What containerd deprecates is none of our business.
        return [line for line in listed.text.splitlines() if not line.startswith("time=")]

    def listed(self):
        """The names of all images."""
        return sorted(self._listed("--quiet"))

    def remove_all(self):
        """Takes every image away."""
        names = self.listed()
        if names:
            self.ctr("images", "remove", "--sync", *names)


def _answers(path):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]



class Tests:
    """All cases, each a method that gives a word or raises."""

    def __init__(self, report, failure, codes_in, cases):
        self.report = report
        self.failure = failure
        self.codes_in = codes_in
        self.cases = cases

    def _must(self, output):
        if output.status != 0:
            raise self.failure(str(output))
        return output

    def _blocked(self, output, *words):
        if output.status == 0:
            raise self.failure(f"it was pulled\n{output}")
        for word in words:
            if word not in output.text:
                raise self.failure(f"the output does not say {word}\n{output}")
        return "blocked"

    def _pull(self, node, pull, case):
        """One of the images that every runtime pulls, by this way."""
        node.remove_all()
        name = case.target.name
        output = pull(name)
        if not case.reasons:
            self._must(output)
            node.check_present(name, case.image.digest)
            return "pulled"
        if output.status == 0:
            raise self.failure(f"it was pulled\n{output}")
        found = self.codes_in(output.text, case.reasons)
        if not found:
            raise self.failure(f"the output does not say {' or '.join(case.reasons)}\n{output}")
        node.check_absent(name)
        return f"blocked, {found[0]}"

    def verifier(self, node):
        """Pulls straight from the origin; the plug-in alone stands in the way."""
        who = node.version
        ways = {
            "ctr, plug-in": lambda name: node.ctr("images", "pull", name),
            # Past the CRI door: the plug-in alone.
            "crictl, plug-in": lambda name: node.crictl("pull", name, door=False),
        }
        for way, pull in ways.items():
            for case in self.cases:
                self.report.case(who, f"{way}: {case.title}", self._pull, node, pull, case)
        signed = self.cases[0].target.name
        self.report.case(who, "plug-in: a crowd of pulls at one time", self._crowd, node)
        node.remove_all()
        node.daemon.process.send_signal(signal.SIGSTOP)
        self.report.case(who, "plug-in: the gate hangs", self._hangs, node, signed)
        node.daemon.process.send_signal(signal.SIGCONT)
        node.stop_gate()
        self.report.case(who, "plug-in: the gate is down", self._down, node, signed)
        node.start_gate()
        self.report.case(who, "plug-in: the gate is up again", self._pull, node, ways["ctr, plug-in"], self.cases[0])

    def nerdctl(self, node):
        """It resolves and fetches by itself and asks no plug-in: the registry door is what stands in its way."""
        node.gate.start()
        pull = lambda name: node.nerdctl("pull", "--quiet", name)  # noqa: E731
        for case in self.cases:
            self.report.case("nerdctl", f"registry door: {case.title}", self._pull, node, pull, case)
        node.gate.stop()
        node.remove_all()
        down = lambda: self._blocked(pull(self.cases[0].target.name), "connection refused")  # noqa: E731
        self.report.case("nerdctl", "registry door: the gate is down", down)

    def _crowd(self, node):
        node.remove_all()
        good = next(case for case in self.cases if not case.reasons)
        bad = next(case for case in self.cases if case.reasons)

        def one(number):
            case = good if number % 2 == 0 else bad
            return case, node.ctr("images", "pull", case.target.name, seconds=240)

        with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
            for case, output in pool.map(one, range(CROWD)):
                if case is good:
                    self._must(output)
                else:
                    self._blocked(output, *case.reasons)
        return f"{CROWD} of them"

    def _hangs(self, node, name):
        began = time.monotonic()
        word = self._blocked(node.ctr("images", "pull", name), "the gate did not answer within 9 s")
        took = time.monotonic() - began
        if not 8 < took < 12:
            raise self.failure(f"it took {took:.1f} s")
        return f"{word} after {took:.1f} s"

    def _down(self, node, name):
        return self._blocked(node.ctr("images", "pull", name), "the gate can't be asked", "is pullgated running")

    def cri(self, node):
        """Through the CRI door, by crictl."""
        who = node.version
        for case in self.cases:
            self.report.case(who, f"crictl, CRI door: {case.title}", self._cri_pull, node, case)
        self.report.case(who, "crictl, CRI door: what is no pull", self._passes, node)
        self.report.case(who, "crictl, CRI door: list, status, remove", self._images, node)
        self.report.case(who, "crictl, CRI door: a pod and a container of a signed image", self._pod, node)
        self.report.case(who, "crictl, CRI door: a registry with two faces", self._two_faces, node)
        self.report.case(who, "critest, CRI door: the image suite", self._critest, node)
        self.report.case(who, "crictl, CRI door: the runtime restarts", self._restarts, node)
        node.stop_gate()
        name = self.cases[0].target.name
        self.report.case(who, "crictl, CRI door: the gate is down", lambda: self._blocked(node.crictl("pull", name)))
        node.configure(recheck_present=True)
        node.start_gate()
        self.report.case(who, "crictl, CRI door: images that are there already", self._recheck, node)

    def _cri_pull(self, node, case):
        word = self._pull(node, lambda name: node.crictl("pull", name), case)
        if case.reasons:
            output = node.crictl("pull", case.target.name)
            self._blocked(output, "code = Unknown desc = SignatureValidationFailed: pullgate: ")
        return word

    def _passes(self, node):
        version = self._must(node.crictl("version"))
        if "RuntimeName:  containerd" not in version.text:
            raise self.failure(str(version))
        through, past = (json.loads(self._must(node.crictl("info", door=door)).text) for door in (True, False))
        clients.expect("`crictl info`", through["config"], past["config"])
        for verb in ("imagefsinfo", "pods", "ps", "stats", "statsp"):
            through, past = (self._must(node.crictl(verb, "--output=json", door=door)) for door in (True, False))
            shown = (sorted(json.loads(output.text)) for output in (through, past))
            clients.expect(f"`crictl {verb}`", *shown)
        # An error of the runtime is the runtime's own.
        through, past = (node.crictl("inspectp", "none", door=door) for door in (True, False))
        clients.expect("`crictl inspectp none`", (through.status, _error(through)), (past.status, _error(past)))
        return "as without it"

    def _images(self, node):
        node.remove_all()
        case = self.cases[0]
        self._must(node.crictl("pull", case.target.name))
        through, past = (self._must(node.crictl("images", "--output=json", door=door)).text for door in (True, False))
        clients.expect("`crictl images`", json.loads(through), json.loads(past))
        images = json.loads(through)["images"]
        clients.expect("identifiers", [image["id"] for image in images], [case.image.config_digest])
        status = json.loads(self._must(node.crictl("inspecti", case.target.name)).text)["status"]
        clients.expect("digests", status["repoDigests"], [f"{origin.HOST}/{case.repository}@{case.image.digest}"])
        self._must(node.crictl("rmi", case.target.name))
        if node.crictl("inspecti", case.target.name).status == 0:
            raise self.failure("the image is still there")
        return "as without it"

    def _pod(self, node):
        """All through the door: the signed image runs, and of an unsigned one there is nothing to run."""
        node.remove_all()
        folder = node.directory / "pod"
        folder.mkdir(exist_ok=True)
        pod, container = folder / "pod.json", folder / "container.json"
        name = f"{origin.HOST}/{APP_REPOSITORY}:v1"
        pod.write_text(
            json.dumps(
                {
                    "metadata": {"name": "runs", "namespace": "default", "uid": "runs", "attempt": 1},
                    "log_directory": str(folder),
                    # The network of the test's own namespace: no plug-in is wanted.
                    "linux": {"security_context": {"namespace_options": {"network": 2}}},
                }
            )
        )

        def of(image):
            container.write_text(
                json.dumps({"metadata": {"name": "app"}, "image": {"image": image}, "log_path": "app.log", "linux": {}})
            )

        pod_id = self._must(node.crictl("runp", pod)).text.split()[-1]
        try:
            of(name)
            self._must(node.crictl("pull", "--pod-config", pod, name))
            container_id = self._must(node.crictl("create", pod_id, container, pod)).text.split()[-1]
            self._must(node.crictl("start", container_id))
            log = folder / "app.log"
            end = time.monotonic() + 10
            while not log.exists() or not log.read_text():
                if time.monotonic() > end:
                    raise self.failure("the container wrote nothing")
                time.sleep(0.05)
            clients.expect("the container's log", log.read_text().split()[-1], "app")
            running = json.loads(self._must(node.crictl("ps", "--output=json")).text)["containers"]
            clients.expect("`crictl ps`", [each["id"] for each in running], [container_id])
            unsigned = next(case for case in self.cases if case.reasons == ["unsigned"])
            self._blocked(node.crictl("pull", unsigned.target.name), "SignatureValidationFailed")
            of(unsigned.target.name)
            output = node.crictl("create", pod_id, container, pod)
            if output.status == 0:
                raise self.failure(f"a container of an unsigned image was made\n{output}")
        finally:
            node.crictl("rmp", "--force", pod_id)
        return "it runs"

    def _two_faces(self, node):
        """What the runtime is given in the admitted image's place goes, and nothing that is another's."""
        node.remove_all()
        evil = f"{origin.FACES}/{EVIL_REPOSITORY}:v1"
        if node.version not in NEWER:
            return self._two_faces_of_door(node, evil)
        # Where the plug-in is asked it never comes to a comparison.
        self._blocked(node.crictl("pull", evil), "verifier pullgate-verifier rejected image", "image-not-found")
        aside = node.verifier.rename(node.directory / "aside")
        try:
            return self._two_faces_of_door(node, evil)
        finally:
            aside.rename(node.verifier)

    def _two_faces_of_door(self, node, evil):
        word = self._blocked(node.crictl("pull", evil), "SignatureValidationFailed: pullgate: digest-mismatch: ", "it was removed")
        clients.expect("what is left", node.listed(), [])
        case = self.cases[0]
        self._must(node.crictl("pull", case.target.name))
        before = node.listed()
        name = f"{origin.FACES}/{FACES_REPOSITORY}:v1"
        self._blocked(node.crictl("pull", name), "digest-mismatch: ", "its names in this repository were removed")
        clients.expect("what is left", node.listed(), before)
        status = json.loads(self._must(node.crictl("inspecti", case.target.name)).text)["status"]
        clients.expect("tags", status["repoTags"], [case.target.name])
        if node.crictl("inspecti", name, door=False).status == 0:
            raise self.failure("the image can be started by the other name")
        return word

    def _critest(self, node):
        """Kubernetes' own tests of a runtime's images, through the door and past it: each ends the same way."""
        results = {}
        for door in (True, False):
            node.remove_all()
            endpoint = f"unix://{node.cri if door else node.socket}"
            results_file = node.directory / f"critest-{door}.xml"
            output = node.box.run(
                [
                    *(node.programs / "bin/critest", "--config=/dev/null", f"--ginkgo.junit-report={results_file}"),
                    *(f"--runtime-endpoint={endpoint}", f"--image-endpoint={endpoint}"),
                    *("--ginkgo.focus=Image Manager", "--ginkgo.seed=1", "--ginkgo.no-color"),
                ],
                seconds=300,
            )
            if not results_file.exists():
                raise self.failure(str(output))
            cases = xml.etree.ElementTree.parse(results_file).iter("testcase")
            results[door] = {case.get("name"): case.get("status") for case in cases}
        ran = {name: status for name, status in results[False].items() if status != "skipped"}
        through = {name: results[True].get(name) for name in ran}
        clients.expect("results of critest", through, ran)
        passed = sum(status == "passed" for status in ran.values())
        # One wants an image by the digest that Kubernetes' own build of it has, some want users in an image.
        if passed < CRITEST:
            raise self.failure(f"{passed} passed: {ran}")
        return f"{passed} of {len(ran)} pass, the same without it"

    def _restarts(self, node):
        node.containerd.stop()
        down = node.crictl("pull", self.cases[0].target.name)
        self._blocked(down, "code = Unavailable", "containerd.sock")
        configuration = node.directory / "config.toml"
        node.containerd = node.box.spawn(
            f"containerd-{node.version}",
            ["containerd", "--config", configuration],
            environment={**node.box.environment, "PATH": node.path, "PULLGATE_ADMISSION": str(node.admission)},
        )
        node.box.await_ready(
            node.containerd, "answer", lambda: node.ctr("images", "list", "--quiet").status == 0, seconds=60
        )
        self._must(node.crictl("pull", self.cases[0].target.name))
        return "found again"

    def _recheck(self, node):
        """What was imported can't be seen through the door, what was admitted can."""
        node.remove_all()
        name = self.cases[0].target.name
        self._must(node.crictl("pull", name))
        self._must(node.crictl("inspecti", name))
        # What an administrator does by hand: containerd has the image, and nobody was asked.
        archive = node.directory / "imported.tar"
        self._must(node.ctr("images", "export", archive, name))
        node.remove_all()
        self._must(node.ctr("images", "import", "--snapshotter=native", archive))
        self._hidden(node, name)
        self._must(node.crictl("pull", name))
        self._must(node.crictl("inspecti", name))
        tool = [node.gate.binaries["pullgate"], "--config", node.configuration]
        self._must(node.box.run([*tool, "cache", "clear"]))
        self._hidden(node, name)
        self._must(node.crictl("pull", name))
        shown = json.loads(self._must(node.crictl("inspecti", name)).text)["status"]
        # Another image under the digest that was admitted.
        node.remove_all()
        [admitted] = shown["repoDigests"]
        forged = images.single("forged")
        images.archive(forged, "registry.example/forged:v1", archive)
        self._must(node.ctr("images", "import", "--snapshotter=native", archive))
        self._must(node.ctr("images", "tag", "registry.example/forged:v1", admitted))
        self._must(node.ctr("images", "rm", "registry.example/forged:v1"))
        self._listed(node, admitted)
        self._hidden(node, admitted)
        # What the runtime pulls has its name back.
        self._must(node.crictl("pull", admitted))
        again = json.loads(self._must(node.crictl("inspecti", admitted)).text)["status"]
        if again["id"] != shown["id"]:
            raise self.failure(f"{again['id']} is shown, and {shown['id']} was admitted")
        return "hidden until they are pulled, whatever they are called"

    def _listed(self, node, name):
        """Waits until containerd's CRI has heard of a name."""
        for _ in range(50):
            if node.crictl("inspecti", name, door=False).status == 0:
                return
            time.sleep(0.1)
        raise self.failure(f"containerd does not know {name}")

    def _hidden(self, node, name):
        self._blocked(node.crictl("inspecti", name))
        if json.loads(self._must(node.crictl("images", "--output=json")).text)["images"]:
            raise self.failure("an image that was not admitted is listed")
        # It is there.
        self._must(node.crictl("inspecti", name, door=False))

    def grpcurl(self, node):
        """A client that nobody here wrote: reflection, health, and a question."""
        who = "grpcurl"
        self.report.case(who, "lists what the sockets serve", self._lists, node)
        self.report.case(who, "health", self._health, node)
        for case in self.cases:
            self.report.case(who, f"Check: {case.title}", self._check, node, case)
        self.report.case(who, "a caller that is not root is not answered by Control", self._not_root, node)
        self.report.case("buf", "finds nothing to mend in proto", self._lint, node)

    def _lint(self, node):
        self._must(node.box.run([node.programs / "bin/buf", "lint", PROTO]))
        # It looks at all of it: a file that breaks its rules is found.
        copy = node.directory / "proto"
        shutil.copytree(PROTO, copy)
        broken = copy / "pullgate/v1/admission.proto"
        broken.write_text(broken.read_text().replace("rpc Check(", "rpc check(", 1))
        output = node.box.run([node.programs / "bin/buf", "lint", copy])
        if output.status == 0 or "admission.proto" not in output.text:
            raise self.failure(str(output))

    def _grpcurl(self, node, path, *arguments, stdin=b""):
        program = node.programs / "bin/grpcurl"
        return node.box.run([program, "-plaintext", "-unix", *arguments[:-1], path, *arguments[-1:]], stdin=stdin)

    def _lists(self, node):
        for path, service in ((node.admission, "Admission"), (node.control, "Control")):
            listed = self._must(self._grpcurl(node, path, "list")).text.split()
            wanted = {f"pullgate.v1.{service}", "grpc.health.v1.Health"}
            if not wanted <= set(listed):
                raise self.failure(f"{path}: {listed}")
        described = self._must(
            node.box.run(
                [node.programs / "bin/grpcurl", "-plaintext", "-unix", node.admission, "describe", "pullgate.v1.CheckRequest"]
            )
        )
        for field in ("string reference", "string digest", "Credentials credentials"):
            if field not in described.text:
                raise self.failure(str(described))
        return "Admission, Control, Health"

    def _call(self, node, path, method, message, status=0):
        output = node.box.run(
            [
                node.programs / "bin/grpcurl",
                *("-plaintext", "-unix", "-emit-defaults", "-max-time", "40"),
                *("-d", json.dumps(message), path, method),
            ]
        )
        if output.status != status:
            raise self.failure(str(output))
        return json.loads(output.text) if status == 0 else output.text

    def _health(self, node):
        for path, service in ((node.admission, "Admission"), (node.control, "Control")):
            for name in ("", f"pullgate.v1.{service}"):
                answer = self._call(node, path, "grpc.health.v1.Health/Check", {"service": name})
                clients.expect("health", answer["status"], "SERVING")
        return "serving"

    def _check(self, node, case):
        answer = self._call(
            node, node.admission, "pullgate.v1.Admission/Check", {"reference": case.target.name}
        )["verdict"]
        if not case.reasons:
            clients.expect("verdict", (answer["outcome"], answer["digest"]), ("OUTCOME_ALLOW", case.image.digest))
            return "allow"
        if answer["outcome"] != "OUTCOME_DENY" or answer["reason"] not in case.reasons:
            raise self.failure(str(answer))
        return f"deny, {answer['reason']}"

    def _not_root(self, node):
        """Even with the file open to all: who asks is what the kernel says."""
        node.control.chmod(0o666)
        process = [
            node.programs / "bin/grpcurl",
            *("-plaintext", "-unix", node.control, "pullgate.v1.Control/Status"),
        ]
        # 65533: neither root nor the daemon's own user.
        argv = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", *process]
        output = node.box.run(argv)
        if output.status == 0 or "PermissionDenied" not in output.text:
            raise self.failure(str(output))
        self._must(node.box.run(process))
        return "PermissionDenied"


def _error(output):
    return output.text.split("desc = ")[-1].strip().splitlines()[:1]


def planned(cases):
    """How many cases `run` will count."""
    verifier = 2 * len(cases) + 4
    cri = len(cases) + 8
    grpcurl = len(cases) + 4
    nerdctl = len(cases) + 1
    return len(NEWER) * (verifier + cri) + cri + grpcurl + nerdctl


def run_all(the_box, the_gate, programs, tests):
    """Every version, one after the other."""
    for version in (*NEWER, "1.6"):
        node = Node(the_box, the_gate, version, programs)
        node.start()
        if version in NEWER:
            tests.verifier(node)
        if version == NEWER[0]:
            tests.grpcurl(node)
            tests.nerdctl(node)
        tests.cri(node)
        node.stop()
