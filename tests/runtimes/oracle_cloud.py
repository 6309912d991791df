"""A stand-in of Oracle's services (tests/oracle_cloud), and Oracle's own client, `oci`, which asks it.

The stand-in listens on its own addresses under the real host names, over TLS, and at the address of the metadata
service. The registry is the docker-registry of the other parts, under the name `phx.ocir.io`; skopeo and containerd
pull from it by that name, through the gate, with the files of packaging/runtimes.
"""

import hashlib
import json
import os
import urllib.request

import box
import gate
import origin
from report import require_success

HOST = origin.OCIR
ADDRESS = "127.0.0.2"
# The address of Oracle's metadata service on every instance.
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
# Not a token, but what a user may paste by mistake.
BROKEN_TOKEN = "eyJhbGciOiJSUzI1NiJ9 eyJzdWIiOiJzb21lYm9keSBlbHNlIn0"

# `[limits] pull` and `[cache] positive` of the node, in seconds. The first leaves time for all eight attempts; the
# second keeps the waits short.
PULL = 12
POSITIVE = 2

# A program that asks the token service as an instance does, with Oracle's SDK, and writes the token and its key.
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


def data(output):
    """Returns the data that `oci` printed, without the warnings before it."""
    text = require_success(output).text
    return json.loads(text[text.index("{") :])["data"]


class Cloud:
    """The stand-in, its state, and the configuration of `oci` for it."""

    def __init__(self, the_box, program, programs):
        self.box = the_box
        self.program = program
        self.programs = programs / "oci-cli" / "bin"
        self.directory = the_box.directory("oracle")
        self.directory.chmod(0o755)
        self.authority = self.directory / "ca.pem"
        self.configuration = self.directory / "config"
        self.world = None
        # The profiles of `configuration`: the public half of the key, and the lines that differ between them.
        self.profiles = {}

    def start(self, repositories):
        """Starts the stand-in with one user, two keys, and these images."""
        key, public = self._key_pair("api")
        other, other_public = self._key_pair("other")
        locked = self.directory / "locked.pem"
        self.box.must(["openssl", "rsa", "-aes128", "-in", key, "-out", locked, "-passout", f"pass:{PASS_PHRASE}"])
        # The first half of a key: an error must not quote the rest of it either.
        broken = self.directory / "broken.pem"
        lines = key.read_text().splitlines(keepends=True)
        broken.write_text("".join(lines[: len(lines) // 2]))
        self._start_program(public, repositories)
        self.directory.joinpath("old-token").write_text(OLD_TOKEN)
        self.directory.joinpath("broken-token").write_text(BROKEN_TOKEN)
        self.profiles = {
            "DEFAULT": (public, f"key_file={locked}\npass_phrase={PASS_PHRASE}\n"),
            # Another key under the user's fingerprint, and a key that belongs to no user.
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
        """Returns the OCIDs of a key and its version."""
        key = self.world["keys"][number]
        return key["id"], key["versions"][0]["id"]

    def image_id(self, repository):
        """Returns the OCID of an image."""
        return next(image["id"] for image in self.world["images"] if image["repository"] == repository)

    def records(self, repository=None):
        """Returns the stored records, oldest first: all of them, or those of one image."""
        stored = self.control("GET", "signatures")
        return [record for record in stored if repository is None or record["imageId"] == self.image_id(repository)]

    def oci(self, verb, *arguments, profile="DEFAULT"):
        """Runs `oci artifacts container image-signature`."""
        return self._oci(profile, "artifacts", "container", "image-signature", verb, *arguments)

    def raw_list(self, repository):
        """Returns the list in the API's own form, which `oci raw-request` does not change."""
        address = "https://artifacts.us-phoenix-1.oci.oraclecloud.com/20160918/container/imageSignatures"
        query = f"compartmentId={COMPARTMENT}&imageId={self.image_id(repository)}"
        return data(self._oci("DEFAULT", "raw-request", "--http-method", "GET", "--target-uri", f"{address}?{query}"))

    def _oci(self, profile, *arguments):
        program = [self.programs / "oci", "--config-file", self.configuration, "--profile", profile]
        return self.box.run([*program, *arguments], seconds=120)

    def session(self):
        """Gets a token and its key from the token service for the profile `SESSION`; returns the token."""
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
        """Sends a request to the stand-in's control address; returns the answer."""
        body = None if message is None else json.dumps(message).encode()
        request = urllib.request.Request(CONTROL + path, data=body, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return json.loads(answer.read())

    def fail(self, fault, times=None, operation="ListContainerImageSignatures"):
        """Makes the next `times` calls of this operation fail with this fault, or all of them."""
        self.control("POST", "faults", {"operation": operation, "fault": fault, "times": times})

    def clear_faults(self):
        """Removes every fault."""
        self.control("DELETE", "faults")
