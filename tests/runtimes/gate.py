"""The gate under test: `pullgated` without root, as its service unit runs it, and `pullgate sign`."""

import json
import os
import shutil
import socket

import box
import origin

# The port in the files of packaging/runtimes, which the clients read unchanged.
PORT = 5443
# The user `nobody`: the gate needs no privilege.
USER = 65534
# The start of the gate's user agent in the registry's access log.
AGENT = "pullgate/"

ALGORITHM = "SHA_256_RSA_PKCS_PSS"

# Name: bits, whether the configuration has the key, and the end of its validity.
KEYS = {
    "release": (2048, True, None),
    "colleague": (3072, True, None),
    "old": (2048, True, "2020-01-01T00:00:00Z"),
    "stranger": (2048, False, None),
}


class Gate:
    """`pullgated`, its configuration and its keys."""

    def __init__(self, the_box, binaries):
        self.box = the_box
        self.directory = the_box.directory("gate")
        self.directory.chmod(0o755)
        self.private = the_box.directory("private")
        self.private.chmod(0o700)
        self.configuration = self.directory / "pullgate.toml"
        self.binaries = {}
        # The user `nobody` may not be able to read the checkout.
        for name in ("pullgate", "pullgated", "pullgate-verifier"):
            self.binaries[name] = self.directory / name
            shutil.copy(os.path.join(binaries, name), self.binaries[name])
            self.binaries[name].chmod(0o755)
        self.daemon = None
        # A copy: the clients later trust the authority as the machine's own, but the gate must trust it by its
        # configuration.
        self.environment = dict(the_box.environment)

    def configure(self, authority, denied):
        """Creates the keys and writes the configuration."""
        keys = self.box.directory("gate/keys")
        for name, (bits, _, _) in KEYS.items():
            secret = self.private / f"{name}.pem"
            self.box.must(["openssl", "genrsa", "-out", secret, str(bits)])
            self.box.must(["openssl", "pkey", "-in", secret, "-pubout", "-out", keys / f"{name}.pem"])
        state = self.box.directory("gate/state")
        os.chown(state, USER, USER)
        os.chown(self.directory, USER, USER)
        text = f"""
[daemon]
state = {json.dumps(str(state))}

[door.registry]
listen = "127.0.0.1:{PORT}"

[policy]
default = "reject"

[deny]
digests = {json.dumps(denied)}

[[registry]]
host = "{origin.HOST}"
endpoint = "https://{origin.HOST}"
ca = {json.dumps(str(authority))}

[[registry]]
host = "{origin.FACES}"
endpoint = "https://{origin.HOST}"
ca = {json.dumps(str(authority))}

[[rule]]
scope = "{origin.FACES}/shop/**"
require = "signed"
formats = ["oracle"]
keys = ["release"]

[[rule]]
scope = "{origin.HOST}/shop/**"
require = "signed"
formats = ["oracle"]
keys = ["release"]

[[rule]]
scope = "{origin.HOST}/archive/**"
require = "signed"
formats = ["oracle"]
keys = ["old"]
"""
        for name, (_, configured, not_after) in KEYS.items():
            if configured:
                text += f'\n[[key]]\nname = "{name}"\npublic_key = "keys/{name}.pem"\n'
                text += f"not_after = {not_after}\n" if not_after else ""
        self.configuration.write_text(text)
        # As ExecStartPre of the service unit does.
        self.box.must([self.binaries["pullgate"], "--config", self.configuration, "config", "check"])

    def sign(self, repository, tag, key, host=origin.HOST):
        """Signs the image under this tag, and pushes the signature beside it."""
        self.box.must(
            [
                self.binaries["pullgate"],
                "--config",
                self.configuration,
                "sign",
                f"{host}/{repository}:{tag}",
                "--key",
                self.private / f"{key}.pem",
                "--signing-algorithm",
                ALGORITHM,
            ]
        )

    def start(self):
        """Starts pullgated and waits until it is ready."""
        self.daemon = start(self.box, "pullgated", self.binaries["pullgated"], self.configuration, self.environment)

    def stop(self):
        """Stops pullgated as systemd does."""
        status = self.daemon.stop(30)
        if status != 0:
            raise box.SetupError(f"pullgated exited with {status} after SIGTERM:\n{self.daemon.tail()}")


def start(the_box, name, program, configuration, environment):
    """Starts `pullgated` as the user `nobody`, and waits for READY=1, as systemd does for Type=notify."""
    path = configuration.with_name("notify.sock")
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        path.chmod(0o777)
        notify.settimeout(0.02)
        daemon = the_box.spawn(
            name,
            [program, "--config", configuration],
            environment={**environment, "NOTIFY_SOCKET": str(path)},
            user=USER,
        )
        the_box.await_ready(daemon, "READY=1 on its NOTIFY_SOCKET", lambda: _ready(notify))
    if not box.port_open(PORT):
        raise box.SetupError(f"{name} sent READY=1 but does not listen:\n{daemon.tail()}")
    return daemon


def _ready(notify):
    try:
        return b"READY=1" in notify.recv(4096).split(b"\n")
    except TimeoutError:
        return False
