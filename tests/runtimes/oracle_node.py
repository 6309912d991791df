"""The gate on a node that pulls from Oracle's registry, and the clients of that node."""

import json
import os
import re
import shutil

import box
import clients
import gate
from oracle_cloud import COMPARTMENT, HOST, METRICS, NAMESPACE, PULL, POSITIVE
from report import Failure, codes_in, require_reason, require_success


class Target(clients.Target):
    """The name of an image in the tenancy's namespace."""

    def __init__(self, repository, reference="v1"):
        super().__init__(f"{NAMESPACE}/{repository}", reference)

    @property
    def name(self):
        return self.under(HOST)


class Skopeo(clients.Skopeo):
    """skopeo, which removes its copy of the image before a pull."""

    name = "oracle-skopeo"

    def pull(self, target):
        for kind in ("all", "native"):
            shutil.rmtree(self._directory(target, kind), ignore_errors=True)
        return super().pull(target)


class Ctr(clients.Ctr):
    """ctr, which removes the image and its content before a pull."""

    name = "oracle-ctr"
    namespace = "oracle"

    def pull(self, target):
        self.containerd.ctr(self.namespace, "images", "remove", "--sync", target.name)
        return super().pull(target)


class Node:
    """The gate, configured for Oracle's registry, with two clients."""

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
        """Writes the configuration. It includes the tables of keys that `key import` wrote."""
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
keys = {json.dumps(names)}
formats = ["oracle"]
[[registry]]
host = "{HOST}"
endpoint = "https://{HOST}"
ca = "{self.bundle}"
signatures = {json.dumps(list(sources))}
{oracle}"""
        )

    def tool(self, *arguments, file=True, status=0):
        """Runs `pullgate`, and requires this exit status unless it is `None`."""
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
            raise Failure(str(output))
        return output

    def start(self):
        """Starts the daemon as the user `nobody`."""
        environment = {**self.gate.environment, "PULLGATE_LOG": self.level, "RUST_BACKTRACE": "1"}
        program = self.gate.binaries["pullgated"]
        self.daemon = gate.start(self.box, "pullgated-oracle", program, self.file, environment)

    def require_invalid(self):
        """Raises `Failure` unless the daemon exits with 78 (EX_CONFIG of sysexits.h)."""
        daemon = self.gate.binaries["pullgated"]
        as_nobody = ["setpriv", f"--reuid={gate.USER}", f"--regid={gate.USER}", "--clear-groups"]
        output = self.box.run([*as_nobody, daemon, "--config", self.file], seconds=10)
        self.outputs.append(output.text)
        if output.status != 78:
            raise Failure(str(output))

    def stop(self):
        """Stops the daemon as systemd does."""
        status = self.daemon.stop(30)
        if status != 0:
            raise box.SetupError(f"pullgated exited with {status} after SIGTERM:\n{self.daemon.tail()}")

    def restart(self, **settings):
        """Restarts the daemon with these settings and empty caches."""
        self.stop()
        self.configure(**settings)
        self.start()
        self.clear_cache()

    def clear_cache(self):
        """Clears the daemon's caches as an administrator does."""
        self.tool("cache", "clear")

    def require_pulled(self, client, image, target):
        """Raises `Failure` unless the client pulls the whole image, and only the gate was at the registry."""
        output = self._pull(client, target)
        require_success(output)
        try:
            client.check_present(target, image)
        except Failure as error:
            raise Failure(f"{error}\n{output}") from error
        return "pulled"

    def require_blocked(self, client, target, *reasons):
        """Raises `Failure` unless the pull fails, the client's output has one of the reasons, and only the gate was at
        the registry."""
        output = self._pull(client, target)
        reason = require_reason(output, reasons)
        if "unsigned" not in reasons and codes_in(output.text, ["unsigned"]):
            raise Failure(f"the gate took the image for unsigned\n{output}")
        client.check_absent(target)
        return f"blocked, {reason}"

    def _pull(self, client, target):
        self.origin.mark()
        output = client.pull(target)
        self.outputs.append(output.text)
        seen = clients.strangers(self.origin.mark())
        if seen:
            raise Failure(f"the client sent requests to the registry: {seen}\n{output}")
        return output
