//! The stand-in for Oracle's cloud as a program; `cloud.rs` documents its use.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use serde_json::json;

#[path = "cloud.rs"]
mod cloud;

use cloud::{Cloud, Deletion, Options, Salt, Tls, World};

/// A stand-in for Oracle's cloud.
#[derive(Parser)]
struct Arguments {
    /// The address of the services.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The address of the instance metadata service.
    #[arg(long, default_value = "127.0.0.1:0")]
    metadata: SocketAddr,
    /// The address of the control interface.
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// The content of the cloud, a JSON file.
    #[arg(long)]
    state: PathBuf,
    /// Writes the content with everything that was generated at the start.
    #[arg(long)]
    world: Option<PathBuf>,
    /// Serve https, with a generated certificate for the names of all services.
    #[arg(long)]
    tls: bool,
    /// More names for that certificate.
    #[arg(long, value_delimiter = ',')]
    tls_names: Vec<String>,
    /// Write the certificate of the generated authority.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Serve https with this chain (PEM).
    #[arg(long, requires = "tls_key", conflicts_with = "tls")]
    tls_certificate: Option<PathBuf>,
    /// The key of that chain (PEM, PKCS#8).
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Items on a page if the request has no limit.
    #[arg(long, default_value_t = 100)]
    page: usize,
    /// Length of the salt of signatures; by default that of the hash.
    #[arg(long)]
    salt: Option<usize>,
    /// Keep deleted signatures listed as DELETED.
    #[arg(long)]
    keep_deleted: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let world: World = serde_json::from_slice(&fs::read(&arguments.state)?)?;
    let world = world.complete();
    let mut hosts = world.hosts();
    hosts.extend(arguments.tls_names);
    let tls = match (arguments.tls, &arguments.tls_certificate, &arguments.tls_key) {
        (true, _, _) => {
            let addresses = ["127.0.0.1".to_owned(), "localhost".to_owned()];
            let names: Vec<String> = hosts.iter().chain(&addresses).cloned().collect();
            Some(Tls::generate(&names))
        }
        (false, Some(certificate), Some(key)) => Some(Tls {
            certificate: fs::read_to_string(certificate)?,
            key: fs::read_to_string(key)?,
            authority: String::new(),
        }),
        (false, _, _) => None,
    };
    if let (Some(path), Some(tls)) = (&arguments.ca, &tls) {
        fs::write(path, &tls.authority)?;
    }
    let cloud = Cloud::start(Options {
        world,
        listen: arguments.listen,
        metadata: arguments.metadata,
        control: arguments.control,
        tls,
        page: arguments.page,
        salt: arguments.salt.map_or(Salt::Digest, Salt::Exactly),
        deletion: if arguments.keep_deleted {
            Deletion::Deleted
        } else {
            Deletion::Gone
        },
    })
    .await?;
    if let Some(path) = &arguments.world {
        fs::write(path, serde_json::to_vec_pretty(&cloud.world())?)?;
    }
    let line = json!({
        "listen": cloud.address,
        "metadata": cloud.metadata,
        "control": cloud.control,
        "hosts": hosts,
    });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    tokio::signal::ctrl_c().await?;
    Ok(())
}
