"""The images that the runtimes pull, and the outcome of each pull."""

import images
from clients import Target


class Case:
    """One image that every client pulls, and the outcome that it must have.

    `prepare(world, case)` pushes the image, signs it, and tampers with it. `reasons` are reason codes: a blocked pull
    must show one of them in the client's own output. Without reasons, the pull must succeed.
    """

    def __init__(
        self, title, repository, prepare, reasons=(), build=images.single, family=images.OCI, by_digest=False
    ):
        self.title = title
        self.repository = repository
        self.prepare = prepare
        self.reasons = reasons
        self.image = build(repository, family)
        self.target = Target(repository, self.image.digest if by_digest else "v1")


class World:
    """The registry and the gate, for the preparations."""

    def __init__(self, the_origin, the_gate):
        self.origin = the_origin
        self.gate = the_gate

    def push(self, case):
        """Pushes the image of a case."""
        self.origin.uploader.push(case.repository, "v1", case.image)


def signed_by(key):
    """Returns a preparation that pushes the image and signs it with this key."""

    def prepare(world, case):
        world.push(case)
        world.gate.sign(case.repository, "v1", key)

    return prepare


def unsigned(world, case):
    """Pushes the image and signs nothing."""
    world.push(case)


def altered_signature(world, case):
    """Signs the image with the right key, then flips bits of the signature."""
    signed_by("release")(world, case)
    world.origin.uploader.alter_signatures(case.repository, case.image.digest)


def copied_signature(world, case):
    """Signs the same image in another repository, and copies that signature."""
    source = "shop/lender"
    world.origin.uploader.push(source, "v1", case.image)
    world.gate.sign(source, "v1", "release")
    world.push(case)
    world.origin.uploader.copy_signatures(source, case.repository, case.image.digest)


def altered_manifest(world, case):
    """Signs the image, then puts another image's manifest in its place on the registry's disk."""
    _replace_after_signing(world, case, case.image.digest)


def altered_child(world, case):
    """Signs the index and leaves it as it is, then replaces the manifest below it on the registry's disk."""
    _replace_after_signing(world, case, case.image.native_digest)


def _replace_after_signing(world, case, digest):
    signed_by("release")(world, case)
    other = images.single(case.repository + "-evil")
    for data in other.blobs:
        world.origin.uploader.blob(case.repository, data)
    world.origin.replace_on_disk(digest, other.top)


# Clients print the names of repositories, so no name may contain a reason code: a code must come from the gate.
CASES = [
    Case("signed image", "shop/web", signed_by("release")),
    Case("signed image by digest", "shop/web-pinned", signed_by("release"), by_digest=True),
    Case("signed index and its child", "shop/multi", signed_by("release"), build=images.multi),
    Case(
        "signed index by digest",
        "shop/multi-pinned",
        signed_by("release"),
        build=images.multi,
        by_digest=True,
    ),
    Case("signed Docker schema 2 image", "shop/legacy", signed_by("release"), family=images.DOCKER),
    Case(
        "signed Docker manifest list",
        "shop/legacy-multi",
        signed_by("release"),
        build=images.multi,
        family=images.DOCKER,
    ),
    Case("unsigned image", "shop/plain", unsigned, ["unsigned"]),
    Case("unsigned index", "shop/plain-multi", unsigned, ["unsigned"], build=images.multi),
    Case("image signed with an unknown key", "shop/stranger", signed_by("stranger"), ["untrusted-key"]),
    Case(
        "image signed with a key that the rule does not name",
        "shop/colleague",
        signed_by("colleague"),
        ["untrusted-key"],
    ),
    Case("altered signature", "shop/forged", altered_signature, ["bad-signature"]),
    Case("signature copied from another repository", "shop/borrowed", copied_signature, ["repository-mismatch"]),
    Case("image signed with an expired key", "archive/web", signed_by("old"), ["key-expired"]),
    Case("signed image whose digest is denied", "shop/recalled", signed_by("release"), ["digest-denied"]),
    # A tag says nothing about the bytes. The replaced bytes are another, unsigned image, so both codes are right.
    Case("altered manifest", "shop/altered", altered_manifest, ["digest-mismatch", "unsigned"]),
    Case(
        "altered manifest by digest",
        "shop/altered-pinned",
        altered_manifest,
        ["digest-mismatch"],
        by_digest=True,
    ),
    Case(
        "signed index with an altered child",
        "shop/altered-child",
        altered_child,
        ["digest-mismatch"],
        build=images.multi,
    ),
    Case("repository without a rule", "elsewhere/web", signed_by("release"), ["no-rule"]),
]
DENIED = [case.image.digest for case in CASES if case.repository == "shop/recalled"]
INDEX = next(case for case in CASES if case.repository == "shop/multi")

# Pulled while the gate is down, and again after its restart.
LATER = Case("signed image", "shop/later", signed_by("release"))
# Pulled from the registry itself.
CONTROL = Case("control", "control/web", unsigned)

# The parts beyond the registry door's own pull one case of each kind; the registry door tells the kinds apart.
NODE_CASES = [
    case
    for case in CASES
    if case.repository
    in ("shop/web", "shop/multi", "shop/plain", "shop/stranger", "shop/borrowed", "archive/web", "shop/recalled")
]
SIGNED = NODE_CASES[0]
UNSIGNED = next(case for case in NODE_CASES if case.reasons == ["unsigned"])
