"""Oracle's client and the gate's tool sign, list and verify; skopeo and ctr pull. Oracle's services are healthy."""

import base64
import json
import os
import shutil
import time

import clients
import gate
import images
import oracle_faults
from oracle_cloud import COMPARTMENT, HOST, NAMESPACE, POSITIVE, Cloud, data
from oracle_node import Node, Target
from report import Failure, codes_in, expect, require_success

ALGORITHM = "SHA_256_RSA_PKCS_PSS"
ALGORITHMS = ("SHA_224_RSA_PKCS_PSS", "SHA_384_RSA_PKCS_PSS", "SHA_512_RSA_PKCS_PSS")
# By default, the JSON writers of Python and Rust escape each of these differently.
DESCRIPTION = 'by <oci> & "co", größer, 🐳'
METADATA = '{"ä": "</b>",  "n": 1}'

WEB, PLAIN, OTHER, OURS, MOVED, TWIN, ALTERED, GONE, INDEX = (
    f"project01/{name}" for name in ("web", "plain", "other", "ours", "moved", "twin", "altered", "gone", "multi")
)
BY_ALGORITHM = {algorithm: f"project01/{algorithm[:7].lower().replace('_', '')}" for algorithm in ALGORITHMS}


def make_images():
    """Returns the image of each repository. `WEB` and `TWIN` have the same image."""
    names = [WEB, PLAIN, OTHER, OURS, MOVED, ALTERED, GONE, *BY_ALGORITHM.values()]
    built = {name: images.single(f"{NAMESPACE}/{name}") for name in names}
    built[TWIN] = built[WEB]
    built[INDEX] = images.multi(f"{NAMESPACE}/{INDEX}")
    return built


