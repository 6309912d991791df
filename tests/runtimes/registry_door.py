"""Debian's runtimes at the registry door. Each case also searches the registry's access log for other clients."""

import urllib.error
import urllib.request

import clients
import gate
import images
import origin
from cases import CASES, CONTROL, INDEX, LATER
from report import Failure, codes_in, expect, require_reason, require_success


def only_gate(requests, output):
    """Raises `Failure` if a client other than the gate sent a request to the registry."""
    if clients.strangers(requests):
        raise Failure(f"the client sent requests to the registry: {clients.strangers(requests)}\n{output}")


def pulled(world, client, case):
    """The pull succeeds, the client has the right image, and only the gate was at the registry."""
    world.origin.mark()
    output = client.pull(case.target)
    requests = world.origin.mark()
    only_gate(requests, output)
    require_success(output)
    if not requests:
        raise Failure(f"the registry saw no request: the image's origin is unknown\n{output}")
    try:
        client.check_present(case.target, case.image)
    except Failure as error:
        raise Failure(f"{error}\n{output}") from error
    return "pulled"


def blocked(world, client, case):
    """The pull fails with the reason in the client's own output, and only the gate was at the registry."""
    world.origin.mark()
    output = client.pull(case.target)
    only_gate(world.origin.mark(), output)
    reason = require_reason(output, case.reasons)
    client.check_absent(case.target)
    return f"blocked, {reason}"


def blocked_without_gate(world, client, case):
    """The gate is down: the pull fails, the client gets no image, and the registry sees no request at all."""
    world.origin.mark()
    output = client.pull(case.target)
    requests = world.origin.mark()
    if requests:
        raise Failure(f"the registry saw requests: {requests}\n{output}")
    if output.status == 0:
        raise Failure(f"the image was pulled\n{output}")
    client.check_absent(case.target)
    return "blocked"


def unlisted_registry(world, client, case):
    """The registry has a second name that no packaged file lists: under it, the client gets no image."""
    world.origin.mark()
    output = client.pull_unlisted(case.target)
    requests = world.origin.mark()
    if output.status == 0:
        raise Failure(f"the image was pulled\n{output}")
    if client.unlisted == "gate":
        only_gate(requests, output)
        if not codes_in(output.text, ["no-rule"]):
            raise Failure(f"the output does not contain no-rule\n{output}")
        return "blocked, no-rule"
    # containers/image reads the manifest before it consults policy.json, but it must not read a blob.
    if any("/blobs/" in request["path"] for request in clients.strangers(requests)):
        raise Failure(f"the client read a blob: {requests}\n{output}")
    if "rejected by policy" not in output.text:
        raise Failure(f"policy.json did not reject the image\n{output}")
    return "blocked by policy.json"


def control(world, client, case):
    """The access log shows a pull past the gate under the client's name, so the other cases would have seen one."""
    world.origin.mark()
    output = client.pull_directly(case.target)
    seen = clients.strangers(world.origin.mark())
    require_success(output)
    if not seen or not all(request["agent"].startswith(client.agent) for request in seen):
        raise Failure(f"the access log does not name {client.agent}: {seen}\n{output}")
    return "seen in the registry's log"


def resumed(world, case):
    """After a restart, the gate still serves the child of an index that it admitted, so a running pull goes on."""
    name = f"/v2/{origin.HOST}/{case.repository}/manifests/{case.image.native_digest}"
    request = urllib.request.Request(f"http://127.0.0.1:{gate.PORT}{name}", headers={"Accept": images.ACCEPT})
    world.origin.mark()
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            found = images.digest_of(answer.read())
    except urllib.error.HTTPError as error:
        raise Failure(f"GET {name}: {error.code} {error.reason}: {error.read(4096)}") from error
    only_gate(world.origin.mark(), name)
    expect("child", found, case.image.native_digest)
    return "served"


def planned(client):
    """Returns the number of cases of one client's class, without the one that needs no client."""
    return len(CASES) + 3 + (client.unlisted != "open")


# The case `resumed`, which runs once, whatever the number of clients.
PLANNED_WITHOUT_CLIENT = 1


def run(world, selected, report):
    """Runs every case with each of the selected clients."""
    world.gate.start()
    for client in selected:
        client.start()

    for case in CASES:
        body = blocked if case.reasons else pulled
        for client in selected:
            report.case(client.name, case.title, body, world, client, case)
    for client in selected:
        if client.unlisted != "open":
            report.case(client.name, "registry that no file lists", unlisted_registry, world, client, CONTROL)

    world.gate.stop()
    for client in selected:
        report.case(client.name, "signed image while the gate is down", blocked_without_gate, world, client, LATER)
    world.gate.start()
    report.case("http", "child of an index that was admitted before the restart", resumed, world, INDEX)
    for client in selected:
        report.case(client.name, "signed image after the gate's restart", pulled, world, client, LATER)
    for client in selected:
        report.case(client.name, "control: a pull past the gate", control, world, client, CONTROL)
    world.gate.stop()
