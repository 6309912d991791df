"""Pulls through the gate with each runtime, and reads what the origin's access log says about who came.

Started by `run`, inside namespaces of its own: main.py WORK BINARIES PEERS

PEERS is where `run` keeps the programs of others that Debian has not: those of the Go proxy, which are left out and counted
where there is no Go, and Oracle's client.
"""

import os
import sys
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path

import box
import clients
import gate
import images
import newer
import oracle
import oracle_cases
import origin


class Case:
    """One image that every client pulls, and what must come of it.

    `prepare(world, case)` pushes it and does to it what the case is about. `reasons` are the codes of which one must
    stand in the client's own output; none means that the pull goes through.
    """

    def __init__(
        self, title, repository, prepare, reasons=(), build=images.single, family=images.OCI, by_digest=False
    ):
        self.title = title
        self.repository = repository
        self.prepare = prepare
        self.reasons = reasons
        self.image = build(repository, family)
        self.target = clients.Target(repository, self.image.digest if by_digest else "v1")


class World:
    """What the preparations work with."""

    def __init__(self, the_origin, the_gate):
        self.origin = the_origin
        self.gate = the_gate

    def push(self, case):
        """Pushes the case's image."""
        self.origin.uploader.push(case.repository, "v1", case.image)


def signed_by(key):
    """Pushed, and signed with this key."""

    def prepare(world, case):
        world.push(case)
        world.gate.sign(case.repository, "v1", key)

    return prepare


def unsigned(world, case):
    """Pushed, and that is all."""
    world.push(case)


def signature_spoiled(world, case):
    """Signed with the right key; then bits of the signature are flipped."""
    signed_by("release")(world, case)
    world.origin.uploader.spoil_signatures(case.repository, case.image.digest)


def signature_borrowed(world, case):
    """The same image is signed in another repository, and that signature is copied."""
    lender = "shop/lender"
    world.origin.uploader.push(lender, "v1", case.image)
    world.gate.sign(lender, "v1", "release")
    world.push(case)
    world.origin.uploader.copy_signatures(lender, case.repository, case.image.digest)


def manifest_altered(world, case):
    """Signed; then the registry's own disk holds another image's manifest in its place."""
    signed_by("release")(world, case)
    other = images.single(case.repository + "-evil")
    for data in other.blobs:
        world.origin.uploader.blob(case.repository, data)
    world.origin.replace_on_disk(case.image.digest, other.top)


def child_altered(world, case):
    """The index is signed and untouched; the manifest below it is another's."""
    signed_by("release")(world, case)
    other = images.single(case.repository + "-evil")
    for data in other.blobs:
        world.origin.uploader.blob(case.repository, data)
    world.origin.replace_on_disk(case.image.native_digest, other.top)


# The repositories' names hold no reason's code: clients print them, and a code must come from the gate.
CASES = [
    Case("signed image", "shop/web", signed_by("release")),
    Case("signed image by digest", "shop/web-pinned", signed_by("release"), by_digest=True),
    Case("signed index, and its child", "shop/multi", signed_by("release"), build=images.multi),
    Case(
        "signed index by digest",
        "shop/multi-pinned",
        signed_by("release"),
        build=images.multi,
        by_digest=True,
    ),
    Case("signed Docker schema 2 image", "shop/legacy", signed_by("release"), family=images.DOCKER),
    Case(
        "signed Docker manifest list",
        "shop/legacy-multi",
        signed_by("release"),
        build=images.multi,
        family=images.DOCKER,
    ),
    Case("unsigned image", "shop/plain", unsigned, ["unsigned"]),
    Case("unsigned index", "shop/plain-multi", unsigned, ["unsigned"], build=images.multi),
    Case(
        "signed with a key that the node does not know",
        "shop/stranger",
        signed_by("stranger"),
        ["untrusted-key"],
    ),
    Case("signed with a key of another rule", "shop/colleague", signed_by("colleague"), ["untrusted-key"]),
    Case("altered signature", "shop/forged", signature_spoiled, ["bad-signature"]),
    Case("signature of another repository", "shop/borrowed", signature_borrowed, ["repository-mismatch"]),
    Case("signed with an expired key", "archive/web", signed_by("old"), ["key-expired"]),
    Case("signed, its digest denied", "shop/recalled", signed_by("release"), ["digest-denied"]),
    # By tag the bytes alone say what is meant: they are another, unsigned image. Both answers are true.
    Case("altered manifest", "shop/altered", manifest_altered, ["digest-mismatch", "unsigned"]),
    Case(
        "altered manifest by digest",
        "shop/altered-pinned",
        manifest_altered,
        ["digest-mismatch"],
        by_digest=True,
    ),
    Case(
        "signed index, altered child",
        "shop/altered-child",
        child_altered,
        ["digest-mismatch"],
        build=images.multi,
    ),
    Case("a repository that no rule names", "elsewhere/web", signed_by("release"), ["no-rule"]),
]
DENIED = "shop/recalled"
INDEX = next(case for case in CASES if case.repository == "shop/multi")

