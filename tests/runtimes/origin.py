"""The origin: Debian's docker-registry, its access log, and its storage on disk.

The clients can reach it as `https://registry.test`, and they trust its certificate: a client that bypasses the gate
gets the image, and the access log shows its requests.
"""

import re
import time

import box
import images

PORT = 443
# The name in rules and in the packaged files.
HOST = "registry.test"
# A second name of the same registry, which no packaged file lists.
OTHER_HOST = "mirror.test"
# The same registry under the name of Oracle's registry in Phoenix.
OCIR = "phx.ocir.io"
# The same registry under the name in the images of `critest`.
GCR = "gcr.io"

# A registry that shows the gate and the runtime different images: the gate's configuration leads this name to the
# origin, and name resolution leads the runtimes to another registry.
FACES = "faces.test"

# The method, path, status and user agent in a line of the access log (Apache's combined format).
LINE = re.compile(
    r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d+) \d+ "[^"]*" "(?P<agent>[^"]*)"'
)


class Origin:
    """A running docker-registry."""

    def __init__(self, the_box):
        self.box = the_box
        self.storage = the_box.directory("origin")
        # The gate trusts it by its configuration, and the clients trust it as the machine's own authority.
        self.authority = the_box.work / "authority.pem"
        self.marks = 0
        self.lines_read = 0

    def start(self):
        """Starts the registry without a cache, so that it serves what is on its disk."""
        self.certificate = self._certificate()
        daemon = self._serve("origin", "127.0.0.1", self.storage)
        self.access_log = daemon.log.with_suffix(".out")
        self.uploader = images.Uploader(HOST, self.authority)

    def start_other_face(self):
        """Starts the registry that the runtimes reach as `FACES`; returns its uploader."""
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
        """Marks the end of a case in the access log; returns the requests since the mark before."""
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
        raise box.SetupError("the registry's access log does not show the uploader's mark")

    @staticmethod
    def _parse(line):
        found = LINE.search(line)
        if found is None:
            raise box.SetupError(f"a line of the access log has an unknown form: {line}")
        return found.groupdict()

    def replace_on_disk(self, digest, data):
        """Replaces the bytes of a digest on the registry's disk."""
        algorithm, name = digest.split(":")
        path = self.storage / "docker/registry/v2/blobs" / algorithm / name[:2] / name / "data"
        if not path.is_file():
            raise box.SetupError(f"the registry does not store {digest} at {path}")
        path.write_bytes(data)
