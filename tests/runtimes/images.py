"""Small, valid images, and the registry calls that push them and move their signatures.

The same name gives the same bytes, and so the same digests.
"""

import base64
import gzip
import hashlib
import io
import json
import platform
import ssl
import struct
import tarfile
import urllib.error
import urllib.request

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])

# The media types of configuration, layer, manifest and list in the two families.
OCI = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    OCI_MANIFEST,
    OCI_INDEX,
)
DOCKER = (
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    DOCKER_MANIFEST,
    DOCKER_LIST,
)

# The user agent of the tests' own uploader in the registry's access log.
UPLOADER = "pullgate-test"

NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
FOREIGN = "amd64" if NATIVE == "arm64" else "arm64"


def digest_of(data):
    """Returns the digest of bytes, `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def to_json(value):
    """Returns compact JSON bytes, with the keys in their order."""
    return json.dumps(value, separators=(",", ":")).encode()


class Image:
    """The bytes of one image: a tag refers to `top`, and this machine runs `native`."""

    def __init__(self, top, top_type, native, config, children, blobs):
        self.top = top
        self.top_type = top_type
        self.native = native
        self.config_digest = digest_of(config)
        self.children = children  # (media type, bytes) of each manifest below `top`; empty for a single image
        self.blobs = blobs

    @property
    def digest(self):
        """The digest that is signed and pulled."""
        return digest_of(self.top)

    @property
    def native_digest(self):
        """The digest of the manifest that this machine runs: of a child, or `digest` itself."""
        return digest_of(self.native)


def _file(name, data, mode=0o644):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.mode = mode
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return tar.getvalue()


def program(text):
    """Returns a program for Linux on this machine that writes a line and then waits for a signal, as a pod needs it.
    The static ELF file of one segment needs no compiler and no C library."""
    line = f"{text}\n".encode()
    machine, code = {"amd64": _x86_64, "arm64": _aarch64}[NATIVE](len(line))
    content = code + line
    base, head = 0x400000, 64 + 56
    elf = b"\x7fELF\x02\x01\x01" + bytes(9)
    elf += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = head + len(content)
    elf += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000)
    return elf + content


def _x86_64(length):
    # write(1, line, length), with the line behind the code, 21 bytes further; for (;;) pause();
    code = b"\xbf\x01\x00\x00\x00\x48\x8d\x35" + struct.pack("<i", 21)
    code += b"\xba" + struct.pack("<i", length) + b"\xb8\x01\x00\x00\x00\x0f\x05"
    code += b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7"
    return 62, code


def _aarch64(length):
    def movz(register, value):
        return 0xD2800000 | value << 5 | register

    svc = 0xD4000001
    # The line lies behind the code, 11 instructions after `adr x1`.
    distance = 11 * 4
    adr = 0x10000000 | (distance & 3) << 29 | distance >> 2 << 5 | 1
    # write(1, line, length); for (;;) ppoll(0, 0, 0, 0), because this architecture lacks pause.
    code = [movz(0, 1), adr, movz(2, length), movz(8, 64), svc]
    code += [movz(0, 0), movz(1, 0), movz(2, 0), movz(3, 0), movz(8, 73), svc]
    code += [0x14000000 | -6 & 0x3FFFFFF]
    return 183, struct.pack(f"<{len(code)}I", *code)


def runnable(name):
    """Returns an image whose program writes its name and keeps running."""
    return _single(*_manifest(name, NATIVE, OCI, _file("hello", program(name), 0o755)), OCI)


def _manifest(name, architecture, family, tar=None):
    config_type, layer_type, manifest_type, _ = family
    tar = tar or _file("hello.txt", f"{name} for {architecture}\n".encode())
    layer = gzip.compress(tar, mtime=0)
    config = to_json(
        {
            "created": "2026-01-01T00:00:00Z",
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/"], "Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "pullgate's test"}],
        }
    )
    manifest = to_json(
        {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": {"mediaType": config_type, "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": layer_type, "digest": digest_of(layer), "size": len(layer)}],
        }
    )
    return manifest, config, layer


def single(name, family=OCI):
    """Returns an image for this machine alone."""
    return _single(*_manifest(name, NATIVE, family), family)


def _single(manifest, config, layer, family):
    return Image(manifest, family[2], manifest, config, [], [config, layer])


def multi(name, family=OCI):
    """Returns an index of an image for this machine and one for another architecture."""
    native, config, layer = _manifest(name, NATIVE, family)
    foreign, foreign_config, foreign_layer = _manifest(name, FOREIGN, family)
    index = to_json(
        {
            "schemaVersion": 2,
            "mediaType": family[3],
            "manifests": [
                {
                    "mediaType": family[2],
                    "digest": digest_of(manifest),
                    "size": len(manifest),
                    "platform": {"architecture": architecture, "os": "linux"},
                }
                for architecture, manifest in ((FOREIGN, foreign), (NATIVE, native))
            ],
        }
    )
    children = [(family[2], foreign), (family[2], native)]
    return Image(index, family[3], native, config, children, [config, layer, foreign_config, foreign_layer])


def archive(image, name, path):
    """Writes an image of one platform for `ctr images import`: an OCI layout with the name in its index."""
    index = to_json(
        {
            "schemaVersion": 2,
            "manifests": [
                {
                    "mediaType": image.top_type,
                    "digest": image.digest,
                    "size": len(image.top),
                    "annotations": {"io.containerd.image.name": name},
                }
            ],
        }
    )
    files = {"oci-layout": to_json({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    for data in (image.top, *image.blobs):
        files["blobs/" + digest_of(data).replace(":", "/")] = data
    with tarfile.open(path, "w") as tar:
        for file, data in files.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


class Uploader:
    """Pushes to the registry, past the gate; its user agent tells it from the clients under test."""

    def __init__(self, host, authority):
        self.host = host
        context = ssl.create_default_context(cafile=authority)
        # Directly, without a proxy of the machine.
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def _request(self, method, url, body=None, headers=None):
        if url.startswith("/"):
            url = f"https://{self.host}{url}"
        request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
        request.add_header("User-Agent", UPLOADER)
        return self.opener.open(request, timeout=20)

    def mark(self, name):
        """Leaves a line in the registry's access log that separates the cases."""
        self._request("GET", f"/v2/?mark={name}").close()

    def blob(self, repository, data):
        """Pushes one blob in one request."""
        with self._request("POST", f"/v2/{repository}/blobs/uploads/", b"") as answer:
            location = answer.headers["Location"]
        separator = "&" if "?" in location else "?"
        headers = {"Content-Type": "application/octet-stream"}
        self._request("PUT", f"{location}{separator}digest={digest_of(data)}", data, headers).close()

    def manifest(self, repository, reference, media_type, data):
        """Pushes a manifest under a tag or digest."""
        self._request(
            "PUT", f"/v2/{repository}/manifests/{reference}", data, {"Content-Type": media_type}
        ).close()

    def push(self, repository, tag, image):
        """Pushes every part of an image."""
        for data in image.blobs:
            self.blob(repository, data)
        for media_type, data in image.children:
            self.manifest(repository, digest_of(data), media_type, data)
        self.manifest(repository, tag, image.top_type, image.top)

    def _get(self, repository, kind, reference):
        with self._request(
            "GET", f"/v2/{repository}/{kind}/{reference}", headers={"Accept": ACCEPT}
        ) as answer:
            return answer.read()

    def signatures(self, repository, digest):
        """Returns the referrers that the fallback tag lists, as (descriptor, manifest bytes, blobs)."""
        index = json.loads(self._get(repository, "manifests", digest.replace(":", "-")))
        found = []
        for descriptor in index["manifests"]:
            manifest = self._get(repository, "manifests", descriptor["digest"])
            parsed = json.loads(manifest)
            blobs = [
                self._get(repository, "blobs", blob["digest"])
                for blob in [parsed["config"], *parsed["layers"]]
            ]
            found.append((descriptor, manifest, blobs))
        return found

    def _attach(self, repository, digest, signatures):
        manifests = []
        for descriptor, manifest, blobs in signatures:
            for data in blobs:
                self.blob(repository, data)
            self.manifest(repository, digest_of(manifest), OCI_MANIFEST, manifest)
            entry = {**descriptor, "digest": digest_of(manifest), "size": len(manifest)}
            # The list may hold the manifest itself as well.
            if "data" in entry:
                entry["data"] = base64.b64encode(manifest).decode()
            manifests.append(entry)
        index = to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
        self.manifest(repository, digest.replace(":", "-"), OCI_INDEX, index)

    def copy_signatures(self, source, target, digest):
        """Copies the records of an image to the image of the same digest in another repository, as an attacker does."""
        self._attach(target, digest, self.signatures(source, digest))

    def alter_signatures(self, repository, digest):
        """Flips bits of each record's signature; the rest stays well-formed."""
        altered = []
        for descriptor, manifest, blobs in self.signatures(repository, digest):
            parsed = json.loads(manifest)
            record = json.loads(blobs[1])
            signature = bytearray(base64.b64decode(record["signature"], validate=True))
            signature[len(signature) // 2] ^= 0x55
            record["signature"] = base64.b64encode(signature).decode()
            data = to_json(record)
            layer = parsed["layers"][0]
            layer.update(digest=digest_of(data), size=len(data))
            # The descriptor may hold the record itself as well.
            if "data" in layer:
                layer["data"] = base64.b64encode(data).decode()
            altered.append((descriptor, to_json(parsed), [blobs[0], data]))
        self._attach(repository, digest, altered)
