"""The CRI door in front of containerd, asked by crictl and by Kubernetes' own tests, critest."""

import json
import time
import xml.etree.ElementTree

import images
import origin
from cases import NODE_CASES, SIGNED, UNSIGNED
from node_images import APP_REPOSITORY, EVIL_REPOSITORY, SWAPPED_REPOSITORY
from report import Failure, expect, require_blocked, require_success

# How many specs of `critest` must pass with the images of these tests.
CRITEST_PASSES = 5

PLANNED = len(NODE_CASES) + 7


def run(node, report):
    """Runs every case at this node, except critest's. Afterwards the gate runs with `recheck_present`."""

    def case(title, body, *arguments):
        report.case(node.version, f"crictl, CRI door: {title}", body, *arguments)

    for each in NODE_CASES:
        case(each.title, pull, node, each)
    case("calls other than pulls", other_calls, node)
    case("list, status, remove", list_and_remove, node)
    case("a pod and a container of a signed image", pod, node)
    case("the registry shows the runtime another image", swapped_image, node)
    case("the runtime restarts", runtime_restarts, node)
    node.stop_gate()
    case("the gate is down", lambda: require_blocked(node.crictl("pull", SIGNED.target.name)))
    node.configure(recheck_present=True)
    node.start_gate()
    case("images that are already present", present_images, node)


def run_critest(node, report):
    """Runs critest's case at this node."""
    report.case("critest", f"containerd {node.version}, CRI door: the image suite", critest, node)


def pull(node, case):
    """The outcome is that of the case, and the error has the form that the kubelet expects."""
    word = node.check_pull(lambda name: node.crictl("pull", name), case)
    if case.reasons:
        output = node.crictl("pull", case.target.name)
        require_blocked(output, "code = Unknown desc = SignatureValidationFailed: pullgate: ")
    return word


def _both(node, *arguments):
    """Runs crictl at the door and at containerd itself; both must succeed."""
    return [require_success(node.crictl(*arguments, door=door)) for door in (True, False)]


def _status(node, name):
    return json.loads(require_success(node.crictl("inspecti", name)).text)["status"]


def other_calls(node):
    """Every call other than a pull returns the answer of containerd itself."""
    version = require_success(node.crictl("version"))
    if "RuntimeName:  containerd" not in version.text:
        raise Failure(str(version))
    through, past = (json.loads(output.text)["config"] for output in _both(node, "info"))
    expect("`crictl info`", through, past)
    for verb in ("imagefsinfo", "pods", "ps", "stats", "statsp"):
        through, past = (sorted(json.loads(output.text)) for output in _both(node, verb, "--output=json"))
        expect(f"`crictl {verb}`", through, past)
    # An error of the runtime passes unchanged.
    through, past = (node.crictl("inspectp", "none", door=door) for door in (True, False))
    expect("`crictl inspectp none`", (through.status, _error(through)), (past.status, _error(past)))
    return "as without the door"


def _error(output):
    return output.text.split("desc = ")[-1].strip().splitlines()[:1]


def list_and_remove(node):
    """The door lists, shows and removes images as containerd itself does."""
    node.remove_all()
    require_success(node.crictl("pull", SIGNED.target.name))
    through, past = (json.loads(output.text) for output in _both(node, "images", "--output=json"))
    expect("`crictl images`", through, past)
    expect("identifiers", [image["id"] for image in through["images"]], [SIGNED.image.config_digest])
    digests = _status(node, SIGNED.target.name)["repoDigests"]
    expect("digests", digests, [f"{origin.HOST}/{SIGNED.repository}@{SIGNED.image.digest}"])
    require_success(node.crictl("rmi", SIGNED.target.name))
    if node.crictl("inspecti", SIGNED.target.name).status == 0:
        raise Failure("the image is still present")
    return "as without the door"


def pod(node):
    """A container of the signed image runs, and the runtime has no unsigned image from which to create another."""
    node.remove_all()
    directory = node.directory / "pod"
    directory.mkdir(exist_ok=True)
    pod_file, container_file = directory / "pod.json", directory / "container.json"
    pod_file.write_text(
        json.dumps(
            {
                "metadata": {"name": "runs", "namespace": "default", "uid": "runs", "attempt": 1},
                "log_directory": str(directory),
                # The network namespace of the test itself, so that containerd needs no network plug-in.
                "linux": {"security_context": {"namespace_options": {"network": 2}}},
            }
        )
    )

    def create_container(image):
        container = {"metadata": {"name": "app"}, "image": {"image": image}, "log_path": "app.log", "linux": {}}
        container_file.write_text(json.dumps(container))
        return node.crictl("create", pod_id, container_file, pod_file)

    name = f"{origin.HOST}/{APP_REPOSITORY}:v1"
    pod_id = require_success(node.crictl("runp", pod_file)).text.split()[-1]
    try:
        require_success(node.crictl("pull", "--pod-config", pod_file, name))
        container_id = require_success(create_container(name)).text.split()[-1]
        require_success(node.crictl("start", container_id))
        expect("the container's log", _await_line(directory / "app.log").split()[-1], "app")
        running = json.loads(require_success(node.crictl("ps", "--output=json")).text)["containers"]
        expect("`crictl ps`", [each["id"] for each in running], [container_id])
        require_blocked(node.crictl("pull", UNSIGNED.target.name), "SignatureValidationFailed")
        output = create_container(UNSIGNED.target.name)
        if output.status == 0:
            raise Failure(f"a container of an unsigned image was created\n{output}")
    finally:
        node.crictl("rmp", "--force", pod_id)
    return "the container runs"


