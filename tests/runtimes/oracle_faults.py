"""Faults of Oracle's services and of credentials, and the secrets that no output may contain."""

import base64
import re
import time
import urllib.request

import oracle_cloud
from oracle_cloud import COMPARTMENT
from oracle_node import Target
from report import Failure, expect

UNREACHABLE = ("source-unreachable",)
# Eight attempts fit into `[limits] pull`, except on a very busy machine.
UNREACHABLE_OR_LATE = ("source-unreachable", "deadline-exceeded")


class FaultCases:
    """The cases; `oracle_cases.OracleCases` has the fields and helpers that they use."""

    def fault_cases(self):
        """Returns the title and the body of each case."""
        def status(code, **more):
            return {"kind": "status", "status": code, **more}

        cut, slow = {"kind": "truncated", "bytes": 200}, {"kind": "slow", "milliseconds": 60_000}
        either = ("source-unreachable", "limit-exceeded")
        return [
            ("the API answers 500 twice", lambda: self.survives(status(500), 2)),
            ("the API always answers 500", lambda: self.blocks_until_fixed(status(500), *UNREACHABLE_OR_LATE)),
            ("the API always answers 404", lambda: self.blocks_until_fixed(status(404), *UNREACHABLE)),
            ("the API answers 429 with a Retry-After", lambda: self.survives(status(429, retry_after=1), 1)),
            ("the API is slow", lambda: self.blocks_until_fixed(slow, "deadline-exceeded")),
            ("the API cuts one answer short", lambda: self.survives(cut, 1)),
            ("the API cuts every answer short", lambda: self.blocks_until_fixed(cut, *UNREACHABLE_OR_LATE)),
            ("a web page in the API's place", lambda: self.blocks_until_fixed({"kind": "not-json"}, *UNREACHABLE)),
            ("the API names a page that does not exist", lambda: self.pages("wrong-page", *UNREACHABLE)),
            ("the API always names the same page", lambda: self.pages("looping-page", *either)),
            ("the API ignores its filters", self.unfiltered),
            ("the API cuts the answer to an upload short, and one record exists", self.upload_cut),
            ("the clocks differ by an hour: oci, pullgate, the gate", self.clocks_differ),
            ("session token that expired before the start", self.old_token),
            ("session token that expires and is replaced", self.session),
            ("instance principal whose token expires", self.instance),
            ("no secret stands in any output", self.secrets),
        ]

    def survives(self, fault, times):
        """The node repeats the request, and the pull succeeds."""
        self.node.clear_cache()
        self.cloud.control("DELETE", "requests")
        self.cloud.fail(fault, times)
        try:
            self.node.require_pulled(self.node.skopeo, self.images[self.web], Target(self.web))
        finally:
            self.cloud.clear_faults()
        requests = len(self.cloud.control("GET", "requests"))
        if requests <= times:
            raise Failure(f"{requests} requests: no request failed")
        return "pulled"

    def blocks_until_fixed(self, fault, *reasons):
        """While the fault lasts, the gate blocks a signed image, and not as unsigned; afterwards the pull succeeds."""
        self.node.clear_cache()
        self.cloud.fail(fault)
        try:
            word = self.node.require_blocked(self.node.skopeo, Target(self.web), *reasons)
        finally:
            self.cloud.clear_faults()
        self.node.clear_cache()
        self.node.require_pulled(self.node.skopeo, self.images[self.web], Target(self.web))
        return word

    def pages(self, kind, *reasons):
        """A record on a page before the fault counts; an empty list before the fault does not mean unsigned."""
        self.node.clear_cache()
        self.cloud.fail({"kind": kind})
        try:
            word = self.node.require_blocked(self.node.skopeo, Target(self.plain), *reasons)
            self.node.require_pulled(self.node.skopeo, self.images[self.web], Target(self.web))
        finally:
            self.cloud.clear_faults()
        return f"{word}; a record on the page before suffices"

    def unfiltered(self):
        """The node gets every record of the compartment, and finds those of the image."""
        self.node.clear_cache()
        self.cloud.fail({"kind": "unfiltered"})
        try:
            self.node.require_pulled(self.node.skopeo, self.images[self.web], Target(self.web))
            return self.node.require_blocked(self.node.skopeo, Target(self.plain), "digest-mismatch")
        finally:
            self.cloud.clear_faults()

    def upload_cut(self):
        """The service stored the record, but its answer was lost: the repeated request must not store a second one."""
        before = len(self.cloud.records())
        self.cloud.control("DELETE", "requests")
        self.cloud.fail({"kind": "truncated", "bytes": 20}, 1, "CreateContainerImageSignature")
        key, version = self.cloud.key()
        try:
            self.node.tool(
                *("sign", Target(self.ours).name, "--kms-key-id", key, "--kms-key-version-id", version),
                *("--signing-algorithm", "SHA_256_RSA_PKCS_PSS", "--compartment-id", COMPARTMENT, *self.profile()),
            )
        finally:
            self.cloud.clear_faults()
        operations = [request["operation"] for request in self.cloud.control("GET", "requests")]
        expect("uploads", operations.count("CreateContainerImageSignature"), 2)
        expect("records", len(self.cloud.records()), before + 1)
        self.verify_by_oci(self.ours, True)
        return "one record"

    def clocks_differ(self):
        """Every program reports the clocks, and the gate blocks until they agree again."""
        self.node.clear_cache()
        self._advance(3600)
        try:
            output = self.cloud.oci("list", "--compartment-id", COMPARTMENT)
            if output.status != 1 or "NotAuthenticated" not in output.text:
                raise Failure(str(output))
            output = self.node.tool(
                *("signature", "list", Target(self.web).name, "--from", "oracle"),
                *("--compartment-id", COMPARTMENT, *self.profile()),
                status=3,
            )
            if "clock" not in output.text:
                raise Failure(str(output))
            word = self.node.require_blocked(self.node.skopeo, Target(self.web), "source-unreachable")
        finally:
            self._reset_clock()
        self.node.clear_cache()
        self.node.require_pulled(self.node.skopeo, self.images[self.web], Target(self.web))
        return word

    def old_token(self):
        """The gate blocks with an expired token, and pulls with valid credentials."""
        self.node.restart(auth="OLD-TOKEN")
        word = self.node.require_blocked(self.node.skopeo, Target(self.web), "source-unreachable")
        self.node.restart()
        self.node.require_pulled(self.node.skopeo, self.images[self.web], Target(self.web))
        return word

    def session(self):
        """The service revokes the token before its expiry; the node reads the files again after their change."""
        self.cloud.control("POST", "token-life", {"seconds": 100})
        self.tokens.append(self.cloud.session())
        self.session_keys.append((self.cloud.directory / "session.pem").read_text())
        try:
            self.node.restart(auth="SESSION")
            self.node.require_pulled(self.node.skopeo, self.images[self.web], Target(self.web))
            self._advance(120)
            self.node.clear_cache()
            word = self.node.require_blocked(self.node.skopeo, Target(self.web), "source-unreachable")
            self.cloud.control("POST", "token-life", {"seconds": 1000})
            self.tokens.append(self.cloud.session())
            self.session_keys.append((self.cloud.directory / "session.pem").read_text())
            self.node.clear_cache()
            self.node.require_pulled(self.node.skopeo, self.images[self.web], Target(self.web))
        finally:
            self._reset_clock()
            self.node.restart()
        return f"{word}, then pulled with the next token"

    def instance(self):
        """The gate asks the metadata service at Oracle's own address, and again after its first token expired."""
        self.cloud.control("POST", "token-life", {"seconds": 100})
        self.cloud.control("DELETE", "requests")
        try:
            self.node.restart(auth="instance-principal")
            self.node.require_pulled(self.node.skopeo, self.images[self.web], Target(self.web))
            self._advance(120)
            self.node.clear_cache()
            self.node.require_pulled(self.node.skopeo, self.images[self.web], Target(self.web))
        finally:
            self._reset_clock()
            self.node.restart()
        requests = self.cloud.control("GET", "requests")
        for request in requests:
            found = re.search(r'keyId="ST\$([^"]+)"', dict(request["headers"]).get("authorization", ""))
            if found and found[1] not in self.tokens:
                self.tokens.append(found[1])
        federated = [each for each in requests if each["operation"] == "Federate" and each["status"] == 200]
        if len(federated) < 2:
            raise Failure(f"the gate did not ask for another token: {[each['operation'] for each in requests]}")
        return "pulled with both tokens"

    def _advance(self, seconds):
        self.cloud.control("POST", "clock", {"advance": seconds})

    def _reset_clock(self):
        self.cloud.control("POST", "clock", {"now": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})

    def secrets(self):
        """No log, error, output or state file contains a secret, for every profile and every fault."""
        self._provoke()
        texts = {path.name: path.read_text(errors="replace") for path in self._files()}
        texts.update((f"output {number}", text) for number, text in enumerate(self.node.outputs))
        with urllib.request.urlopen(f"http://127.0.0.1:{oracle_cloud.METRICS}/metrics", timeout=20) as answer:
            texts["metrics"] = answer.read().decode()
        everything = "\n".join(texts.values())
        levels = ('"DEBUG"', '"TRACE"')
        for word in (f"{oracle_cloud.HOST}/", "pullgate_oracle_requests_total", "source-unreachable", *levels):
            if word not in everything:
                raise Failure(f"no text contains {word}: the case proves little")
        secrets = self._secrets()
        kept = "\n".join(path.read_text(errors="replace") for path in self.cloud.directory.glob("*") if path.is_file())
        for label, secret in secrets:
            # Memory alone holds those of the instance, and the second session overwrote those of the first.
            if not label.startswith(("instance", "first session")) and secret not in kept:
                raise Failure(f"no file holds the {label}: the case proves nothing")
            for name, text in texts.items():
                form = next((form for form in forms(secret) if form in text), None)
                if form:
                    at = text.index(form)
                    raise Failure(f"{name} contains the {label}: …{text[max(0, at - 300) : at + 300]}…")
        return f"{len(secrets)} secrets, {len(texts)} texts, {len(everything) >> 10} KiB"

    def _provoke(self):
        """Causes an error about each secret, and runs the daemon with its most detailed log."""
        image = Target(self.web).name
        self.node.stop()
        for profile in ("WRONG-PASS-PHRASE", "BROKEN-KEY", "BROKEN-TOKEN", "OLD-TOKEN"):
            output = self.node.tool(
                *("signature", "list", image, "--from", "oracle", "--compartment-id", COMPARTMENT),
                *self.profile(profile),
                status=None,
            )
            if output.status not in (2, 3) or "error: " not in output.text:
                raise Failure(str(output))
            self.node.configure(auth=profile)
            for verb in ("check", "show"):
                self.node.tool("config", verb, status=None)
            # The daemon starts with an expired token.
            if profile != "OLD-TOKEN":
                self.node.require_invalid()
        self.node.configure()
        self.node.start()
        self.node.level = "trace"
        for auth in ("DEFAULT", "SESSION", "instance-principal"):
            self.node.restart(auth=auth)
            self.node.skopeo.pull(Target(self.web))
            for verb in (("config", "show"), ("status",), ("decisions",), ("check", image)):
                self.node.tool(*verb, status=None)

    def _files(self):
        """Yields the daemon's logs and its state files."""
        yield from self.node.box.work.joinpath("log").glob("pullgated-oracle*")
        yield from (path for path in self.node.state.rglob("*") if path.is_file())

    def _secrets(self):
        """Returns a label and a text that must not appear, for each secret; a key counts line by line."""
        request = urllib.request.Request(f"http://{oracle_cloud.METADATA}/opc/v2/identity/key.pem")
        request.add_header("Authorization", "Bearer Oracle")
        with urllib.request.urlopen(request, timeout=20) as answer:
            instance = answer.read().decode()
        keys = [("API key", (self.cloud.directory / f"{name}.pem").read_text()) for name in ("api", "locked", "other")]
        names = [f"{which} session's key" for which in ("first", "second")]
        keys += [*zip(names, self.session_keys, strict=True), ("instance's key", instance)]
        found = [("pass phrase", oracle_cloud.PASS_PHRASE), ("pass phrase", oracle_cloud.WRONG_PASS_PHRASE)]
        for label, pem in keys:
            found += [(label, line) for line in pem.splitlines() if re.fullmatch(r"[\w+/=]{16,}", line, re.ASCII)]
        found += [("token", oracle_cloud.OLD_TOKEN), *(("token", part) for part in oracle_cloud.BROKEN_TOKEN.split())]
        for which, token in zip(["first session's", "second session's", *["instance's"] * 9], self.tokens):
            # The first part is the same in every token, and not secret.
            found += [(f"{which} token", part) for part in token.split(".")[1:]]
        return found


def forms(secret):
    """Returns the forms that a secret may have in a text: plain, base64, hex, and the bytes of Rust's Debug."""
    data = secret.encode()
    return [secret, base64.b64encode(data).decode(), data.hex(), ", ".join(map(str, data[:12]))]
