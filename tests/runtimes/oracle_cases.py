"""What is pulled, verified and blocked of what `oci` and the gate's tool sign, while all is well."""

import base64
import json
import os
import shutil
import time

import clients
import gate
import images
import oracle
import oracle_faults
from oracle import COMPARTMENT, HOST, NAMESPACE, Failed, Target, data, must

ALGORITHM = "SHA_256_RSA_PKCS_PSS"
ALGORITHMS = ("SHA_224_RSA_PKCS_PSS", "SHA_384_RSA_PKCS_PSS", "SHA_512_RSA_PKCS_PSS")
# Python and Rust write other JSON for each of these unless they take care.
DESCRIPTION = 'by <oci> & "co", größer, 🐳'
METADATA = '{"ä": "</b>",  "n": 1}'

WEB, PLAIN, OTHER, OURS, MOVED, TWIN, SPOILED, GONE, INDEX = (
    f"project01/{name}" for name in ("web", "plain", "other", "ours", "moved", "twin", "spoiled", "gone", "multi")
)
OF_ALGORITHM = {algorithm: f"project01/{algorithm[:7].lower().replace('_', '')}" for algorithm in ALGORITHMS}


def make_images():
    """The image of each repository. Those of `WEB` and `TWIN` are the same."""
    names = [WEB, PLAIN, OTHER, OURS, MOVED, SPOILED, GONE, *OF_ALGORITHM.values()]
    built = {name: images.single(f"{NAMESPACE}/{name}") for name in names}
    built[TWIN] = built[WEB]
    built[INDEX] = images.multi(f"{NAMESPACE}/{INDEX}")
    return built


