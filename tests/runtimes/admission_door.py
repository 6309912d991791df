"""The admission and control sockets, called by grpcurl, a client that knows the API from reflection alone."""

import json

from cases import NODE_CASES
from report import Failure, expect, require_success

PLANNED = len(NODE_CASES) + 3

CLIENT = "grpcurl"


def run(node, report):
    """Runs every case at this node."""
    report.case(CLIENT, "reflection lists the services", services, node)
    report.case(CLIENT, "health", health, node)
    for case in NODE_CASES:
        report.case(CLIENT, f"Check: {case.title}", check, node, case)
    report.case(CLIENT, "Control refuses a caller that is not root", not_root, node)


def _sockets(node):
    return ((node.admission, "Admission"), (node.control, "Control"))


def _grpcurl(node, *arguments):
    return node.box.run([node.programs / "bin/grpcurl", "-plaintext", "-unix", *arguments])


def _call(node, path, method, message):
    options = ("-emit-defaults", "-max-time", "40", "-d", json.dumps(message))
    return json.loads(require_success(_grpcurl(node, *options, path, method)).text)


def services(node):
    """Each socket serves its own service and health, and describes the request."""
    for path, service in _sockets(node):
        listed = require_success(_grpcurl(node, path, "list")).text.split()
        wanted = {f"pullgate.v1.{service}", "grpc.health.v1.Health"}
        if not wanted <= set(listed):
            raise Failure(f"{path}: {listed}")
    described = require_success(_grpcurl(node, node.admission, "describe", "pullgate.v1.CheckRequest"))
    for field in ("string reference", "string digest", "Credentials credentials"):
        if field not in described.text:
            raise Failure(str(described))
    return "Admission, Control, Health"


def health(node):
    """Each socket is healthy, as a whole and for its own service."""
    for path, service in _sockets(node):
        for name in ("", f"pullgate.v1.{service}"):
            answer = _call(node, path, "grpc.health.v1.Health/Check", {"service": name})
            expect("health", answer["status"], "SERVING")
    return "serving"


def check(node, case):
    """Check returns the outcome of the case."""
    answer = _call(node, node.admission, "pullgate.v1.Admission/Check", {"reference": case.target.name})
    verdict = answer["verdict"]
    if not case.reasons:
        expect("verdict", (verdict["outcome"], verdict["digest"]), ("OUTCOME_ALLOW", case.image.digest))
        return "allow"
    if verdict["outcome"] != "OUTCOME_DENY" or verdict["reason"] not in case.reasons:
        raise Failure(str(verdict))
    return f"deny, {verdict['reason']}"


def not_root(node):
    """Control refuses the caller although the file's mode admits it: the kernel tells the daemon the caller's user."""
    node.control.chmod(0o666)
    process = [
        *(node.programs / "bin/grpcurl", "-plaintext", "-unix", node.control),
        "pullgate.v1.Control/Status",
    ]
    # 65533 is neither root nor the daemon's own user.
    output = node.box.run(["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", *process])
    if output.status == 0 or "PermissionDenied" not in output.text:
        raise Failure(str(output))
    require_success(node.box.run(process))
    return "PermissionDenied"
