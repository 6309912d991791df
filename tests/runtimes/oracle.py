"""Oracle's own client against a stand-in of its services, and the gate between: what `oci` signs pulls, what the gate's tool
signs `oci` verifies, and what `oci` takes for valid and is not, is blocked.

The stand-in (tests/oracle_cloud) listens on an address of its own under the real host names, over TLS; the registry is the
same docker-registry as everywhere here, under the name `phx.ocir.io`.
"""

import hashlib
import json
import os
import re
import time
import urllib.request

import box
import clients
import gate
import images
import origin

HOST = origin.OCIR
ADDRESS = "127.0.0.2"
CONTROL = f"http://{ADDRESS}:8081/control/"
NAMESPACE = "ansh81vru1zp"
COMPARTMENT = "ocid1.compartment.oc1..aaaaaaaapullgatetests"
TENANCY = "ocid1.tenancy.oc1..aaaaaaaapullgatetests"
ALGORITHM = "SHA_256_RSA_PKCS_PSS"
PASS_PHRASE = "correct horse battery staple"
# A JWT whose `exp` is in 1970.
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjEsInN1YiI6Im9jaWQxLnVzZXIub2MxLi5hIn0.c2lnbmF0dXJl"
# Of the port of the registry door of this part.
PORT = 5543


class Cloud:
    """The stand-in, its world, and `oci` as it is told of both."""

    def __init__(self, the_box, binaries, programs):
        self.box = the_box
        self.program = binaries / "oracle-cloud"
        self.oci_program = programs / "oci-cli" / "bin" / "oci"
        self.directory = the_box.directory("oracle")
        self.directory.chmod(0o755)
        self.authority = self.directory / "ca.pem"
        self.configuration = self.directory / "config"
        self.outputs = []
        self.world = None

    def start(self, repositories):
        """Starts it with one user, two keys, and these images."""
        key, public = self.directory / "api.pem", self.directory / "api.pub"
        self.box.must(["openssl", "genrsa", "-out", key, "2048"])
        self.box.must(["openssl", "pkey", "-in", key, "-pubout", "-out", public])
        self.box.must(["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER", "-out", public.with_suffix(".der")])
        locked = self.directory / "locked.pem"
        self.box.must(
            ["openssl", "rsa", "-aes128", "-in", key, "-out", locked, "-passout", f"pass:{PASS_PHRASE}"]
        )
        state, world = self.directory / "state.json", self.directory / "world.json"
        state.write_text(
            json.dumps(
                {
                    "tenancy": {"id": TENANCY, "namespace": NAMESPACE},
                    "compartments": [{"id": COMPARTMENT}],
                    "users": [{"publicKeys": [public.read_text()]}],
                    "keys": [{"kind": "RSA"}, {"kind": "RSA"}],
                    "images": [
                        {"repository": name, "digest": image.digest, "version": "v1", "compartment": COMPARTMENT}
                        for name, image in repositories.items()
                    ],
                }
            )
        )
        daemon = self.box.spawn(
            "oracle-cloud",
            [
                *(self.program, "--state", state, "--world", world, "--tls", "--ca", self.authority),
                *("--listen", f"{ADDRESS}:443", "--metadata", f"{ADDRESS}:8080", "--control", f"{ADDRESS}:8081"),
                *("--page", "2"),
            ],
        )
        out = daemon.log.with_suffix(".out")
        self.box.await_ready(daemon, "line", lambda: out.read_text().endswith("\n"))
        hosts = json.loads(out.read_text())["hosts"]
        with open("/run/hosts", "a", encoding="ascii") as file:
            file.write(f"{ADDRESS} {' '.join(hosts)}\n")
        self.world = json.loads(world.read_text())
        digest = hashlib.md5(public.with_suffix(".der").read_bytes()).hexdigest()
        fingerprint = ":".join(digest[place : place + 2] for place in range(0, 32, 2))
        common = f"user={self.world['users'][0]['id']}\ntenancy={TENANCY}\nfingerprint={fingerprint}\n"
        common += "region=us-phoenix-1\n"
        (self.directory / "token").write_text(TOKEN)
        self.configuration.write_text(
            f"[DEFAULT]\n{common}key_file={locked}\npass_phrase={PASS_PHRASE}\n\n"
            f"[EXPIRED]\n{common}key_file={key}\nsecurity_token_file={self.directory / 'token'}\n"
        )
        for file in (self.configuration, key, locked, self.directory / "token"):
            os.chown(file, gate.USER, gate.USER)
            file.chmod(0o600)
        self.box.environment.update(
            REQUESTS_CA_BUNDLE=str(self.authority),
            OCI_CLI_SUPPRESS_FILE_PERMISSIONS_WARNING="True",
            SUPPRESS_LABEL_WARNING="True",
            PYTHONDONTWRITEBYTECODE="1",
        )

    def key(self, number):
        """The OCIDs of a key and its version."""
        key = self.world["keys"][number]
        return key["id"], key["versions"][0]["id"]

    def image_id(self, repository):
        """The OCID of an image."""
        return next(image["id"] for image in self.world["images"] if image["repository"] == repository)

    def oci(self, verb, *arguments):
        """Runs `oci artifacts container image-signature`."""
        output = self.box.run(
            [
                *(self.oci_program, "--config-file", self.configuration),
                *("artifacts", "container", "image-signature", verb, *arguments),
            ],
            seconds=120,
        )
        self.outputs.append(output.text)
        return output

    def control(self, method, path, message=None):
        """Tells the stand-in what to do."""
        data = None if message is None else json.dumps(message).encode()
        request = urllib.request.Request(CONTROL + path, data=data, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return json.loads(answer.read())

    def fail(self, fault, times=None):
        """From now on lists of signatures fail so."""
        self.control("POST", "faults", {"operation": "ListContainerImageSignatures", "fault": fault, "times": times})

    def mend(self):
        """No more faults."""
        self.control("DELETE", "faults")


class Node:
    """The gate, as it is set up on a node that pulls from Oracle's registry."""

    def __init__(self, cloud, the_gate, authority):
        self.cloud = cloud
        self.box = cloud.box
        self.gate = the_gate
        self.directory = cloud.directory
        self.state = self.box.directory("oracle/state")
        self.keys = self.box.directory("oracle/keys")
        self.run = self.box.directory("oracle/run")
        for folder in (self.state, self.run):
            os.chown(folder, gate.USER, gate.USER)
        self.file = self.directory / "pullgate.toml"
        bundle = self.directory / "authorities.pem"
        bundle.write_text(authority.read_text() + cloud.authority.read_text())
        self.bundle = bundle
        self.daemon = None
        self.outputs = []

    def configure(self, sources=("oracle-api",), profile="DEFAULT"):
        """Writes the configuration. The key's table is the one that `key import` wrote."""
        tables = "".join(path.read_text() for path in self.keys.glob("*.toml"))
        names = re.findall(r'^name *= *"([^"]+)"', tables, re.MULTILINE)
        oracle = ""
        if "oracle-api" in sources:
            oracle = f"""[registry.oracle]
region = "us-phoenix-1"
compartment_id = "{COMPARTMENT}"
auth = {{ config_file = "config", profile = "{profile}" }}
"""
        self.file.write_text(
            f"""include = ["keys/*.toml"]
[daemon]
state = "{self.state}"
control = "{self.run}/control.sock"
[door.registry]
listen = "127.0.0.1:{PORT}"
[limits]
pull = "12s"
[cache]
positive = "2s"
negative = "0s"
[policy]
default = "reject"
[[rule]]
scope = "{HOST}/{NAMESPACE}/**"
require = "signed"
keys = {json.dumps(names)}
[[registry]]
host = "{HOST}"
endpoint = "https://{HOST}"
ca = "{self.bundle}"
signatures = {json.dumps(list(sources))}
{oracle}"""
        )

    def tool(self, *arguments, file=True, status=0):
        """Runs `pullgate`."""
        environment = dict(self.box.environment)
        self.box.environment["SSL_CERT_FILE"] = str(self.bundle)
        try:
            output = self.box.run(
                [self.gate.binaries["pullgate"], *(("--config", self.file) if file else ()), *arguments]
            )
        finally:
            self.box.environment.clear()
            self.box.environment.update(environment)
        self.outputs.append(output.text)
        if status is not None and output.status != status:
            raise Failed(str(output))
        return output

    def start(self):
        """Starts the daemon, as nobody."""
        self.daemon = self.box.spawn(
            "pullgated-oracle",
            [self.gate.binaries["pullgated"], "--config", self.file],
            environment={**self.gate.environment, "PULLGATE_LOG": "debug"},
            user=gate.USER,
        )
        self.box.await_ready(self.daemon, "open port", lambda: box.port_open(PORT))

    def restart(self, **settings):
        """With another configuration, and nothing remembered."""
        self.daemon.stop(40)
        self.configure(**settings)
        self.start()
        self.forget()

    def forget(self):
        """As an administrator does it."""
        self.tool("cache", "clear")

    def skopeo(self, repository):
        """Pulls through the gate."""
        place = self.directory / "copied" / repository.replace("/", "_")
        place.mkdir(parents=True, exist_ok=True)
        name = f"docker://127.0.0.1:{PORT}/{HOST}/{NAMESPACE}/{repository}:v1"
        output = self.box.run(
            ["skopeo", "--insecure-policy", "copy", "--retry-times=0", "--src-tls-verify=false", name, f"dir:{place}"]
        )
        self.outputs.append(output.text)
        return output


class Failed(Exception):
    """A case did not come out as it must."""


def must(output):
    """Raises unless the program said yes."""
    if output.status != 0:
        raise Failed(str(output))
    return output


def blocked(output, *words):
    """Raises unless it was blocked with one of these reasons."""
    if output.status == 0:
        raise Failed(f"it was pulled\n{output}")
    if not any(word in output.text for word in words):
        raise Failed(f"the output does not say {' or '.join(words)}\n{output}")
    return f"blocked, {words[0]}"


def data(output):
    """What `oci` printed, without what it says before it."""
    text = must(output).text
    return json.loads(text[text.index("{") :])["data"]


REPOSITORIES = ("project01/web", "project01/plain", "project01/other", "project01/ours", "project01/moved", "project01/gone")


class Tests:
    """The cases in their order: each stands on those before it."""

    def __init__(self, cloud, node, containerd, built):
        self.cloud = cloud
        self.node = node
        self.containerd = containerd
        self.images = built
        self.record = None

    def cases(self):
        """Title and body of each."""
        return [
            ("pullgate key import brings the vault's key", self.key_import),
            ("oci sign-upload signs", self.sign_upload),
            ("skopeo: what oci signed", lambda: self.pulls("project01/web")),
            ("ctr: what oci signed", self.ctr),
            ("skopeo: unsigned", lambda: blocked(self.node.skopeo("project01/plain"), "unsigned")),
            ("ctr: unsigned", self.ctr_unsigned),
            ("skopeo: signed by oci with a key of the vault that no rule names", self.other_key),
            ("pullgate sign uploads, oci get-verify says true", self.get_verify),
            ("skopeo: what pullgate signed in the vault", lambda: self.pulls("project01/ours")),
            ("oci list and pullgate signature list show the same, over pages", self.lists),
            ("oci get and update", self.update),
            ("a record moved under another image: oci says valid, the gate blocks", self.moved),
            ("oci list's output imports, and an air-gapped node pulls", self.imported),
            ("oci delete: trust ends", self.delete),
            ("the API fails twice", self.fails_twice),
            ("the API fails for ever", lambda: self.fault({"kind": "status", "status": 500}, "source-unreachable", "deadline-exceeded")),
            ("the API is slow", lambda: self.fault({"kind": "slow", "milliseconds": 60000}, "deadline-exceeded", "source-unreachable")),
            ("the API's answer is cut", lambda: self.fault({"kind": "truncated", "bytes": 200}, "source-unreachable")),
            ("the API names a page that does not exist", lambda: self.fault({"kind": "wrong-page"}, "source-unreachable", "limit-exceeded", whose="project01/plain")),
            ("the API ignores its filters", self.unfiltered),
            ("the clocks differ by an hour", self.skewed),
            ("the session token has ended", self.expired),
            ("nothing secret was written anywhere", self.secrets),
        ]

    def pulls(self, repository):
        """Through the gate, and whole."""
        must(self.node.skopeo(repository))
        place = self.node.directory / "copied" / repository.replace("/", "_") / "manifest.json"
        clients.expect("manifest", images.digest_of(place.read_bytes()), self.images[repository].digest)
        return "pulled"

    def key_import(self):
        key, _ = self.cloud.key(0)
        profile = ("--config-file", str(self.cloud.configuration))
        output = self.node.tool(
            *("key", "import", "--kms-key-id", key, "--name", "release", "--output", self.node.keys, *profile), file=False
        )
        if "sha256:" not in output.text:
            raise Failed(str(output))
        for path in self.node.keys.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        self.node.configure()
        self.node.tool("config", "check")
        self.node.start()
        return "its table loads"

    def sign(self, repository, number=0):
        """`oci … sign-upload`."""
        key, version = self.cloud.key(number)
        output = must(
            self.cloud.oci(
                *("sign-upload", "--compartment-id", COMPARTMENT, "--kms-key-id", key),
                *("--kms-key-version-id", version, "--signing-algorithm", ALGORITHM),
                *("--image-id", self.cloud.image_id(repository), "--description", "by oci", "--metadata", '{"a":"b"}'),
            )
        )
        ids = [record["id"] for record in self.cloud.control("GET", "signatures")]
        if ids[-1] not in output.text:
            raise Failed(f"it does not name the record {ids[-1]}\n{output}")
        return ids[-1]

    def sign_upload(self):
        self.record = self.sign("project01/web")
        return self.record

    def ctr_pull(self, repository):
        """Pulls with Debian's containerd, through the gate by `hosts.toml`."""
        hosts = self.node.directory / "certs.d" / "_default"
        hosts.mkdir(parents=True, exist_ok=True)
        packaged = clients.packaged("containerd/certs.d/_default/hosts.toml")
        (hosts / "hosts.toml").write_text(packaged.replace(f":{gate.PORT}", f":{PORT}"))
        name = f"{HOST}/{NAMESPACE}/{repository}:v1"
        output = self.containerd.ctr(
            "oracle", "images", "pull", "--snapshotter=native", f"--hosts-dir={hosts.parent}", name
        )
        self.node.outputs.append(output.text)
        return output

    def ctr(self):
        must(self.ctr_pull("project01/web"))
        return "pulled"

    def ctr_unsigned(self):
        return blocked(self.ctr_pull("project01/plain"), "unsigned")

    def other_key(self):
        self.sign("project01/other", 1)
        return blocked(self.node.skopeo("project01/other"), "untrusted-key")

    def get_verify(self):
        key, version = self.cloud.key(0)
        name = f"{HOST}/{NAMESPACE}/project01/ours:v1"
        self.node.tool(
            *("sign", name, "--kms-key-id", key, "--kms-key-version-id", version, "--signing-algorithm", ALGORITHM),
            *("--description", "by pullgate", "--upload", "oracle"),
            *("--compartment-id", COMPARTMENT, "--config-file", str(self.cloud.configuration)),
        )
        if not self.valid("project01/ours"):
            raise Failed("oci get-verify says false")
        return "true"

    def valid(self, repository):
        """What `oci … get-verify` says."""
        answer = data(
            self.cloud.oci(
                *("get-verify", "--compartment-id", COMPARTMENT, "--repo-name", repository),
                *("--image-digest", self.images[repository].digest, "--trusted-keys", self.cloud.key(0)[0]),
            )
        )
        return answer["is-signature-valid"]

    def lists(self):
        listed = data(self.cloud.oci("list", "--compartment-id", COMPARTMENT, "--all"))["items"]
        wanted = sorted(record["id"] for record in self.cloud.control("GET", "signatures"))
        clients.expect("what oci lists", sorted(item["id"] for item in listed), wanted)
        name = f"{HOST}/{NAMESPACE}/project01/web:v1"
        ours = json.loads(
            self.node.tool(
                *("signature", "list", name, "--from", "oracle", "--compartment-id", COMPARTMENT, "--json"),
                *("--config-file", str(self.cloud.configuration)),
            ).text
        )
        if self.record not in json.dumps(ours):
            raise Failed(f"{self.record} is not in {ours}")
        return f"{len(wanted)} records, two a page"

    def update(self):
        must(
            self.cloud.oci(
                *("update", "--image-signature-id", self.record, "--freeform-tags", '{"team":"web"}', "--force")
            )
        )
        got = data(self.cloud.oci("get", "--image-signature-id", self.record))
        clients.expect("tags", got["freeform-tags"], {"team": "web"})
        self.node.forget()
        return self.pulls("project01/web")

    def moved(self):
        """`oci … create` with the message and signature of another image's record."""
        record = next(one for one in self.cloud.control("GET", "signatures") if one["id"] == self.record)
        must(
            self.cloud.oci(
                *("create", "--compartment-id", COMPARTMENT, "--image-id", self.cloud.image_id("project01/moved")),
                *("--kms-key-id", record["kmsKeyId"], "--kms-key-version-id", record["kmsKeyVersionId"]),
                *("--message", record["message"], "--signature", record["signature"]),
                *("--signing-algorithm", record["signingAlgorithm"]),
            )
        )
        if not self.valid("project01/moved"):
            raise Failed("oci get-verify does not say true: the case shows nothing")
        return "true, and " + blocked(self.node.skopeo("project01/moved"), "digest-mismatch", "repository-mismatch")

    def imported(self):
        listed = must(
            self.cloud.oci(
                *("list", "--compartment-id", COMPARTMENT, "--repository-name", "project01/web", "--all"),
            )
        )
        printed = self.node.directory / "list.json"
        printed.write_text(listed.text[listed.text.index("{") :])
        self.node.tool("signature", "import", printed)
        for path in (self.node.state / "signatures").rglob("*"):
            os.chown(path, gate.USER, gate.USER)
        self.node.restart(sources=("directory",))
        self.pulls("project01/web")
        word = blocked(self.node.skopeo("project01/plain"), "unsigned")
        self.node.restart()
        return f"pulled; another {word}"

    def delete(self):
        self.sign("project01/gone")
        self.node.forget()
        self.pulls("project01/gone")
        records = data(
            self.cloud.oci("list", "--compartment-id", COMPARTMENT, "--repository-name", "project01/gone", "--all")
        )["items"]
        for record in records:
            must(self.cloud.oci("delete", "--image-signature-id", record["id"], "--force"))
        # `[cache] positive` of this node is two seconds.
        time.sleep(2.5)
        word = blocked(self.node.skopeo("project01/gone"), "unsigned")
        self.sign("project01/gone")
        self.pulls("project01/gone")
        newest = self.cloud.control("GET", "signatures")[-1]["id"]
        must(self.cloud.oci("delete", "--image-signature-id", newest, "--force"))
        self.node.forget()
        blocked(self.node.skopeo("project01/gone"), "unsigned")
        return f"{word}; at once after cache clear"

    def fault(self, fault, *reasons, whose="project01/web"):
        """While the API behaves so, what is signed is blocked, and not as unsigned; then it pulls again."""
        self.node.forget()
        self.cloud.fail(fault)
        try:
            output = self.node.skopeo(whose)
            word = blocked(output, *reasons)
            if "unsigned" in output.text:
                raise Failed(str(output))
        finally:
            self.cloud.mend()
        self.node.forget()
        self.pulls("project01/web")
        return word

    def fails_twice(self):
        self.node.forget()
        self.cloud.fail({"kind": "status", "status": 500}, 2)
        return self.pulls("project01/web")

    def unfiltered(self):
        self.node.forget()
        self.cloud.fail({"kind": "unfiltered"})
        try:
            self.pulls("project01/web")
            # It is shown every record of the compartment, and none of them is of this image.
            return blocked(self.node.skopeo("project01/plain"), "digest-mismatch", "repository-mismatch", "untrusted-key")
        finally:
            self.cloud.mend()

    def skewed(self):
        self.node.forget()
        self.cloud.control("POST", "clock", {"advance": 3600})
        try:
            output = self.node.skopeo("project01/web")
            if "unsigned" in output.text:
                raise Failed(str(output))
            return blocked(output, "source-unreachable")
        finally:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.cloud.control("POST", "clock", {"now": now})

    def expired(self):
        self.node.restart(profile="EXPIRED")
        output = self.node.skopeo("project01/web")
        word = blocked(output, "source-unreachable")
        self.node.restart()
        self.pulls("project01/web")
        return word

    def secrets(self):
        """In no log, no error and no output of ours, at the level `debug` too."""
        key = (self.node.directory / "api.pem").read_text().splitlines()[1]
        texts = [self.node.daemon.log.read_text(), self.node.daemon.log.with_suffix(".out").read_text()]
        texts += self.node.outputs
        if not any("registry" in text for text in texts):
            raise Failed("nothing was written: the case shows nothing")
        for secret in (key, PASS_PHRASE, TOKEN):
            for text in texts:
                if secret in text:
                    raise Failed(f"a secret stands in: {text[:2000]}")
        return "key, pass phrase, token"


def planned():
    """How many cases there are."""
    return len(Tests(None, None, None, None).cases())


def run_all(the_box, the_origin, the_gate, containerd, binaries, programs, report):
    """Every case."""
    built = {name: images.single(f"{NAMESPACE}/{name}") for name in REPOSITORIES}
    for name, image in built.items():
        the_origin.uploader.push(f"{NAMESPACE}/{name}", "v1", image)
    cloud = Cloud(the_box, binaries, programs)
    cloud.start(built)
    node = Node(cloud, the_gate, the_origin.authority)
    for title, body in Tests(cloud, node, containerd, built).cases():
        report.case("oci", title, body)
    if node.daemon is not None:
        node.daemon.stop(40)