class Tests(oracle_faults.Faults):
    """The cases in their order: each stands on those before it."""

    def __init__(self, cloud, node, built):
        self.cloud = cloud
        self.node = node
        self.images = built
        self.record = None
        # What the cases of `oracle_faults` pull.
        self.web, self.plain, self.ours = WEB, PLAIN, OURS
        self.tokens, self.session_keys = [], []

    def cases(self):
        """Title and body of each."""
        return [
            ("pullgate key import brings the vault's key", self.key_import),
            ("nobody else's request is answered: oci, pullgate", self.stranger),
            ("oci sign-upload signs", self.sign_upload),
            ("oci signed: skopeo, ctr, by tag and by digest", self.pull_signed),
            ("the node lists signatures and asks nothing else", self.node_asks),
            ("unsigned: skopeo, ctr", lambda: self.blocked(PLAIN, "unsigned")),
            ("oci signed with a key of the vault that no rule names", self.other_key),
            ("oci signed with each of the other algorithms", self.algorithms),
            ("oci signed an index", self.index),
            ("pullgate sign uploads, oci get-verify says true, and it pulls", self.get_verify),
            ("oci list and pullgate signature list show the same, over pages", self.lists),
            ("oci get and update", self.update),
            ("a record moved under another image: oci says valid, the gate blocks", self.moved),
            ("a record moved to another repository of the same image: likewise", self.moved_to_twin),
            ("bits of a signature flipped: oci says false, the gate blocks", self.spoiled),
            ("the list that oci prints is imported, and an air-gapped node pulls", self.imported),
            ("the list as the API answers it, likewise", self.imported_raw),
            ("oci delete: trust ends", self.delete),
            ("the node looks the compartment up", self.looked_up),
            ("control: a pull past the gate shows in the registry's log", self.past_the_gate),
            *self.fault_cases(),
        ]

    def pulled(self, repository, *more):
        """With both clients, by tag and by what else is named."""
        for reference in ("v1", *more):
            for client in (self.node.skopeo, self.node.ctr):
                self.node.pulls(client, self.images[repository], Target(repository, reference))
        return "pulled"

    def blocked(self, repository, *reasons):
        """With both clients."""
        words = [self.node.blocks(each, Target(repository), *reasons) for each in (self.node.skopeo, self.node.ctr)]
        return words[-1]

    def profile(self, name="DEFAULT"):
        """For the tool: as whom it asks."""
        return "--config-file", str(self.cloud.configuration), "--profile", name

    def key_import(self):
        key, _ = self.cloud.key()
        output = self.node.tool(
            *("key", "import", "--kms-key-id", key, "--name", "release", "--output", self.node.keys),
            *self.profile(),
            file=False,
        )
        if "sha256:" not in output.text:
            raise Failed(str(output))
        for path in self.node.keys.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        self.node.configure()
        self.node.tool("config", "check")
        self.node.start()
        return "its table loads"

    def stranger(self):
        """The stand-in looks at signatures of requests: the other cases say something."""
        for profile in ("IMPOSTOR", "STRANGER"):
            output = self.cloud.oci("list", "--compartment-id", COMPARTMENT, profile=profile)
            if output.status != 1 or "NotAuthenticated" not in output.text:
                raise Failed(str(output))
        output = self.node.tool(
            *("signature", "list", Target(WEB).name, "--from", "oracle", "--compartment-id", COMPARTMENT),
            *self.profile("STRANGER"),
            status=3,
        )
        if "refused the signature or the signer" not in output.text:
            raise Failed(str(output))
        flaws = {request["flaw"] for request in self.cloud.control("GET", "requests") if request["status"] == 401}
        clients.expect("what was wrong with them", flaws, {"Signature", "UnknownKey"})
        return "401"

    def sign(self, repository, number=0, algorithm=ALGORITHM):
        """`oci … sign-upload`."""
        key, version = self.cloud.key(number)
        output = must(
            self.cloud.oci(
                *("sign-upload", "--compartment-id", COMPARTMENT, "--kms-key-id", key),
                *("--kms-key-version-id", version, "--signing-algorithm", algorithm),
                *("--image-id", self.cloud.image_id(repository), "--description", DESCRIPTION, "--metadata", METADATA),
            )
        )
        newest = self.cloud.records(repository)[-1]["id"]
        if newest not in output.text:
            raise Failed(f"it does not name the record {newest}\n{output}")
        return newest

    def sign_upload(self):
        self.record = self.sign(WEB)
        return self.record

    def pull_signed(self):
        return self.pulled(WEB, self.images[WEB].digest)

    def node_asks(self):
        self.node.forget()
        self.cloud.control("DELETE", "requests")
        self.node.pulls(self.node.skopeo, self.images[WEB], Target(WEB))
        requests = self.cloud.control("GET", "requests")
        clients.expect("requests", {request["operation"] for request in requests}, {"ListContainerImageSignatures"})
        clients.expect("what was wrong with them", {request["flaw"] for request in requests}, {None})
        return f"{len(requests)} request{'s' if len(requests) > 1 else ''}"

    def other_key(self):
        self.sign(OTHER, 1)
        return self.blocked(OTHER, "untrusted-key")

    def algorithms(self):
        for algorithm, repository in OF_ALGORITHM.items():
            self.sign(repository, algorithm=algorithm)
            self.node.pulls(self.node.skopeo, self.images[repository], Target(repository))
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
        self.oci_says(OURS, True)
        # The same words make the same bytes, whoever writes them.
        messages = []
        for name in (WEB, OURS):
            message = json.loads(base64.b64decode(self.cloud.records(name)[-1]["message"], validate=True))
            messages.append({field: message[field] for field in ("description", "metadata", "region")})
        clients.expect("what the messages say", messages[1], messages[0])
        return "true, and " + self.pulled(OURS)

    def oci_says(self, repository, valid):
        """What `oci … get-verify` says; raises when it is another thing."""
        answer = data(
            self.cloud.oci(
                *("get-verify", "--compartment-id", COMPARTMENT, "--repo-name", repository),
                *("--image-digest", self.images[repository].digest, "--trusted-keys", self.cloud.key()[0]),
            )
        )
        clients.expect("oci … get-verify", answer["is-signature-valid"], valid)

    def we_say(self, repository, status, *words):
        """What `pullgate signature verify` says with the same options."""
        output = self.node.tool(
            *("signature", "verify", "--compartment-id", COMPARTMENT, "--repo-name", repository),
            *("--image-digest", self.images[repository].digest, "--trusted-keys", self.cloud.key()[0]),
            *("--keys", self.node.keys, *self.profile()),
            status=status,
        )
        if not clients.codes_in(output.text, words):
            raise Failed(str(output))

    def lists(self):
        wanted = sorted(record["id"] for record in self.cloud.records())
        listed = data(self.cloud.oci("list", "--compartment-id", COMPARTMENT, "--all"))["items"]
        clients.expect("what oci lists", sorted(item["id"] for item in listed), wanted)
        if len(wanted) < 5:
            raise Failed("there are not three pages of two")
        # The exit status says whether there is one.
        for repository, status in ((WEB, 0), (PLAIN, 1)):
            ours = self.node.tool(
                *("signature", "list", Target(repository).name, "--from", "oracle"),
                *("--compartment-id", COMPARTMENT, "--json", *self.profile()),
                status=status,
            )
            named = [one for one in wanted if one in ours.text]
            clients.expect("what pullgate lists", named, [one["id"] for one in self.cloud.records(repository)])
        return f"{len(wanted)} records, two a page"

    def update(self):
        must(
            self.cloud.oci(
                *("update", "--image-signature-id", self.record, "--freeform-tags", '{"team":"web"}', "--force")
            )
        )
        got = data(self.cloud.oci("get", "--image-signature-id", self.record))
        clients.expect("tags", got["freeform-tags"], {"team": "web"})
        clients.expect("message", got["message"], self.cloud.records(WEB)[-1]["message"])
        self.node.forget()
        return self.pulled(WEB)

    def create(self, repository, record, signature=None):
        """`oci … create` with the message, and the signature, of another record."""
        must(
            self.cloud.oci(
                *("create", "--compartment-id", COMPARTMENT, "--image-id", self.cloud.image_id(repository)),
                *("--kms-key-id", record["kmsKeyId"], "--kms-key-version-id", record["kmsKeyVersionId"]),
                *("--message", record["message"], "--signature", signature or record["signature"]),
                *("--signing-algorithm", record["signingAlgorithm"]),
            )
        )

    def moved(self, repository=MOVED, reason="digest-mismatch"):
        self.create(repository, self.cloud.records(WEB)[-1])
        self.oci_says(repository, True)
        self.we_say(repository, 1, reason)
        return "true, and " + self.blocked(repository, reason)

    def moved_to_twin(self):
        return self.moved(TWIN, "repository-mismatch")

    def spoiled(self):
        self.sign(SPOILED)
        record = self.cloud.records(SPOILED)[-1]
        self.node.pulls(self.node.skopeo, self.images[SPOILED], Target(SPOILED))
        must(self.cloud.oci("delete", "--image-signature-id", record["id"], "--force"))
        signature = bytearray(base64.b64decode(record["signature"], validate=True))
        signature[len(signature) // 2] ^= 0x55
        self.create(SPOILED, record, base64.b64encode(signature).decode())
        self.node.forget()
        self.oci_says(SPOILED, False)
        self.we_say(SPOILED, 1, "bad-signature")
        word = self.blocked(SPOILED, "bad-signature")
        self.cloud.control("DELETE", f"signatures/{self.cloud.records(SPOILED)[-1]['id']}")
        return f"false, and {word}"

    def imported(self):
        listed = must(self.cloud.oci("list", "--compartment-id", COMPARTMENT, "--all"))
        text = listed.text[listed.text.index("{") :]
        if '"kms-key-version-id"' not in text:
            raise Failed(f"these are not oci's names\n{text}")
        return self._import(text)

    def imported_raw(self):
        text = json.dumps(self.cloud.raw_list(WEB))
        if '"kmsKeyVersionId"' not in text:
            raise Failed(f"these are not the API's names\n{text}")
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
        self.node.forget()
        self.pulled(WEB)
        for repository, reason in ((PLAIN, "unsigned"), (MOVED, "unsigned")):
            self.blocked(repository, reason)
        clients.expect("requests to Oracle", self.cloud.control("GET", "requests"), [])
        self.node.restart()
        return "pulled; unsigned before, and others after"

    def delete(self):
        self.sign(GONE)
        self.pulled(GONE)
        for record in self.cloud.records(GONE):
            must(self.cloud.oci("delete", "--image-signature-id", record["id"], "--force"))
        time.sleep(oracle.POSITIVE + 0.5)
        word = self.blocked(GONE, "unsigned")
        newest = self.sign(GONE)
        self.pulled(GONE)
        must(self.cloud.oci("delete", "--image-signature-id", newest, "--force"))
        self.node.forget()
        self.blocked(GONE, "unsigned")
        return f"{word}; at once after cache clear"

    def looked_up(self):
        self.node.restart(compartment=None)
        self.pulled(WEB)
        word = self.blocked(PLAIN, "unsigned")
        self.node.restart()
        return f"pulled; another {word}"

    def past_the_gate(self):
        """The other cases would have seen it."""
        self.node.origin.mark()
        must(self.node.skopeo.pull_directly(Target(PLAIN)))
        seen = clients.strangers(self.node.origin.mark())
        if not seen or not all(request["agent"].startswith(self.node.skopeo.agent) for request in seen):
            raise Failed(f"the access log does not name {self.node.skopeo.agent}: {seen}")
        return f"seen at {HOST}"


def planned():
    """How many cases there are."""
    return len(Tests(None, None, None).cases())


def run_all(the_box, the_origin, the_gate, containerd, binaries, programs, report):
    """Every case."""
    built = make_images()
    for name, image in built.items():
        the_origin.uploader.push(f"{NAMESPACE}/{name}", "v1", image)
    clients.install_containers_files(HOST)
    cloud = oracle.Cloud(the_box, binaries, programs)
    cloud.start(built)
    node = oracle.Node(cloud, the_gate, the_origin, containerd)
    for title, body in Tests(cloud, node, built).cases():
        report.case("oci", title, body)
    if node.daemon is not None:
        node.stop()
