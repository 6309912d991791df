"""Runs the selected parts. `run` starts it inside its own namespaces, and tells it which parts to run and where the
programs are."""

import argparse
import sys
import time
import traceback
from pathlib import Path

import admission_door
import box
import cases
import clients
import cri_door
import gate
import nerdctl
import node_images
import oracle_cases
import origin
import proto_lint
import registry_door
import report as reports
import verifier_door
from containerd_node import DEBIAN, FROM_GO, Node

# The clients of the registry door, by the names of their parts.
CLIENTS = {
    client.name: client for client in (clients.Skopeo, clients.Podman, clients.Ctr, clients.Cri, clients.Docker)
}
# Every containerd that serves a gRPC door, in the order of the run.
VERSIONS = (*FROM_GO, DEBIAN)
# The containerd at which the parts `grpcurl` and `nerdctl` run.
CURRENT = FROM_GO[0]


def _planned_of_containerd(version):
    return cri_door.PLANNED + (verifier_door.PLANNED if version in FROM_GO else 0)


# How many cases each part has.
PLANNED = {
    **{name: registry_door.planned(client) for name, client in CLIENTS.items()},
    **{f"containerd-{version}": _planned_of_containerd(version) for version in VERSIONS},
    "grpcurl": admission_door.PLANNED,
    "nerdctl": nerdctl.PLANNED,
    "critest": len(VERSIONS),
    "buf": proto_lint.PLANNED,
    "oracle": oracle_cases.planned(),
}


def plan(parts):
    """Returns how many cases these parts have."""
    shared = registry_door.PLANNED_WITHOUT_CLIENT if any(part in CLIENTS for part in parts) else 0
    return sum(PLANNED[part] for part in parts) + shared


def run_parts(the_box, options, report):
    """Sets up what the selected parts need, and runs their cases."""
    parts = options.part
    the_origin = origin.Origin(the_box)
    the_gate = gate.Gate(the_box, options.binaries)
    containerd = clients.Containerd(the_box)
    selected = [_client(name, the_box, containerd) for name in CLIENTS if name in parts]
    nodes = [version for version in VERSIONS if _steps(version, parts)]

    the_origin.start()
    if selected or nodes:
        the_gate.configure(the_origin.authority, cases.DENIED)
        world = cases.World(the_origin, the_gate)
        for case in [*cases.CASES, cases.LATER, cases.CONTROL]:
            case.prepare(world, case)
    the_box.trust(the_origin.authority)
    clients.install_containers_files()
    if {"ctr", "cri", "oracle"} & set(parts):
        containerd.start()

    if selected:
        registry_door.run(world, selected, report)
    if nodes:
        node_images.push(the_origin, the_gate)
    for version in nodes:
        node = Node(the_box, the_gate, version, options.peers)
        node.start()
        for step in _steps(version, parts):
            step(node, report)
        node.stop()
    if "buf" in parts:
        proto_lint.run(the_box, options.peers, report)
    if "oracle" in parts:
        oracle_cases.run_all(the_box, the_origin, the_gate, containerd, options, report)


def _client(name, the_box, containerd):
    client = CLIENTS[name]
    return client(the_box, containerd) if client in (clients.Ctr, clients.Cri) else client(the_box)


def _steps(version, parts):
    """Returns what runs at the node of one containerd, in this order."""
    selected = f"containerd-{version}" in parts
    table = [
        (verifier_door.run, selected and version in FROM_GO),
        (admission_door.run, version == CURRENT and "grpcurl" in parts),
        (nerdctl.run, version == CURRENT and "nerdctl" in parts),
        (cri_door.run_critest, "critest" in parts),
        # The last one: it restarts the gate with other settings.
        (cri_door.run, selected),
    ]
    return [step for step, is_selected in table if is_selected]


def run_in_box(options, report):
    """Enters the namespaces, runs the parts, and ends every process that they started."""
    for case in cases.CASES:
        if reports.codes_in(case.target.name, case.reasons):
            raise box.SetupError(f"the name {case.repository} contains a reason code")
    box.enter(options.work, [origin.HOST, origin.OTHER_HOST, origin.OCIR, origin.GCR], [origin.FACES])
    the_box = box.Box(options.work)
    try:
        run_parts(the_box, options, report)
    finally:
        the_box.close()


def parse_options():
    """Parses the command line."""
    parser = argparse.ArgumentParser(description="Started by tests/runtimes/run.")
    parser.add_argument("--work", type=Path, required=True, help="an empty directory to mount over")
    parser.add_argument("--binaries", type=Path, required=True, help="the directory of pullgate's programs")
    parser.add_argument("--oracle-cloud", type=Path, help="the stand-in of Oracle's services")
    parser.add_argument("--peers", type=Path, required=True, help="the directory of the programs that Debian lacks")
    parser.add_argument("--part", action="append", required=True, choices=PLANNED, help="a part to run")
    parser.add_argument("--skipped", action="append", default=[], choices=PLANNED, help="a part to count as skipped")
    return parser.parse_args()


def main():
    """Runs the parts and prints the counts as the last line; returns the exit status."""
    options = parse_options()
    report = reports.Report()
    report.planned = plan(options.part)
    report.skipped = plan(options.skipped)
    started = time.monotonic()
    broken = True
    try:
        run_in_box(options, report)
        broken = False
    except box.SetupError as error:
        print(f"FAIL  the setup failed: {error}")
    except Exception:  # the last line must appear in any case
        print(f"FAIL  the suite has a fault: {traceback.format_exc()}")
    not_run = report.planned - report.passed - report.failed
    if not_run:
        print(f"FAIL  {not_run} of {report.planned} cases did not run")
        report.failed += abs(not_run)
    elif broken:
        # The fault came after the last case, for example at the end of a daemon.
        report.failed += 1
    print(f"took {time.monotonic() - started:.0f} s")
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped", flush=True)
    return 0 if report.failed == 0 and report.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
