"""Results: how a case fails, and the counts that the last line prints."""

import re
import time
import traceback


class Failure(Exception):
    """A case had the wrong outcome; the text is for the report."""


class Report:
    """Counts the cases and prints one line for each."""

    def __init__(self):
        self.planned = 0
        self.passed = 0
        self.failed = 0
        self.skipped = 0

    def case(self, client, title, body, *arguments):
        """Runs one case: `body` returns a word for the line, or raises `Failure`."""
        started = time.monotonic()
        try:
            word, failure = body(*arguments), None
        except Failure as error:
            word, failure = "", error
        except (LookupError, OSError, ValueError):  # a client's answer has an unexpected form
            word, failure = "", traceback.format_exc()
        seconds = time.monotonic() - started
        label = "FAIL" if failure else "ok  "
        print(f"{label}  {client:<7} {title}{': ' + word if word else ''}  ({seconds:.2f} s)", flush=True)
        if failure:
            self.failed += 1
            print("      " + str(failure).replace("\n", "\n      "), flush=True)
        else:
            self.passed += 1


def expect(subject, found, wanted):
    """Raises `Failure` unless both values are the same."""
    if found != wanted:
        raise Failure(f"{subject}: found {found}, wanted {wanted}")


def require_success(output):
    """Raises `Failure` unless the program exited with 0; returns its output."""
    if output.status != 0:
        raise Failure(str(output))
    return output


def require_blocked(output, *words):
    """Raises `Failure` if the program exited with 0, or its output lacks one of the words."""
    if output.status == 0:
        raise Failure(f"the program succeeded\n{output}")
    for word in words:
        if word not in output.text:
            raise Failure(f"the output does not contain {word}\n{output}")
    return "blocked"


def require_reason(output, reasons):
    """Raises `Failure` unless the program failed and its output contains one of the reason codes; returns the code."""
    if output.status == 0:
        raise Failure(f"the image was pulled\n{output}")
    found = codes_in(output.text, reasons)
    if not found:
        raise Failure(f"the output does not contain {' or '.join(reasons)}\n{output}")
    return found[0]


def codes_in(text, reasons):
    """Returns the codes that stand in a text as words of their own."""
    return [reason for reason in reasons if re.search(rf"(?<![\w-]){re.escape(reason)}(?![\w-])", text)]
