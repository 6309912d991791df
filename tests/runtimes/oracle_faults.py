"""Oracle's services at their worst, and what must never be written anywhere."""

import base64
import re
import time
import urllib.request

import clients
import oracle
from oracle import COMPARTMENT, Failed, Target

UNREACHABLE = ("source-unreachable",)
# Eight attempts fit into `[limits] pull`, but not on every machine at every time.
TIRED = ("source-unreachable", "deadline-exceeded")


class Faults:
    """The cases; what they need of the others is in `oracle_cases.Tests`."""

    def fault_cases(self):
        """Title and body of each."""
        def status(code, **more):
            return {"kind": "status", "status": code, **more}

        cut, slow = {"kind": "truncated", "bytes": 200}, {"kind": "slow", "milliseconds": 60_000}
        either = ("source-unreachable", "limit-exceeded")
        return [
            ("the API answers 500 twice", lambda: self.passes(status(500), 2)),
            ("the API answers 500 for ever", lambda: self.lasts(status(500), *TIRED)),
            ("the API answers 404 for ever", lambda: self.lasts(status(404), *UNREACHABLE)),
            ("the API wants us to wait a second", lambda: self.passes(status(429, retry_after=1), 1)),
            ("the API is slow", lambda: self.lasts(slow, "deadline-exceeded")),
            ("the API's answer is cut once", lambda: self.passes(cut, 1)),
            ("the API's answer is cut each time", lambda: self.lasts(cut, *TIRED)),
            ("another page in the API's place", lambda: self.lasts({"kind": "not-json"}, *UNREACHABLE)),
            ("the API names a page that does not exist", lambda: self.pages("wrong-page", *UNREACHABLE)),
            ("the API names the same page for ever", lambda: self.pages("looping-page", *either)),
            ("the API ignores its filters", self.unfiltered),
            ("the answer to an upload is cut: there is one record", self.upload_cut),
            ("the clocks differ by an hour: oci, pullgate, the gate", self.skewed),
            ("a session token that had ended before", self.old_token),
            ("a session token ends, and another takes its place", self.session),
            ("an instance principal, whose token ends", self.instance),
            ("nothing secret was written anywhere", self.secrets),
        ]

    def passes(self, fault, times):
        """It is asked again, and the pull goes through."""
        self.node.forget()
        self.cloud.control("DELETE", "requests")
        self.cloud.fail(fault, times)
        try:
            self.node.pulls(self.node.skopeo, self.images[self.web], Target(self.web))
        finally:
            self.cloud.mend()
        requests = len(self.cloud.control("GET", "requests"))
        if requests <= times:
            raise Failed(f"{requests} requests: nothing failed")
        return "pulled"

    def lasts(self, fault, *reasons):
        """While the API behaves so, what is signed is blocked, and not as unsigned; then it pulls again."""
        self.node.forget()
        self.cloud.fail(fault)
        try:
            word = self.node.blocks(self.node.skopeo, Target(self.web), *reasons)
        finally:
            self.cloud.mend()
        self.node.forget()
        self.node.pulls(self.node.skopeo, self.images[self.web], Target(self.web))
        return word

    def pages(self, kind, *reasons):
        """What was listed so far counts, and that nothing was listed so far says nothing."""
        self.node.forget()
        self.cloud.fail({"kind": kind})
        try:
            word = self.node.blocks(self.node.skopeo, Target(self.plain), *reasons)
            self.node.pulls(self.node.skopeo, self.images[self.web], Target(self.web))
        finally:
            self.cloud.mend()
        return f"{word}; a record on the page before is enough"

    def unfiltered(self):
        """It is shown every record of the compartment, and one of them is of the image."""
        self.node.forget()
        self.cloud.fail({"kind": "unfiltered"})
        try:
            self.node.pulls(self.node.skopeo, self.images[self.web], Target(self.web))
            return self.node.blocks(self.node.skopeo, Target(self.plain), "digest-mismatch")
        finally:
            self.cloud.mend()

    def upload_cut(self):
        """The record was made and nobody heard of it: what is asked again must not make another."""
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
            self.cloud.mend()
        asked = [one["operation"] for one in self.cloud.control("GET", "requests")]
        clients.expect("uploads", asked.count("CreateContainerImageSignature"), 2)
        clients.expect("records", len(self.cloud.records()), before + 1)
        self.oci_says(self.ours, True)
        return "one more"

    def skewed(self):
        self.node.forget()
        self._advance(3600)
        try:
            output = self.cloud.oci("list", "--compartment-id", COMPARTMENT)
            if output.status != 1 or "NotAuthenticated" not in output.text:
                raise Failed(str(output))
            output = self.node.tool(
                *("signature", "list", Target(self.web).name, "--from", "oracle"),
                *("--compartment-id", COMPARTMENT, *self.profile()),
                status=3,
            )
            if "set this machine's clock" not in output.text:
                raise Failed(str(output))
            word = self.node.blocks(self.node.skopeo, Target(self.web), "source-unreachable")
        finally:
            self._right_time()
        self.node.forget()
        self.node.pulls(self.node.skopeo, self.images[self.web], Target(self.web))
        return word

    def old_token(self):
        self.node.restart(auth="OLD-TOKEN")
        word = self.node.blocks(self.node.skopeo, Target(self.web), "source-unreachable")
        self.node.restart()
        self.node.pulls(self.node.skopeo, self.images[self.web], Target(self.web))
        return word

    def session(self):
        """The service ends it before the time that it names; the files are read again when there is another."""
        self.cloud.control("POST", "token-life", {"seconds": 100})
        self.tokens.append(self.cloud.session())
        self.session_keys.append((self.cloud.directory / "session.pem").read_text())
        try:
            self.node.restart(auth="SESSION")
            self.node.pulls(self.node.skopeo, self.images[self.web], Target(self.web))
            self._advance(120)
            self.node.forget()
            word = self.node.blocks(self.node.skopeo, Target(self.web), "source-unreachable")
            self.cloud.control("POST", "token-life", {"seconds": 1000})
            self.tokens.append(self.cloud.session())
            self.session_keys.append((self.cloud.directory / "session.pem").read_text())
            self.node.forget()
            self.node.pulls(self.node.skopeo, self.images[self.web], Target(self.web))
        finally:
            self._right_time()
            self.node.restart()
        return f"{word}, and pulled with the next"

    def instance(self):
        """The gate asks the metadata service at Oracle's own address; when its token ends it asks for another."""
        self.cloud.control("POST", "token-life", {"seconds": 100})
        self.cloud.control("DELETE", "requests")
        try:
            self.node.restart(auth="instance-principal")
            self.node.pulls(self.node.skopeo, self.images[self.web], Target(self.web))
            self._advance(120)
            self.node.forget()
            self.node.pulls(self.node.skopeo, self.images[self.web], Target(self.web))
        finally:
            self._right_time()
            self.node.restart()
        requests = self.cloud.control("GET", "requests")
        for request in requests:
            found = re.search(r'keyId="ST\$([^"]+)"', dict(request["headers"]).get("authorization", ""))
            if found and found[1] not in self.tokens:
                self.tokens.append(found[1])
        federated = [one for one in requests if one["operation"] == "Federate" and one["status"] == 200]
        if len(federated) < 2:
            raise Failed(f"it did not ask for another token: {[one['operation'] for one in requests]}")
        return "pulled, and again with another token"

    def _advance(self, seconds):
        self.cloud.control("POST", "clock", {"advance": seconds})

    def _right_time(self):
        self.cloud.control("POST", "clock", {"now": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})

    def secrets(self):
        """In no log, error or output of ours, nor in what the daemon keeps, whoever asked and whatever was wrong."""
        self._provoke()
        texts = {path.name: path.read_text(errors="replace") for path in self._files()}
        texts.update((f"output {number}", text) for number, text in enumerate(self.node.outputs))
        with urllib.request.urlopen(f"http://127.0.0.1:{oracle.METRICS}/metrics", timeout=20) as answer:
            texts["metrics"] = answer.read().decode()
        everything = "\n".join(texts.values())
        for word in (f"{oracle.HOST}/", "pullgate_oracle_requests_total", "source-unreachable", '"DEBUG"', '"TRACE"'):
            if word not in everything:
                raise Failed(f"nothing says {word}: the case shows little")
        secrets = self._secrets()
        kept = "\n".join(path.read_text(errors="replace") for path in self.cloud.directory.glob("*") if path.is_file())
        for what, secret in secrets:
            # Those of the instance were in memory alone, and the first session's were overwritten.
            if not what.startswith(("instance", "first session")) and secret not in kept:
                raise Failed(f"the {what} is not what the files hold: the case shows nothing")
            for name, text in texts.items():
                form = next((form for form in forms(secret) if form in text), None)
                if form:
                    at = text.index(form)
                    raise Failed(f"the {what} stands in {name}: …{text[max(0, at - 300) : at + 300]}…")
        return f"{len(secrets)} secrets, {len(texts)} texts, {len(everything) >> 10} KiB"

    def _provoke(self):
        """Errors about each secret, and the daemon at its most talkative."""
        image = Target(self.web).name
        self.node.stop()
        for profile in ("WRONG-PASS-PHRASE", "BROKEN-KEY", "BROKEN-TOKEN", "OLD-TOKEN"):
            output = self.node.tool(
                *("signature", "list", image, "--from", "oracle", "--compartment-id", COMPARTMENT),
                *self.profile(profile),
                status=None,
            )
            if output.status not in (2, 3) or "error: " not in output.text:
                raise Failed(str(output))
            self.node.configure(auth=profile)
            for verb in ("check", "show"):
                self.node.tool("config", verb, status=None)
            # That a token has ended does not keep the daemon from its work.
            if profile != "OLD-TOKEN":
                self.node.must_not_start()
        self.node.configure()
        self.node.start()
        self.node.level = "trace"
        for auth in ("DEFAULT", "SESSION", "instance-principal"):
            self.node.restart(auth=auth)
            self.node.skopeo.pull(Target(self.web))
            for verb in (("config", "show"), ("status",), ("decisions",), ("check", image)):
                self.node.tool(*verb, status=None)

    def _files(self):
        """Our logs, and what the daemon keeps."""
        yield from self.node.box.work.joinpath("log").glob("pullgated-oracle*")
        yield from (path for path in self.node.state.rglob("*") if path.is_file())

    def _secrets(self):
        """What each is, and a text that must not be found: of a key, each line."""
        request = urllib.request.Request(f"http://{oracle.METADATA}/opc/v2/identity/key.pem")
        request.add_header("Authorization", "Bearer Oracle")
        with urllib.request.urlopen(request, timeout=20) as answer:
            instance = answer.read().decode()
        keys = [("API key", (self.cloud.directory / f"{name}.pem").read_text()) for name in ("api", "locked", "other")]
        names = [f"{which} session's key" for which in ("first", "second")]
        keys += [*zip(names, self.session_keys, strict=True), ("instance's key", instance)]
        found = [("pass phrase", oracle.PASS_PHRASE), ("pass phrase", oracle.WRONG_PASS_PHRASE)]
        for what, pem in keys:
            found += [(what, line) for line in pem.splitlines() if re.fullmatch(r"[\w+/=]{16,}", line, re.ASCII)]
        found += [("token", oracle.OLD_TOKEN), *(("token", part) for part in oracle.BROKEN_TOKEN.split())]
        for which, token in zip(["first session's", "second session's", *["instance's"] * 9], self.tokens):
            # Its head is the same for all, and no secret.
            found += [(f"{which} token", part) for part in token.split(".")[1:]]
        return found


def forms(secret):
    """How a secret might be written: as it is, in base64, hex, and as Rust's Debug has bytes."""
    some = secret.encode()
    return [secret, base64.b64encode(some).decode(), some.hex(), ", ".join(map(str, some[:12]))]
