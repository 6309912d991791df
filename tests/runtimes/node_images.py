"""Images for the nodes alone: those that pods run, those that `critest` pulls, and those of a registry that shows the
gate and the runtime different images."""

import images
import origin
from cases import SIGNED

# The image of a pod's own process, and one whose program writes a line: the pods of the tests run both.
PAUSE = images.runnable("pause")
APP = images.runnable("app")
APP_REPOSITORY = "shop/runs"
# The runtimes' configuration names the pause image so; no other case pulls it.
PAUSE_REPOSITORY = "pause"
PAUSE_TAG = "none"

# Under `origin.FACES`, the gate sees a signed image in both repositories. In the first, the runtime sees the image of
# `SIGNED`; in the second, an image that exists nowhere else.
SWAPPED_REPOSITORY = "shop/faces"
EVIL_REPOSITORY = "shop/masked"


def push(the_origin, the_gate):
    """Pushes all of them."""
    _push_critest(the_origin)
    _push_runnable(the_origin, the_gate)
    _push_faces(the_origin, the_gate)


def _push_critest(the_origin):
    """Pushes the images that `critest` pulls, except those whose digests it knows."""
    project = "k8s-staging-cri-tools"
    for name in ("latest", "1", "2", "3"):
        the_origin.uploader.push(f"{project}/test-image-{name}", "latest", images.single(f"critest-{name}"))
    for tag in ("test", "all"):
        the_origin.uploader.push(f"{project}/test-image-tag", tag, images.single(f"critest-{tag}"))
    same = images.single("critest-tags")
    for tag in ("1", "2", "3"):
        the_origin.uploader.push(f"{project}/test-image-tags", tag, same)


def _push_runnable(the_origin, the_gate):
    """Pushes the pause image, unsigned, and a signed image."""
    the_origin.uploader.push(PAUSE_REPOSITORY, PAUSE_TAG, PAUSE)
    the_origin.uploader.push(APP_REPOSITORY, "v1", APP)
    the_gate.sign(APP_REPOSITORY, "v1", "release")


def _push_faces(the_origin, the_gate):
    """Pushes signed images to the registry that the gate sees, and other images to the one that the runtime sees."""
    other_face = the_origin.start_other_face()
    for repository, shown in ((SWAPPED_REPOSITORY, SIGNED.image), (EVIL_REPOSITORY, images.single("evil"))):
        the_origin.uploader.push(repository, "v1", images.single(repository))
        the_gate.sign(repository, "v1", "release", host=origin.FACES)
        other_face.push(repository, "v1", shown)
