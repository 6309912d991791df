//! `[daemon]`, `[cache]`, `[limits]` and `[door.*]`: the process rather than the policy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{CacheSettings, DaemonSettings, Limits, files, registries};
use crate::base::limits::CERTIFICATE_BYTES;
use crate::base::strict_toml::problem::Reported;
use crate::base::strict_toml::table::{Read, Table, TextOrTable};
use crate::base::strict_toml::value::Text;
use crate::door::cri::CriDoorSettings as CriDoor;
use crate::door::listen::unix_socket as unix;
use crate::door::registry::{RegistryDoorSettings as RegistryDoor, TlsFiles};

/// Who is in the socket's group may ask.
const ADMISSION_MODE: u32 = 0o660;

/// The daemon's own user, and root.
const CONTROL_MODE: u32 = 0o600;

/// Whoever may write to it may do with the node's containers what he likes.
const CRI_MODE: u32 = 0o600;

const SOCKET_PATH: usize = 103;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Reads `[daemon]`; how long it drains stands in `[limits]`.
pub(super) fn daemon(table: Option<Table<'_>>) -> Result<DaemonSettings, Reported> {
    let known = DaemonSettings::default();
    let Some(mut table) = table else { return Ok(known) };
    let state = table
        .text("state")
        .map(|text| text.map(|text| table.path(text.text)));
    let metrics = address(&mut table, "metrics", "127.0.0.1:9464");
    let admission = socket(&mut table, "admission", "`admission`", ADMISSION_MODE);
    let control = socket(&mut table, "control", "`control`", CONTROL_MODE);
    table.finish();
    Ok(DaemonSettings {
        state: state?.unwrap_or(known.state),
        metrics: metrics?,
        admission: admission?,
        control: control?,
        drain: known.drain,
    })
}

/// Reads `[cache]`.
pub(super) fn cache(table: Option<Table<'_>>) -> Result<CacheSettings, Reported> {
    let known = CacheSettings::default();
    let Some(mut table) = table else { return Ok(known) };
    let positive = table.duration("positive", Duration::ZERO..=24 * HOUR);
    let negative = table.duration("negative", Duration::ZERO..=HOUR);
    let verdicts = table.count("verdicts", 1..=10_000_000);
    let permits = table.count("permits", 1..=100_000_000);
    table.finish();
    Ok(CacheSettings {
        positive: positive?.unwrap_or(known.positive),
        negative: negative?.unwrap_or(known.negative),
        verdicts: verdicts?.map_or(known.verdicts, |(count, _)| count),
        permits: permits?.map_or(known.permits, |(count, _)| count),
    })
}

/// Reads `[limits]`: with it, how long the daemon drains.
pub(super) fn limits(table: Option<Table<'_>>) -> Result<(Limits, Duration), Reported> {
    let (known, drain) = (Limits::default(), DaemonSettings::default().drain);
    let Some(mut table) = table else {
        return Ok((known, drain));
    };
    let pull = table.duration("pull", SECOND..=5 * MINUTE);
    let blob = table.duration("blob", SECOND..=48 * HOUR);
    let connections = table.count("connections", 1..=65_536);
    let drains = table.duration("drain", Duration::ZERO..=10 * MINUTE);
    table.finish();
    Ok((
        Limits {
            pull: pull?.unwrap_or(known.pull),
            blob: blob?.unwrap_or(known.blob),
            connections: connections?.map_or(known.connections, |(count, _)| count),
        },
        drains?.unwrap_or(drain),
    ))
}

/// What `[door.*]` opens.
#[derive(Default)]
pub(super) struct DoorTables {
    pub(super) registry: Option<RegistryDoor>,
    pub(super) cri: Option<CriDoor>,
}

