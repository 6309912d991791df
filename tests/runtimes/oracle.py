"""Oracle's own client against a stand-in of its services, and the gate between: what `oci` signs pulls, what the gate's tool
signs `oci` verifies, and what `oci` takes for valid and is not, is blocked.

The stand-in (tests/oracle_cloud) listens on addresses of its own under the real host names, over TLS, and where instances
look for their metadata service. The registry is the same docker-registry as everywhere here, under the name `phx.ocir.io`;
skopeo and containerd pull from it by that name, through the gate, by the files of packaging/runtimes.
"""

import hashlib
import json
import os
import re
import shutil
import urllib.request

import box
import clients
import gate
import images
import origin

HOST = origin.OCIR
ADDRESS = "127.0.0.2"
# Oracle's metadata service is at this address on every instance.
METADATA = "169.254.169.254"
CONTROL = f"http://{ADDRESS}:8081/control/"
NAMESPACE = "ansh81vru1zp"
COMPARTMENT = "ocid1.compartment.oc1..aaaaaaaapullgatetests"
TENANCY = "ocid1.tenancy.oc1..aaaaaaaapullgatetests"
METRICS = 9464

PASS_PHRASE = "correct horse battery staple"
WRONG_PASS_PHRASE = "wrong horse battery staple"
# A JWT whose `exp` is in 1970.
OLD_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjEsInN1YiI6Im9jaWQxLnVzZXIub2MxLi5hIn0.c2lnbmF0dXJl"
# No token, as somebody might paste one.
BROKEN_TOKEN = "eyJhbGciOiJSUzI1NiJ9 eyJzdWIiOiJzb21lYm9keSBlbHNlIn0"

# `[limits] pull` and `[cache] positive` of the node, in seconds: time for all eight attempts, and little to wait for.
PULL = 12
POSITIVE = 2

# Asks the token service as an instance does, with Oracle's SDK, and writes the token and its key.
SESSION = """
import sys
from cryptography.hazmat.primitives import serialization
from oci.auth.signers import InstancePrincipalsSecurityTokenSigner

signer = InstancePrincipalsSecurityTokenSigner()
with open(sys.argv[1], "w", encoding="ascii") as token:
    token.write(signer.federation_client.get_security_token())
key = signer.session_key_supplier.get_key_pair()["private"]
with open(sys.argv[2], "wb") as file:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    file.write(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
"""


class Failed(Exception):
    """A case did not come out as it must."""


def must(output):
    """Raises unless the program said yes."""
    if output.status != 0:
        raise Failed(str(output))
    return output


def data(output):
    """What `oci` printed, without what it says before it."""
    text = must(output).text
    return json.loads(text[text.index("{") :])["data"]


