"""The origin: Debian's docker-registry, its access log, and its storage on disk.

It stands where its name says, `https://registry.test`, with a certificate that the clients trust: a client that goes
past the gate does not fail for want of a way, it gets the image, and the access log shows it.
"""

import re
import time

import box
import images

PORT = 443
# The name in rules and in the packaged files.
HOST = "registry.test"
# Another name of the same origin, which no file lists.
OTHER_HOST = "mirror.test"
# The same, as Oracle's registry in Phoenix is named.
OCIR = "phx.ocir.io"
# The same, as the images of `critest` are named.
GCR = "gcr.io"

# A registry with two faces: the gate, which is told of an endpoint, finds the origin under this name, and the runtimes find
# another registry.
FACES = "faces.test"

# One line of the access log (Apache's combined format): method, path, status, user agent.
LINE = re.compile(
    r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d+) \d+ "[^"]*" "(?P<agent>[^"]*)"'
)


class Origin:
    """A running docker-registry."""

    def __init__(self, the_box):
        self.box = the_box
        self.storage = the_box.directory("origin")
        # What the gate is told to trust, and what the clients trust as they would a public authority.
        self.authority = the_box.work / "authority.pem"
        self.marks = 0
        self.lines_read = 0

    def start(self):
        """Starts it without a cache: what is changed on disk is what is served."""
        self.certificate = self._certificate()
        daemon = self._serve("origin", "127.0.0.1", self.storage)
        self.access_log = daemon.log.with_suffix(".out")
        self.uploader = images.Uploader(HOST, self.authority)

    def start_other_face(self):
        """Starts the registry that the runtimes find under `FACES`; gives who uploads to it."""
        self._serve("other-face", box.OTHER_LOOPBACK, self.box.directory("other-face"))
        return images.Uploader(FACES, self.authority)

    def _serve(self, name, address, storage):
        certificate, key = self.certificate
        configuration = self.box.work / f"{name}.yml"
        configuration.write_text(
            "version: 0.1\n"
            "log: {level: warn, accesslog: {disabled: false}}\n"
            f"storage: {{filesystem: {{rootdirectory: {storage}}}}}\n"
            f"http: {{addr: '{address}:{PORT}', tls: {{certificate: {certificate}, key: {key}}}}}\n"
        )
        daemon = self.box.spawn(name, ["docker-registry", "serve", configuration])
        self.box.await_ready(daemon, "open port", lambda: box.port_open(PORT, address))
        return daemon

    def _certificate(self):
        directory = self.box.directory("tls")
        key, authority_key, certificate = (
            directory / name for name in ("key.pem", "authority-key.pem", "cert.pem")
        )
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        subject = ["-subj", "/CN=the test's authority", "-keyout", authority_key, "-out", self.authority]
        self.box.must([*request, *subject])
        names = f"subjectAltName=DNS:{HOST},DNS:{OTHER_HOST},DNS:{OCIR},DNS:{GCR},DNS:{FACES}"
        issuer = [
            "-CA",
            self.authority,
            "-CAkey",
            authority_key,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]
        subject = ["-subj", f"/CN={HOST}", "-addext", names, "-keyout", key, "-out", certificate]
        self.box.must([*request, *issuer, *subject])
        return certificate, key

    def mark(self):
        """Draws a line under the access log; gives the requests since the one before."""
        self.marks += 1
        name = f"/v2/?mark={self.marks}"
        self.uploader.mark(self.marks)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            lines = self.access_log.read_text().splitlines()[self.lines_read :]
            for count, line in enumerate(lines):
                parsed = self._parse(line)
                if parsed["path"] == name:
                    self.lines_read += count + 1
                    return [self._parse(line) for line in lines[:count]]
            time.sleep(0.01)
        raise box.SetupError("the origin's access log does not show our own mark")

    @staticmethod
    def _parse(line):
        found = LINE.search(line)
        if found is None:
            raise box.SetupError(f"an access log line that is not understood: {line}")
        return found.groupdict()

    def replace_on_disk(self, digest, data):
        """Puts other bytes where the registry keeps those of a digest."""
        algorithm, name = digest.split(":")
        path = self.storage / "docker/registry/v2/blobs" / algorithm / name[:2] / name / "data"
        if not path.is_file():
            raise box.SetupError(f"the registry does not keep {digest} at {path}")
        path.write_bytes(data)