/// Reads `[door.*]`: an absent table is a closed door.
pub(super) fn doors(
    table: Option<Table<'_>>,
    limits: Result<(Limits, Duration), Reported>,
) -> Result<DoorTables, Reported> {
    let Some(mut table) = table else {
        return Ok(DoorTables::default());
    };
    let registry = match table.table("registry", "`[door.registry]`") {
        Ok(Some(inner)) => registry_door(inner, limits).map(Some),
        Ok(None) => Ok(None),
        Err(reported) => Err(reported),
    };
    let cri = match table.table("cri", "`[door.cri]`") {
        Ok(Some(inner)) => cri_door(inner, limits).map(Some),
        Ok(None) => Ok(None),
        Err(reported) => Err(reported),
    };
    table.later("proxy", "the proxy door");
    table.later("docker", "the Docker authorization door");
    table.finish();
    Ok(DoorTables {
        registry: registry?,
        cri: cri?,
    })
}

fn cri_door(mut table: Table<'_>, limits: Result<(Limits, Duration), Reported>) -> Result<CriDoor, Reported> {
    let socket = socket_keys(&mut table, "\"/run/pullgate/cri.sock\"", CRI_MODE);
    let runtime = table.required_text("runtime", "\"/run/containerd/containerd.sock\"");
    let runtime = runtime.map(|text| table.path(text.text));
    let recheck_present = table.boolean("recheck_present");
    // It would call itself, and that call itself again.
    if let (Ok(socket), Ok(runtime)) = (&socket, &runtime)
        && socket.path == *runtime
    {
        table.report().problem(
            table.at_key("runtime"),
            "`runtime` is the door's own socket",
            Some("name the socket of the runtime: `/run/containerd/containerd.sock`".to_owned()),
        );
    }
    table.finish();
    let (limits, _) = limits?;
    Ok(CriDoor {
        socket: socket?,
        runtime: runtime?,
        recheck_present: recheck_present?.unwrap_or(false),
        deadline: limits.pull,
        connections: limits.connections,
    })
}

fn registry_door(
    mut table: Table<'_>,
    limits: Result<(Limits, Duration), Reported>,
) -> Result<RegistryDoor, Reported> {
    let report = table.report();
    let listen = match address(&mut table, "listen", "127.0.0.1:5443") {
        Ok(None) => Err(table.missing("listen", "\"127.0.0.1:5443\"")),
        Ok(Some(address)) => Ok(address),
        Err(reported) => Err(reported),
    };
    let tls = tls(&mut table);
    let default_registry = match table.text("default_registry") {
        Ok(Some(text)) => registries::host(text, report).map(|host| Some(host.to_owned())),
        Ok(None) => Ok(None),
        Err(reported) => Err(reported),
    };
    let plain = match (&listen, &tls) {
        // Anyone on the way could hand the runtime another image.
        (Ok(address), Ok(None)) if !address.ip().to_canonical().is_loopback() => {
            let hint = "listen on 127.0.0.1, or set `tls = { certificate = \"…\", key = \"…\" }`".to_owned();
            Err(report.problem(
                table.at_value("listen"),
                "plain http is served on a loopback address only",
                Some(hint),
            ))
        }
        (Ok(_) | Err(_), Ok(_) | Err(_)) => Ok(()),
    };
    table.finish();
    plain?;
    let (limits, _) = limits?;
    Ok(RegistryDoor {
        listen: listen?,
        tls: tls?,
        default_registry: default_registry?,
        pull_deadline: limits.pull,
        blob_deadline: limits.blob,
        connections: limits.connections,
    })
}

/// A Unix socket: its path, or a table of path, mode and group.
fn socket(
    table: &mut Table<'_>,
    key: &'static str,
    name: &'static str,
    mode: u32,
) -> Read<unix::SocketSettings> {
    match table.text_or_table(key, name)? {
        None => Ok(None),
        Some(TextOrTable::Text(text)) => Ok(Some(unix::SocketSettings {
            path: socket_path(table, text)?,
            mode,
            group: None,
        })),
        Some(TextOrTable::Table(mut inner)) => {
            let socket = socket_keys(&mut inner, "\"/run/pullgate/….sock\"", mode);
            inner.finish();
            socket.map(Some)
        }
    }
}