class Cloud:
    """The stand-in, its world, and `oci` as it is told of both."""

    def __init__(self, the_box, binaries, programs):
        self.box = the_box
        self.program = binaries / "oracle-cloud"
        self.programs = programs / "oci-cli" / "bin"
        self.directory = the_box.directory("oracle")
        self.directory.chmod(0o755)
        self.authority = self.directory / "ca.pem"
        self.configuration = self.directory / "config"
        self.world = None
        # Of `configuration`: the public half of the key, and what the others have not.
        self.profiles = {}

    def start(self, repositories):
        """Starts it with one user, two keys, and these images."""
        key, public = self._key_pair("api")
        other, other_public = self._key_pair("other")
        locked = self.directory / "locked.pem"
        self.box.must(["openssl", "rsa", "-aes128", "-in", key, "-out", locked, "-passout", f"pass:{PASS_PHRASE}"])
        # Half of the lines: what is left of a key must not be quoted either.
        broken = self.directory / "broken.pem"
        lines = key.read_text().splitlines(keepends=True)
        broken.write_text("".join(lines[: len(lines) // 2]))
        self._start_program(public, repositories)
        self.directory.joinpath("old-token").write_text(OLD_TOKEN)
        self.directory.joinpath("broken-token").write_text(BROKEN_TOKEN)
        self.profiles = {
            "DEFAULT": (public, f"key_file={locked}\npass_phrase={PASS_PHRASE}\n"),
            # A user's key under another's name, and one that is nobody's.
            "IMPOSTOR": (public, f"key_file={other}\n"),
            "STRANGER": (other_public, f"key_file={other}\n"),
            "WRONG-PASS-PHRASE": (public, f"key_file={locked}\npass_phrase={WRONG_PASS_PHRASE}\n"),
            "BROKEN-KEY": (public, f"key_file={broken}\n"),
            "OLD-TOKEN": (public, f"key_file={key}\nsecurity_token_file={self.directory}/old-token\n"),
            "BROKEN-TOKEN": (public, f"key_file={key}\nsecurity_token_file={self.directory}/broken-token\n"),
        }
        self._write_configuration()
        for file in [self.configuration, *self.directory.glob("*.pem"), *self.directory.glob("*-token")]:
            if file != self.authority:
                self._hand_over(file)
        self.box.environment.update(
            REQUESTS_CA_BUNDLE=str(self.authority),
            OCI_CLI_SUPPRESS_FILE_PERMISSIONS_WARNING="True",
            SUPPRESS_LABEL_WARNING="True",
            PYTHONDONTWRITEBYTECODE="1",
        )

    def _key_pair(self, name):
        key, public = self.directory / f"{name}.pem", self.directory / f"{name}.pub"
        self.box.must(["openssl", "genrsa", "-out", key, "2048"])
        self.box.must(["openssl", "pkey", "-in", key, "-pubout", "-out", public])
        return key, public

    def _write_configuration(self):
        common = f"user={self.world['users'][0]['id']}\ntenancy={TENANCY}\nregion=us-phoenix-1\n"
        self.configuration.write_text(
            "".join(
                f"[{name}]\n{common}fingerprint={self._fingerprint(public)}\n{text}\n"
                for name, (public, text) in self.profiles.items()
            )
        )

    def _fingerprint(self, public):
        der = public.with_suffix(".der")
        self.box.must(["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER", "-out", der])
        digest = hashlib.md5(der.read_bytes()).hexdigest()
        return ":".join(digest[place : place + 2] for place in range(0, 32, 2))

    @staticmethod
    def _hand_over(file):
        os.chown(file, gate.USER, gate.USER)
        file.chmod(0o600)

    def _start_program(self, public, repositories):
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
        box.add_address(METADATA)
        daemon = self.box.spawn(
            "oracle-cloud",
            [
                *(self.program, "--state", state, "--world", world, "--tls", "--ca", self.authority),
                *("--listen", f"{ADDRESS}:443", "--metadata", f"{METADATA}:80", "--control", f"{ADDRESS}:8081"),
                *("--page", "2"),
            ],
        )
        out = daemon.log.with_suffix(".out")
        self.box.await_ready(daemon, "line", lambda: out.read_text().endswith("\n"))
        hosts = json.loads(out.read_text())["hosts"]
        with open("/run/hosts", "a", encoding="ascii") as file:
            file.write(f"{ADDRESS} {' '.join(hosts)}\n")
        self.world = json.loads(world.read_text())

    def key(self, number=0):
        """The OCIDs of a key and its version."""
        key = self.world["keys"][number]
        return key["id"], key["versions"][0]["id"]

    def image_id(self, repository):
        """The OCID of an image."""
        return next(image["id"] for image in self.world["images"] if image["repository"] == repository)

    def records(self, repository=None):
        """The records that are kept, oldest first; those of an image."""
        every = self.control("GET", "signatures")
        return [one for one in every if repository is None or one["imageId"] == self.image_id(repository)]

    def oci(self, verb, *arguments, profile="DEFAULT"):
        """Runs `oci artifacts container image-signature`."""
        return self._oci(profile, "artifacts", "container", "image-signature", verb, *arguments)

    def raw_list(self, repository):
        """The list as the API answers it: `oci raw-request` changes nothing."""
        address = "https://artifacts.us-phoenix-1.oci.oraclecloud.com/20160918/container/imageSignatures"
        query = f"compartmentId={COMPARTMENT}&imageId={self.image_id(repository)}"
        return data(self._oci("DEFAULT", "raw-request", "--http-method", "GET", "--target-uri", f"{address}?{query}"))

    def _oci(self, profile, *arguments):
        program = [self.programs / "oci", "--config-file", self.configuration, "--profile", profile]
        return self.box.run([*program, *arguments], seconds=120)

    def session(self):
        """A token and its key from the token service, at the profile `SESSION`."""
        token, key = self.directory / "session-token", self.directory / "session.pem"
        self.box.must([self.programs / "python", "-c", SESSION, f"{token}.new", f"{key}.new"], seconds=120)
        for file in (key, token):
            fresh = file.with_name(file.name + ".new")
            self._hand_over(fresh)
            fresh.replace(file)
        public = key.with_suffix(".pub")
        self.box.must(["openssl", "pkey", "-in", key, "-pubout", "-out", public])
        text = f"key_file={key}\nsecurity_token_file={token}\n"
        self.profiles["SESSION"] = (public, text)
        self._write_configuration()
        return token.read_text()

    def control(self, method, path, message=None):
        """Tells the stand-in what to do."""
        body = None if message is None else json.dumps(message).encode()
        request = urllib.request.Request(CONTROL + path, data=body, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return json.loads(answer.read())

    def fail(self, fault, times=None, operation="ListContainerImageSignatures"):
        """From now on this operation fails so."""
        self.control("POST", "faults", {"operation": operation, "fault": fault, "times": times})

    def mend(self):
        """No more faults."""
        self.control("DELETE", "faults")


class Target(clients.Target):
    """An image in the tenancy's namespace."""

    def __init__(self, repository, reference="v1"):
        super().__init__(f"{NAMESPACE}/{repository}", reference)

    @property
    def name(self):
        return self.under(HOST)


class Skopeo(clients.Skopeo):
    """With no image from before."""

    name = "oracle-skopeo"

    def pull(self, target):
        for kind in ("all", "native"):
            shutil.rmtree(self._place(target, kind), ignore_errors=True)
        return super().pull(target)


class Ctr(clients.Ctr):
    """With no image from before, and its content gone too."""

    name = "oracle-ctr"
    namespace = "oracle"

    def pull(self, target):
        self.containerd.ctr(self.namespace, "images", "remove", "--sync", target.name)
        return super().pull(target)


class Node:
    """The gate, as it is set up on a node that pulls from Oracle's registry."""

    def __init__(self, cloud, the_gate, the_origin, containerd):
        self.cloud = cloud
        self.box = cloud.box
        self.gate = the_gate
        self.origin = the_origin
        self.directory = cloud.directory
        self.state = self.box.directory("oracle/state")
        self.keys = self.box.directory("oracle/keys")
        self.run = self.box.directory("oracle/run")
        for folder in (self.state, self.run):
            os.chown(folder, gate.USER, gate.USER)
        self.file = self.directory / "pullgate.toml"
        self.bundle = self.directory / "authorities.crt"
        self.bundle.write_text(the_origin.authority.read_text() + cloud.authority.read_text())
        self.skopeo, self.ctr = Skopeo(self.box), Ctr(self.box, containerd)
        self.daemon = None
        self.level = "debug"
        self.outputs = []

    def configure(self, sources=("oracle-api",), auth="DEFAULT", compartment=COMPARTMENT):
        """Writes the configuration. The key's table is the one that `key import` wrote."""
        tables = "".join(path.read_text() for path in self.keys.glob("*.toml"))
        names = re.findall(r'^name *= *"([^"]+)"', tables, re.MULTILINE)
        oracle = ""
        if "oracle-api" in sources:
            file = f'{{ config_file = "config", profile = "{auth}" }}'
            how = '"instance-principal"' if auth == "instance-principal" else file
            oracle = f'[registry.oracle]\nregion = "us-phoenix-1"\nauth = {how}\n'
            oracle += f'compartment_id = "{compartment}"\n' if compartment else ""
        self.file.write_text(
            f"""include = ["keys/*.toml"]
[daemon]
state = "{self.state}"
control = "{self.run}/control.sock"
metrics = "127.0.0.1:{METRICS}"
[door.registry]
listen = "127.0.0.1:{gate.PORT}"
[limits]
pull = "{PULL}s"
[cache]
positive = "{POSITIVE}s"
negative = "0s"
[policy]
default = "reject"
[[rule]]
scope = "{HOST}/{NAMESPACE}/**"
require = "signed"
formats = ["oracle"]
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
        self.box.environment.update(SSL_CERT_FILE=str(self.bundle), PULLGATE_LOG="trace", RUST_BACKTRACE="1")
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
        environment = {**self.gate.environment, "PULLGATE_LOG": self.level, "RUST_BACKTRACE": "1"}
        program = self.gate.binaries["pullgated"]
        self.daemon = gate.start(self.box, "pullgated-oracle", program, self.file, environment)

    def must_not_start(self):
        """The configuration does not load, and the daemon says so."""
        daemon = self.gate.binaries["pullgated"]
        who = ["setpriv", f"--reuid={gate.USER}", f"--regid={gate.USER}", "--clear-groups"]
        output = self.box.run([*who, daemon, "--config", self.file], seconds=10)
        self.outputs.append(output.text)
        if output.status != 78:
            raise Failed(str(output))

    def stop(self):
        """Ends it as systemd does."""
        status = self.daemon.stop(30)
        if status != 0:
            raise box.SetupError(f"pullgated ended with {status} after SIGTERM:\n{self.daemon.tail()}")

    def restart(self, **settings):
        """With another configuration, and nothing remembered."""
        self.stop()
        self.configure(**settings)
        self.start()
        self.forget()

    def forget(self):
        """As an administrator does it."""
        self.tool("cache", "clear")

    def pulls(self, client, image, target):
        """It comes whole, and only the gate was at the registry."""
        output = self._pull(client, target)
        must(output)
        try:
            client.check_present(target, image)
        except clients.Mismatch as error:
            raise Failed(f"{error}\n{output}") from error
        return "pulled"

    def blocks(self, client, target, *reasons):
        """It does not come, its own output has one of the reasons, and only the gate was at the registry."""
        output = self._pull(client, target)
        if output.status == 0:
            raise Failed(f"it was pulled\n{output}")
        found = clients.codes_in(output.text, reasons)
        if not found:
            raise Failed(f"the output does not say {' or '.join(reasons)}\n{output}")
        if "unsigned" not in reasons and clients.codes_in(output.text, ["unsigned"]):
            raise Failed(f"it is taken for unsigned\n{output}")
        client.check_absent(target)
        return f"blocked, {found[0]}"

    def _pull(self, client, target):
        self.origin.mark()
        output = client.pull(target)
        self.outputs.append(output.text)
        seen = clients.strangers(self.origin.mark())
        if seen:
            raise Failed(f"the client came to the registry itself: {seen}\n{output}")
        return output