class OracleCases(oracle_faults.FaultCases):
    """The cases in their order: each depends on those before it."""

    def __init__(self, cloud, node, built):
        self.cloud = cloud
        self.node = node
        self.images = built
        self.record = None
        # The images of the cases in `oracle_faults`.
        self.web, self.plain, self.ours = WEB, PLAIN, OURS
        self.tokens, self.session_keys = [], []

    def cases(self):
        """Returns the title and the body of each case."""
        return [
            ("pullgate key import imports the vault's key", self.key_import),
            ("the stand-in refuses a request with a wrong key: oci, pullgate", self.wrong_request_key),
            ("oci sign-upload signs", self.sign_upload),
            ("image signed by oci: skopeo, ctr, by tag and by digest", self.pull_signed),
            ("the node lists signatures and sends no other request", self.node_requests),
            ("unsigned image: skopeo, ctr", lambda: self.blocked(PLAIN, "unsigned")),
            ("image signed by oci with a key of the vault that no rule names", self.other_key),
            ("image signed by oci with each of the other algorithms", self.algorithms),
            ("index signed by oci", self.index),
            ("image signed by pullgate: oci get-verify says true, and the gate pulls it", self.get_verify),
            ("oci list and pullgate signature list show the same records, over pages", self.lists),
            ("oci get and update", self.update),
            ("record moved to another image: oci says valid, the gate blocks", self.moved),
            ("record moved to the same image elsewhere: oci says valid, the gate blocks", self.moved_to_twin),
            ("altered signature: oci says false, the gate blocks", self.altered),
            ("an air-gapped node imports the list that oci prints, and pulls", self.imported),
            ("an air-gapped node imports the list in the API's own form, and pulls", self.imported_raw),
            ("oci delete ends the trust in a signature", self.delete),
            ("the node looks up the compartment of the repository", self.looked_up),
            ("control: a pull past the gate shows in the registry's log", self.past_the_gate),
            *self.fault_cases(),
        ]

    def pulled(self, repository, *more):
        """Requires that both clients pull the image, by its tag and by the further references."""
        for reference in ("v1", *more):
            for client in (self.node.skopeo, self.node.ctr):
                self.node.require_pulled(client, self.images[repository], Target(repository, reference))
        return "pulled"

    def blocked(self, repository, *reasons):
        """Requires that the gate blocks the image for both clients, with one of these reasons."""
        for client in (self.node.skopeo, self.node.ctr):
            word = self.node.require_blocked(client, Target(repository), *reasons)
        return word

    def profile(self, name="DEFAULT"):
        """Returns the tool's options for a profile of `oci`."""
        return "--config-file", str(self.cloud.configuration), "--profile", name

    def key_import(self):
        key, _ = self.cloud.key()
        output = self.node.tool(
            *("key", "import", "--kms-key-id", key, "--name", "release", "--output", self.node.keys),
            *self.profile(),
            file=False,
        )
        if "sha256:" not in output.text:
            raise Failure(str(output))
        for path in self.node.keys.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        self.node.configure()
        self.node.tool("config", "check")
        self.node.start()
        return "the imported table loads"

    def wrong_request_key(self):
        """The stand-in verifies the signatures of requests, so the other cases prove that pullgate signs correctly."""
        for profile in ("IMPOSTOR", "STRANGER"):
            output = self.cloud.oci("list", "--compartment-id", COMPARTMENT, profile=profile)
            if output.status != 1 or "NotAuthenticated" not in output.text:
                raise Failure(str(output))
        output = self.node.tool(
            *("signature", "list", Target(WEB).name, "--from", "oracle", "--compartment-id", COMPARTMENT),
            *self.profile("STRANGER"),
            status=3,
        )
        if "NotAuthenticated" not in output.text:
            raise Failure(str(output))
        flaws = {request["flaw"] for request in self.cloud.control("GET", "requests") if request["status"] == 401}
        expect("flaws of the requests", flaws, {"Signature", "UnknownKey"})
        return "401"

    def sign(self, repository, number=0, algorithm=ALGORITHM):
        """Signs an image with `oci … sign-upload`; returns the record's OCID."""
        key, version = self.cloud.key(number)
        output = require_success(
            self.cloud.oci(
                *("sign-upload", "--compartment-id", COMPARTMENT, "--kms-key-id", key),
                *("--kms-key-version-id", version, "--signing-algorithm", algorithm),
                *("--image-id", self.cloud.image_id(repository), "--description", DESCRIPTION, "--metadata", METADATA),
            )
        )
        newest = self.cloud.records(repository)[-1]["id"]
        if newest not in output.text:
            raise Failure(f"the output does not name the record {newest}\n{output}")
        return newest

    def sign_upload(self):
        self.record = self.sign(WEB)
        return self.record

    def pull_signed(self):
        return self.pulled(WEB, self.images[WEB].digest)

    def node_requests(self):
        self.node.clear_cache()
        self.cloud.control("DELETE", "requests")
        self.node.require_pulled(self.node.skopeo, self.images[WEB], Target(WEB))
        requests = self.cloud.control("GET", "requests")
        expect("requests", {request["operation"] for request in requests}, {"ListContainerImageSignatures"})
        expect("flaws of the requests", {request["flaw"] for request in requests}, {None})
        return f"{len(requests)} request{'s' if len(requests) > 1 else ''}"

    def other_key(self):
        self.sign(OTHER, 1)
        return self.blocked(OTHER, "untrusted-key")

    def algorithms(self):
        for algorithm, repository in BY_ALGORITHM.items():
            self.sign(repository, algorithm=algorithm)
            self.node.require_pulled(self.node.skopeo, self.images[repository], Target(repository))
        return "pulled"

    def index(self):
        self.sign(INDEX)
        return self.pulled(INDEX, self.images[INDEX].digest)

    def get_verify(self):
        key, version = self.cloud.key()
        self.node.tool(
            *("sign", Target(OURS).name, "--kms-key-id", key, "--kms-key-version-id", version),
            *("--signing-algorithm", ALGORITHM, "--description", DESCRIPTION, "--metadata", METADATA),
            *("--upload", "oracle", "--compartment-id", COMPARTMENT, *self.profile()),
        )
        self.verify_by_oci(OURS, True)
        # Both programs write the same message for the same description and metadata.
        messages = []
        for name in (WEB, OURS):
            message = json.loads(base64.b64decode(self.cloud.records(name)[-1]["message"], validate=True))
            messages.append({field: message[field] for field in ("description", "metadata", "region")})
        expect("messages", messages[1], messages[0])
        return "true, and " + self.pulled(OURS)

    def verify_by_oci(self, repository, valid):
        """Raises `Failure` unless `oci … get-verify` says this."""
        answer = data(
            self.cloud.oci(
                *("get-verify", "--compartment-id", COMPARTMENT, "--repo-name", repository),
                *("--image-digest", self.images[repository].digest, "--trusted-keys", self.cloud.key()[0]),
            )
        )
        expect("oci … get-verify", answer["is-signature-valid"], valid)

    def verify_by_pullgate(self, repository, status, *reasons):
        """Raises `Failure` unless `pullgate signature verify` says this with the same options."""
        output = self.node.tool(
            *("signature", "verify", "--compartment-id", COMPARTMENT, "--repo-name", repository),
            *("--image-digest", self.images[repository].digest, "--trusted-keys", self.cloud.key()[0]),
            *("--keys", self.node.keys, *self.profile()),
            status=status,
        )
        if not codes_in(output.text, reasons):
            raise Failure(str(output))

    def lists(self):
        wanted = sorted(record["id"] for record in self.cloud.records())
        listed = data(self.cloud.oci("list", "--compartment-id", COMPARTMENT, "--all"))["items"]
        expect("records that oci lists", sorted(item["id"] for item in listed), wanted)
        if len(wanted) < 5:
            raise Failure("fewer than five records do not fill two pages of two")
        # The exit status says whether the image has a signature.
        for repository, status in ((WEB, 0), (PLAIN, 1)):
            ours = self.node.tool(
                *("signature", "list", Target(repository).name, "--from", "oracle"),
                *("--compartment-id", COMPARTMENT, "--json", *self.profile()),
                status=status,
            )
            named = [identifier for identifier in wanted if identifier in ours.text]
            expect("records that pullgate lists", named, [record["id"] for record in self.cloud.records(repository)])
        return f"{len(wanted)} records, two a page"

    def update(self):
        require_success(
            self.cloud.oci(
                *("update", "--image-signature-id", self.record, "--freeform-tags", '{"team":"web"}', "--force")
            )
        )
        got = data(self.cloud.oci("get", "--image-signature-id", self.record))
        expect("tags", got["freeform-tags"], {"team": "web"})
        expect("message", got["message"], self.cloud.records(WEB)[-1]["message"])
        self.node.clear_cache()
        return self.pulled(WEB)

    def create(self, repository, record, signature=None):
        """Runs `oci … create` with the message of another record, and with its signature unless another is given."""
        require_success(
            self.cloud.oci(
                *("create", "--compartment-id", COMPARTMENT, "--image-id", self.cloud.image_id(repository)),
                *("--kms-key-id", record["kmsKeyId"], "--kms-key-version-id", record["kmsKeyVersionId"]),
                *("--message", record["message"], "--signature", signature or record["signature"]),
                *("--signing-algorithm", record["signingAlgorithm"]),
            )
        )

    def moved(self, repository=MOVED, reason="digest-mismatch"):
        self.create(repository, self.cloud.records(WEB)[-1])
        self.verify_by_oci(repository, True)
        self.verify_by_pullgate(repository, 1, reason)
        return "true, and " + self.blocked(repository, reason)

    def moved_to_twin(self):
        return self.moved(TWIN, "repository-mismatch")

    def altered(self):
        self.sign(ALTERED)
        record = self.cloud.records(ALTERED)[-1]
        self.node.require_pulled(self.node.skopeo, self.images[ALTERED], Target(ALTERED))
        require_success(self.cloud.oci("delete", "--image-signature-id", record["id"], "--force"))
        signature = bytearray(base64.b64decode(record["signature"], validate=True))
        signature[len(signature) // 2] ^= 0x55
        self.create(ALTERED, record, base64.b64encode(signature).decode())
        self.node.clear_cache()
        self.verify_by_oci(ALTERED, False)
        self.verify_by_pullgate(ALTERED, 1, "bad-signature")
        word = self.blocked(ALTERED, "bad-signature")
        self.cloud.control("DELETE", f"signatures/{self.cloud.records(ALTERED)[-1]['id']}")
        return f"false, and {word}"

    def imported(self):
        listed = require_success(self.cloud.oci("list", "--compartment-id", COMPARTMENT, "--all"))
        text = listed.text[listed.text.index("{") :]
        if '"kms-key-version-id"' not in text:
            raise Failure(f"the list does not have oci's field names\n{text}")
        return self._import(text)

    def imported_raw(self):
        text = json.dumps(self.cloud.raw_list(WEB))
        if '"kmsKeyVersionId"' not in text:
            raise Failure(f"the list does not have the API's field names\n{text}")
        return self._import(text)

    def _import(self, text):
        printed = self.node.directory / "list.json"
        printed.write_text(text)
        shutil.rmtree(self.node.state / "signatures", ignore_errors=True)
        self.node.restart(sources=["directory"])
        self.blocked(WEB, "unsigned")
        self.node.tool("signature", "import", printed)
        folder = self.node.state / "signatures"
        for path in (folder, *folder.rglob("*")):
            os.chown(path, gate.USER, gate.USER)
        self.cloud.control("DELETE", "requests")
        self.node.clear_cache()
        self.pulled(WEB)
        for repository, reason in ((PLAIN, "unsigned"), (MOVED, "unsigned")):
            self.blocked(repository, reason)
        expect("requests to Oracle", self.cloud.control("GET", "requests"), [])
        self.node.restart()
        return "pulled after the import, unsigned before it"

    def delete(self):
        self.sign(GONE)
        self.pulled(GONE)
        for record in self.cloud.records(GONE):
            require_success(self.cloud.oci("delete", "--image-signature-id", record["id"], "--force"))
        time.sleep(POSITIVE + 0.5)
        word = self.blocked(GONE, "unsigned")
        newest = self.sign(GONE)
        self.pulled(GONE)
        require_success(self.cloud.oci("delete", "--image-signature-id", newest, "--force"))
        self.node.clear_cache()
        self.blocked(GONE, "unsigned")
        return f"{word}; after cache clear, at once"

    def looked_up(self):
        self.node.restart(compartment=None)
        self.pulled(WEB)
        word = self.blocked(PLAIN, "unsigned")
        self.node.restart()
        return f"pulled; another {word}"

    def past_the_gate(self):
        """The registry's log shows a pull past the gate, so the other cases would have seen one."""
        self.node.origin.mark()
        require_success(self.node.skopeo.pull_directly(Target(PLAIN)))
        seen = clients.strangers(self.node.origin.mark())
        if not seen or not all(request["agent"].startswith(self.node.skopeo.agent) for request in seen):
            raise Failure(f"the access log does not name {self.node.skopeo.agent}: {seen}")
        return f"seen at {HOST}"


def planned():
    """Returns the number of cases."""
    return len(OracleCases(None, None, None).cases())


def run_all(the_box, the_origin, the_gate, containerd, options, report):
    """Starts the stand-in and runs every case."""
    built = make_images()
    for name, image in built.items():
        the_origin.uploader.push(f"{NAMESPACE}/{name}", "v1", image)
    clients.install_containers_files(HOST)
    cloud = Cloud(the_box, options.oracle_cloud, options.peers)
    cloud.start(built)
    node = Node(cloud, the_gate, the_origin, containerd)
    for title, body in OracleCases(cloud, node, built).cases():
        report.case("oci", title, body)
    if node.daemon is not None:
        node.stop()