/// Path, mode and group, whatever else the table holds.
fn socket_keys(
    table: &mut Table<'_>,
    example: &'static str,
    mode: u32,
) -> Result<unix::SocketSettings, Reported> {
    let path = table.required_text("listen", example);
    let path = path.and_then(|text| socket_path(table, text));
    let known = socket_mode(table);
    let group = table.text("group").map(|text| {
        text.map(|Text { text, at, .. }| {
            // Perhaps this is read on another machine than it is for.
            if !unix::has_group(text) {
                let hint = format!("the daemon will not start without it: `sudo groupadd --system {text}`");
                table
                    .report()
                    .warning(at, format!("there is no group `{text}` here"), Some(hint));
            }
            text.to_owned()
        })
    });
    Ok(unix::SocketSettings {
        path: path?,
        mode: known?.unwrap_or(mode),
        group: group?,
    })
}

/// The kernel takes 107 bytes (unix(7), `sun_path`), four of which the name takes that it has while it is made.
fn socket_path(table: &Table<'_>, text: Text<'_>) -> Result<PathBuf, Reported> {
    let path = table.path(text.text);
    let length = path.as_os_str().len();
    if length <= SOCKET_PATH {
        return Ok(path);
    }
    let hint = Some("sockets of services usually stand below /run".to_owned());
    let message = format!(
        "a socket's path has at most {SOCKET_PATH} bytes, and `{}` has {length}",
        path.display()
    );
    Err(table.report().problem(text.at, message, hint))
}

/// In octal, as chmod(1) takes it. Only who may write may connect (unix(7)), so nothing beyond reading and writing means
/// anything.
fn socket_mode(table: &mut Table<'_>) -> Read<u32> {
    let Some(text) = table.text("mode")? else {
        return Ok(None);
    };
    match u32::from_str_radix(text.text, 8) {
        Ok(mode) if mode & !0o666 == 0 && mode & 0o200 != 0 => Ok(Some(mode)),
        Ok(_) | Err(_) => {
            let hint = Some("write it in octal, without execute bits: `mode = \"0660\"`".to_owned());
            let message = format!("`{}` is not the mode of a socket", text.text.escape_debug());
            Err(table.report().problem(text.at, message, hint))
        }
    }
}

fn tls(table: &mut Table<'_>) -> Read<TlsFiles> {
    let Some(mut inner) = table.table("tls", "`tls`")? else {
        return Ok(None);
    };
    let certificate = pem_file(&mut inner, "certificate", "holds no certificate", |pem| {
        CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.len())
    });
    let key = pem_file(
        &mut inner,
        "key",
        "holds no private key without a passphrase",
        |pem| match PrivateKeyDer::from_pem_slice(pem) {
            Ok(_) => Ok(1),
            Err(pem::Error::NoItemsFound) => Ok(0),
            Err(error) => Err(error),
        },
    );
    inner.finish();
    Ok(Some(TlsFiles {
        certificate: certificate?,
        key: key?,
    }))
}

/// A PEM file in which `count` finds at least one of what is wanted.
fn pem_file(
    table: &mut Table<'_>,
    key: &'static str,
    lacks: &str,
    count: impl Fn(&[u8]) -> Result<usize, pem::Error>,
) -> Result<PathBuf, Reported> {
    let text = table.required_text(key, "\"tls/gate.pem\"")?;
    let report = table.report();
    let path = table.path(text.text);
    let bytes = files::read(&path, CERTIFICATE_BYTES)
        .map_err(|error| report.problem(text.at, error.to_string(), error.hint()))?;
    let why = match count(&bytes) {
        Ok(0) => lacks.to_owned(),
        Ok(_) => return Ok(path),
        Err(error) => format!("is not PEM: {error}"),
    };
    let hint = Some(
        "`certificate` is the PEM file of the chain, leaf first; `key` that of its private key".to_owned(),
    );
    Err(report.problem(text.at, format!("`{}` {why}", path.display()), hint))
}

fn address(table: &mut Table<'_>, key: &'static str, example: &str) -> Read<SocketAddr> {
    let Some(text) = table.text(key)? else {
        return Ok(None);
    };
    match text.text.parse() {
        Ok(address) => Ok(Some(address)),
        // The parser knows no more than that.
        Err(std::net::AddrParseError { .. }) => {
            let hint = Some(format!("write address and port: `{key} = \"{example}\"`"));
            let message = format!("`{}` is not an address with a port", text.text.escape_debug());
            Err(table.report().problem(text.at, message, hint))
        }
    }
}
