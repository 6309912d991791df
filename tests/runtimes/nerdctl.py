"""nerdctl: it resolves and fetches without containerd's plug-ins, so the registry door must block its pulls."""

from cases import NODE_CASES, SIGNED
from report import require_blocked

PLANNED = len(NODE_CASES) + 1


def run(node, report):
    """Runs every case at this node, with the gate of the registry door."""

    def pull(name):
        return node.nerdctl("pull", "--quiet", name)

    node.gate.start()
    for case in NODE_CASES:
        report.case("nerdctl", f"registry door: {case.title}", node.check_pull, pull, case)
    node.gate.stop()
    node.remove_all()
    report.case(
        "nerdctl",
        "registry door: the gate is down",
        lambda: require_blocked(pull(SIGNED.target.name), "connection refused"),
    )