def _await_line(log):
    end = time.monotonic() + 10
    while not log.exists() or not log.read_text():
        if time.monotonic() > end:
            raise Failure("the container wrote nothing")
        time.sleep(0.05)
    return log.read_text()


def swapped_image(node):
    """The registry shows the gate a signed image and the runtime another: the door removes that other image, and does
    not touch an image that another repository admitted."""
    node.remove_all()
    evil = f"{origin.FACES}/{EVIL_REPOSITORY}:v1"
    if not node.has_verifier:
        return _swapped_image_at_door(node, evil)
    # Where containerd has the plug-in, the plug-in blocks the pull before the door can compare.
    require_blocked(node.crictl("pull", evil), "verifier pullgate-verifier rejected image", "image-not-found")
    aside = node.verifier.rename(node.directory / "aside")
    try:
        return _swapped_image_at_door(node, evil)
    finally:
        aside.rename(node.verifier)


def _swapped_image_at_door(node, evil):
    denial = "SignatureValidationFailed: pullgate: digest-mismatch: "
    word = require_blocked(node.crictl("pull", evil), denial, "it was removed")
    expect("images that remain", node.listed(), [])
    require_success(node.crictl("pull", SIGNED.target.name))
    before = node.listed()
    name = f"{origin.FACES}/{SWAPPED_REPOSITORY}:v1"
    output = node.crictl("pull", name)
    require_blocked(output, "digest-mismatch: ", "its names in this repository were removed")
    expect("images that remain", node.listed(), before)
    expect("tags", _status(node, SIGNED.target.name)["repoTags"], [SIGNED.target.name])
    if node.crictl("inspecti", name, door=False).status == 0:
        raise Failure("a container can start the image by the other name")
    return word


def critest(node):
    """Each spec of Kubernetes' image tests ends at the door as it ends at containerd itself."""
    results = {}
    for door in (True, False):
        node.remove_all()
        endpoint = node.cri_endpoint(door)
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
            raise Failure(str(output))
        specs = xml.etree.ElementTree.parse(results_file).iter("testcase")
        results[door] = {spec.get("name"): spec.get("status") for spec in specs}
    ran = {name: status for name, status in results[False].items() if status != "skipped"}
    expect("results of critest", {name: results[True].get(name) for name in ran}, ran)
    passed = sum(status == "passed" for status in ran.values())
    # One spec wants an image by the digest of Kubernetes' own build of it, and some want users in an image.
    if passed < CRITEST_PASSES:
        raise Failure(f"{passed} specs passed: {ran}")
    return f"{passed} of {len(ran)} specs pass, the same as without the door"


def runtime_restarts(node):
    """While containerd is down the pull fails with `Unavailable`; after its restart the door finds it again."""
    node.containerd.stop()
    require_blocked(node.crictl("pull", SIGNED.target.name), "code = Unavailable", "containerd.sock")
    node.start_containerd()
    require_success(node.crictl("pull", SIGNED.target.name))
    return "found again"


def present_images(node):
    """With `recheck_present`, the door hides an image that was imported, until a pull admits it."""
    node.remove_all()
    name = SIGNED.target.name
    require_success(node.crictl("pull", name))
    _status(node, name)
    # An administrator imports the image by hand: containerd has it, and the gate did not decide on it.
    archive = node.directory / "imported.tar"
    require_success(node.ctr("images", "export", archive, name))
    node.remove_all()
    require_success(node.ctr("images", "import", "--snapshotter=native", archive))
    _require_hidden(node, name)
    require_success(node.crictl("pull", name))
    _status(node, name)
    tool = [node.gate.binaries["pullgate"], "--config", node.configuration]
    require_success(node.box.run([*tool, "cache", "clear"]))
    _require_hidden(node, name)
    require_success(node.crictl("pull", name))
    admitted_status = _status(node, name)
    # Another image under the name with the digest that was admitted.
    node.remove_all()
    [admitted] = admitted_status["repoDigests"]
    forged = images.single("forged")
    images.archive(forged, "registry.example/forged:v1", archive)
    require_success(node.ctr("images", "import", "--snapshotter=native", archive))
    require_success(node.ctr("images", "tag", "registry.example/forged:v1", admitted))
    require_success(node.ctr("images", "rm", "registry.example/forged:v1"))
    _await_known(node, admitted)
    _require_hidden(node, admitted)
    # A pull gives the name back to the image that it belongs to.
    require_success(node.crictl("pull", admitted))
    expect("identifier", _status(node, admitted)["id"], admitted_status["id"])
    return "hidden until they are pulled, under any name"


def _await_known(node, name):
    """Waits until containerd's CRI knows a name."""
    for _ in range(50):
        if node.crictl("inspecti", name, door=False).status == 0:
            return
        time.sleep(0.1)
    raise Failure(f"containerd does not know {name}")


def _require_hidden(node, name):
    require_blocked(node.crictl("inspecti", name))
    if json.loads(require_success(node.crictl("images", "--output=json")).text)["images"]:
        raise Failure("the door lists an image that was not admitted")
    # containerd itself has it.
    require_success(node.crictl("inspecti", name, door=False))
