"""buf's lint of the API's files."""

import pathlib
import shutil

from report import Failure, require_success

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"

PLANNED = 1


def run(the_box, programs, report):
    """Runs the case."""
    report.case("buf", "the API's files have no lint", lint, the_box, programs / "bin/buf")


def lint(the_box, buf):
    """buf accepts the files, and finds a broken rule in a copy of them: it reads them all."""
    require_success(the_box.run([buf, "lint", PROTO]))
    copy = the_box.directory("buf") / "proto"
    shutil.copytree(PROTO, copy)
    broken = copy / "pullgate/v1/admission.proto"
    broken.write_text(broken.read_text().replace("rpc Check(", "rpc check(", 1))
    output = the_box.run([buf, "lint", copy])
    if output.status == 0 or "admission.proto" not in output.text:
        raise Failure(str(output))
    return "none found"