# Pulled while the gate is down, and again when it is back.
LATER = Case("signed image", "shop/later", signed_by("release"))
# Pulled past the gate on purpose.
CONTROL = Case("control", "control/web", unsigned)


class Failure(Exception):
    """A case did not come out as it must; the text is for the report."""


class Report:
    """Counts, and one line for each case."""

    def __init__(self):
        self.planned = 1
        self.passed = 0
        self.failed = 0
        self.skipped = 0

    def case(self, who, title, body, *arguments):
        """Runs one case: `body` gives a word for the line, or raises `Failure`."""
        began = time.monotonic()
        try:
            word, failure = body(*arguments), None
        except (Failure, oracle.Failed, clients.Mismatch) as error:
            word, failure = "", error
        except (LookupError, OSError, ValueError):  # an answer of a client that we do not understand
            word, failure = "", traceback.format_exc()
        took = time.monotonic() - began
        label = "FAIL" if failure else "ok  "
        print(f"{label}  {who:<7} {title}{': ' + word if word else ''}  ({took:.2f} s)", flush=True)
        if failure:
            self.failed += 1
            print("      " + str(failure).replace("\n", "\n      "), flush=True)
        else:
            self.passed += 1


def only_gate(requests, output):
    """Raises `Failure` when somebody but the gate came to the origin."""
    if clients.strangers(requests):
        raise Failure(f"the client came to the origin itself: {clients.strangers(requests)}\n{output}")


def pulled(world, client, case):
    """The pull goes through, the image is the right one, and only the gate was at the origin."""
    world.origin.mark()
    output = client.pull(case.target)
    requests = world.origin.mark()
    only_gate(requests, output)
    if output.status != 0:
        raise Failure(str(output))
    if not requests:
        raise Failure(f"nobody came to the origin: where is the image from?\n{output}")
    try:
        client.check_present(case.target, case.image)
    except clients.Mismatch as error:
        raise Failure(f"{error}\n{output}") from error
    return "pulled"


def blocked(world, client, case):
    """The pull fails with the reason in the client's own output, and only the gate was at the origin."""
    world.origin.mark()
    output = client.pull(case.target)
    only_gate(world.origin.mark(), output)
    if output.status == 0:
        raise Failure(f"it was pulled\n{output}")
    found = clients.codes_in(output.text, case.reasons)
    if not found:
        raise Failure(f"the output does not say {' or '.join(case.reasons)}\n{output}")
    client.check_absent(case.target)
    return f"blocked, {found[0]}"


def blocked_without_gate(world, client, case):
    """The gate is down: the pull fails, nothing arrives, and nobody at all came to the origin."""
    world.origin.mark()
    output = client.pull(case.target)
    requests = world.origin.mark()
    if requests:
        raise Failure(f"somebody came to the origin: {requests}\n{output}")
    if output.status == 0:
        raise Failure(f"it was pulled\n{output}")
    client.check_absent(case.target)
    return "blocked"


def side_door(world, client, case):
    """A name of the origin that no file lists, under the packaged configuration: the image does not arrive."""
    world.origin.mark()
    output = client.pull_side_door(case.target)
    requests = world.origin.mark()
    if output.status == 0:
        raise Failure(f"it was pulled\n{output}")
    if client.side_door == "gate":
        only_gate(requests, output)
        if not clients.codes_in(output.text, ["no-rule"]):
            raise Failure(f"the output does not say no-rule\n{output}")
        return "blocked, no-rule"
    # containers/image reads the manifest before it asks policy.json; a blob it must not read.
    if any("/blobs/" in request["path"] for request in clients.strangers(requests)):
        raise Failure(f"the client read a blob: {requests}\n{output}")
    if "rejected by policy" not in output.text:
        raise Failure(f"policy.json did not speak\n{output}")
    return "blocked by policy.json"


def control(world, client, case):
    """A pull past the gate shows in the access log under the client's name: the other cases would have seen it."""
    world.origin.mark()
    output = client.pull_directly(case.target)
    seen = clients.strangers(world.origin.mark())
    if output.status != 0:
        raise Failure(str(output))
    if not seen or not all(request["agent"].startswith(client.agent) for request in seen):
        raise Failure(f"the access log does not name {client.agent}: {seen}\n{output}")
    return "seen in the origin's log"


def resumed(world, case):
    """The gate was started anew: what it admitted before, it still serves, and a pull that was under way goes on."""
    name = f"/v2/{origin.HOST}/{case.repository}/manifests/{case.image.native_digest}"
    request = urllib.request.Request(f"http://127.0.0.1:{gate.PORT}{name}", headers={"Accept": images.ACCEPT})
    world.origin.mark()
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            found = images.digest_of(answer.read())
    except urllib.error.HTTPError as error:
        raise Failure(f"GET {name}: {error.code} {error.reason}: {error.read(4096)}") from error
    only_gate(world.origin.mark(), name)
    clients.expect("child", found, case.image.native_digest)
    return "served"


