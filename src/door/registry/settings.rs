//! `[door.registry]`: its settings, and how they are read.

use std::net::SocketAddr;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use super::RegistryDoor;
use crate::base::files;
use crate::base::limits::CERTIFICATE_BYTES;
use crate::base::strict_toml::problem::{Report, Reported};
use crate::base::strict_toml::table::{Setting, Table, Text};
use crate::door::listen::socket_settings::address;
use crate::door::{BindError, Door, DoorLimits, DoorSettings, DoorView, ListenAddress};
use crate::oci::Repository;
use crate::pull::request::DoorName;

/// `[door.registry]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryDoorSettings {
    /// The address on which the door listens.
    pub listen: SocketAddr,
    /// Certificate chain and key. Without them the door serves plain HTTP, on a loopback address only.
    pub tls: Option<TlsFiles>,
    /// The registry of a request that names none: Docker's `registry-mirrors` leave it out (`docker.io`).
    pub default_registry: Option<String>,
}

/// Certificate chain and key, PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

impl DoorSettings for RegistryDoorSettings {
    const NAME: DoorName = DoorName::new("registry");
    /// Its key when it was the only door; scripts read it.
    const JSON_KEY: &'static str = "door";
    const LABEL: &'static str = "registry door";
    const SERVES_BLOBS: bool = true;

    fn read(door: &mut Table<'_>) -> Setting<Self> {
        match door.table("registry", "`[door.registry]`")? {
            Some(table) => Self::read_table(table).map(Some),
            None => Ok(None),
        }
    }

    fn listens_at(&self) -> ListenAddress {
        ListenAddress::Tcp(self.listen)
    }

    fn view(&self) -> DoorView {
        let listen = self.listen.to_string();
        DoorView {
            json: json!({
                "listen": listen,
                "tls": self.tls.is_some(),
                "default_registry": self.default_registry,
            }),
            text: listen,
        }
    }

    fn bind(&self, limits: DoorLimits) -> BoxFuture<'_, Result<Box<dyn Door>, BindError>> {
        Box::pin(async move {
            let bound = RegistryDoor::bind(self.clone(), limits).await;
            let door = bound.map_err(|source| BindError::Address {
                address: self.listen,
                source,
            })?;
            let door: Box<dyn Door> = Box::new(door);
            Ok(door)
        })
    }
}

impl RegistryDoorSettings {
    /// Reads the table. Every setting is read before the first problem is returned, so that all problems are reported.
    fn read_table(mut table: Table<'_>) -> Result<Self, Reported> {
        let report = table.report();
        let listen = match address(&mut table, "listen", "127.0.0.1:5443") {
            Ok(None) => Err(table.missing("listen", "\"127.0.0.1:5443\"")),
            Ok(Some(address)) => Ok(address),
            Err(reported) => Err(reported),
        };
        let tls = TlsFiles::read(&mut table);
        let default_registry = match table.text("default_registry") {
            Ok(Some(text)) => registry_host(text, report).map(|host| Some(host.to_owned())),
            Ok(None) => Ok(None),
            Err(reported) => Err(reported),
        };
        let plain = match (&listen, &tls) {
            // Anyone on the network path could hand the runtime another image.
            (Ok(address), Ok(None)) if !address.ip().to_canonical().is_loopback() => {
                let hint =
                    "listen on 127.0.0.1, or set `tls = { certificate = \"…\", key = \"…\" }`".to_owned();
                Err(report.problem(
                    table.value_span("listen"),
                    "plain http is served on a loopback address only",
                    Some(hint),
                ))
            }
            (Ok(_) | Err(_), Ok(_) | Err(_)) => Ok(()),
        };
        table.finish();
        plain?;
        Ok(Self {
            listen: listen?,
            tls: tls?,
            default_registry: default_registry?,
        })
    }
}

impl TlsFiles {
    fn read(table: &mut Table<'_>) -> Setting<Self> {
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
        Ok(Some(Self {
            certificate: certificate?,
            key: key?,
        }))
    }
}

/// Reads the path of a PEM file, and checks that `count` finds at least one item in the file. `lacks` is the problem if it
/// finds none.
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
        .map_err(|error| report.problem(text.span, error.to_string(), error.hint()))?;
    let why = match count(&bytes) {
        Ok(0) => lacks.to_owned(),
        Ok(_) => return Ok(path),
        Err(error) => format!("is not PEM: {error}"),
    };
    let hint = Some(
        "`certificate` is the PEM file of the chain, leaf first; `key` that of its private key".to_owned(),
    );
    Err(report.problem(text.span, format!("`{}` {why}", path.display()), hint))
}

/// Reads the host of a registry, which must be spelled as normalised image names spell it.
pub(crate) fn registry_host<'d>(text: Text<'d>, report: &Report) -> Result<&'d str, Reported> {
    match Repository::new(text.text, "any/image") {
        Ok(repository) if repository.registry() == text.text => Ok(text.text),
        Ok(repository) => {
            let hint = Some(format!("write `{}`", repository.registry()));
            Err(report.problem(
                text.span,
                format!("images never name the host `{}`", text.text),
                hint,
            ))
        }
        Err(error) => {
            let hint = Some("write host, or host and port, as they stand in image names".to_owned());
            Err(report.problem(text.span, error.to_string(), hint))
        }
    }
}
