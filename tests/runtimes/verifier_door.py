"""containerd's verifier plug-in: containerd pulls from the registry itself, and only the plug-in can block the pull."""

import concurrent.futures
import signal
import time

from cases import NODE_CASES, SIGNED
from report import Failure, require_blocked, require_success

# How many clients pull at the same time.
CROWD = 100

PLANNED = 2 * len(NODE_CASES) + 4


def run(node, report):
    """Runs every case at this node."""
    client = node.version

    def by_ctr(name):
        return node.ctr("images", "pull", name)

    def by_crictl(name):
        return node.crictl("pull", name, door=False)

    for way, pull in (("ctr, plug-in", by_ctr), ("crictl, plug-in", by_crictl)):
        for case in NODE_CASES:
            report.case(client, f"{way}: {case.title}", node.check_pull, pull, case)
    report.case(client, f"plug-in: {CROWD} pulls at the same time", crowd, node)
    node.remove_all()
    node.daemon.process.send_signal(signal.SIGSTOP)
    report.case(client, "plug-in: the gate hangs", gate_hangs, node)
    node.daemon.process.send_signal(signal.SIGCONT)
    node.stop_gate()
    report.case(client, "plug-in: the gate is down", gate_down, node)
    node.start_gate()
    report.case(client, "plug-in: the gate runs again", node.check_pull, by_ctr, SIGNED)


def crowd(node):
    """Of many pulls at the same time, each signed image arrives and each unsigned one is blocked."""
    node.remove_all()
    blocked = next(case for case in NODE_CASES if case.reasons)

    def pull(number):
        case = SIGNED if number % 2 == 0 else blocked
        return case, node.ctr("images", "pull", case.target.name, seconds=240)

    with concurrent.futures.ThreadPoolExecutor(CROWD) as pool:
        for case, output in pool.map(pull, range(CROWD)):
            if case is SIGNED:
                require_success(output)
            else:
                require_blocked(output, *case.reasons)
    return f"{CROWD} pulls"


def gate_hangs(node):
    """The plug-in blocks the pull after its own time limit, before containerd's limit of 10 s kills it."""
    started = time.monotonic()
    word = require_blocked(node.ctr("images", "pull", SIGNED.target.name), "pullgate: blocked: ", "within 9 s")
    seconds = time.monotonic() - started
    if not 8 < seconds < 12:
        raise Failure(f"the pull took {seconds:.1f} s")
    return f"{word} after {seconds:.1f} s"


def gate_down(node):
    """The plug-in blocks the pull, and names the socket and the daemon."""
    output = node.ctr("images", "pull", SIGNED.target.name)
    return require_blocked(output, "pullgate: blocked: ", str(node.admission), "pullgated")