# What the newer runtimes pull: one of each kind is enough, the kinds are told apart above.
NEWER = [
    case
    for case in CASES
    if case.repository
    in ("shop/web", "shop/multi", "shop/plain", "shop/stranger", "shop/borrowed", "archive/web", "shop/recalled")
]


def run_all(the_box, binaries, peers, report):
    """Sets everything up and runs every case with every client."""
    # What Go builds is there or not as a whole; `oci` always is.
    programs = peers if (peers / "bin" / "crictl").exists() else None
    the_origin = origin.Origin(the_box)
    the_gate = gate.Gate(the_box, binaries)
    world = World(the_origin, the_gate)
    denied = [case.image.digest for case in CASES if case.repository == DENIED]
    containerd = clients.Containerd(the_box)
    everyone = [
        clients.Skopeo(the_box),
        clients.Podman(the_box),
        clients.Ctr(the_box, containerd),
        clients.Cri(the_box, containerd),
        clients.Docker(the_box),
    ]

    listed = [client for client in everyone if client.side_door != "open"]
    # One for each case and client, three more for each client, one without a client.
    report.planned = (len(CASES) + 3) * len(everyone) + len(listed) + 1
    # `tests/runtimes/oracle` wants this part alone.
    oracle_alone = os.environ.get("PULLGATE_PART") == "oracle"
    if oracle_alone:
        report.planned = 0
    report.planned += oracle_cases.planned()
    if oracle_alone:
        pass
    elif programs is None:
        report.skipped += newer.planned(NEWER)
        print(f"skip  containerd {', '.join(newer.NEWER)}, crictl, nerdctl, grpcurl and buf: Go is not here to build them")
    else:
        report.planned += newer.planned(NEWER)

    the_origin.start()
    if oracle_alone:
        the_box.trust(the_origin.authority)
        containerd.start()
        oracle_cases.run_all(the_box, the_origin, the_gate, containerd, binaries, peers, report)
        return
    the_gate.configure(the_origin.authority, denied)
    for case in [*CASES, LATER, CONTROL]:
        case.prepare(world, case)
    the_gate.start()
    the_box.trust(the_origin.authority)
    clients.install_containers_files()
    containerd.start()
    for client in everyone:
        client.start()

    for case in CASES:
        body = blocked if case.reasons else pulled
        for client in everyone:
            report.case(client.name, case.title, body, world, client, case)
    for client in listed:
        report.case(client.name, "a registry that no file lists", side_door, world, client, CONTROL)

    the_gate.stop()
    for client in everyone:
        report.case(client.name, "signed image, gate down", blocked_without_gate, world, client, LATER)
    the_gate.start()
    report.case("http", "the child of an index that was admitted before", resumed, world, INDEX)
    for client in everyone:
        report.case(client.name, "signed image, gate up again", pulled, world, client, LATER)
    for client in everyone:
        report.case(client.name, "control: a pull past the gate", control, world, client, CONTROL)
    the_gate.stop()

    if programs is not None:
        tests = newer.Tests(report, Failure, clients.codes_in, NEWER)
        newer.push_critest(the_origin)
        newer.push_runnable(the_origin, the_gate)
        newer.push_faces(the_origin, the_gate, NEWER[0].image)
        newer.run_all(the_box, the_gate, programs, tests)
    oracle_cases.run_all(the_box, the_origin, the_gate, containerd, binaries, peers, report)


def run_in_box(work, binaries, peers, report):
    """Runs everything between entering the namespaces and ending what was started."""
    for case in CASES:
        if clients.codes_in(case.target.name, case.reasons):
            raise box.SetupError(f"the name {case.repository} holds a reason's code")
    box.enter(work, [origin.HOST, origin.OTHER_HOST, origin.OCIR, origin.GCR], [origin.FACES])
    the_box = box.Box(work)
    try:
        run_all(the_box, binaries, peers, report)
    finally:
        the_box.close()


def main():
    """Runs it all; the last line says what came out, the exit status whether all is well."""
    report = Report()
    began = time.monotonic()
    try:
        run_in_box(*(Path(argument) for argument in sys.argv[1:4]), report)
    except box.SetupError as error:
        print(f"FAIL  the test could not go on: {error}")
    except Exception:  # the last line comes whatever happens
        print(f"FAIL  the test itself broke: {traceback.format_exc()}")
    missing = report.planned - report.passed - report.failed
    if missing:
        print(f"FAIL  {missing} of {report.planned} cases did not run")
        report.failed += missing
    print(f"took {time.monotonic() - began:.0f} s")
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped", flush=True)
    return 0 if report.failed == 0 and report.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
