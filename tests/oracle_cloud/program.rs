//! The stand-in of Oracle's cloud as a program; `cloud.rs` says how it is run.

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

/// A stand-in of Oracle's cloud.
#[derive(Parser)]
struct Arguments {
    /// Where the services listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where the instance metadata service listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    metadata: SocketAddr,
    /// Where faults and the rest are set.
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Who and what there is, as JSON.
    #[arg(long)]
    state: PathBuf,
    /// Writes the same with all that was made at the start.
    #[arg(long)]
    world: Option<PathBuf>,
    /// Speaks https, with a certificate that is made for the names of all services.
    #[arg(long)]
    tls: bool,
    /// More names for that certificate.
    #[arg(long, value_delimiter = ',')]
    tls_names: Vec<String>,
    /// Writes the certificate of the authority that made it.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Speaks https with this chain (PEM).
    #[arg(long, requires = "tls_key", conflicts_with = "tls")]
    tls_certificate: Option<PathBuf>,
    /// The key of that chain (PEM, PKCS#8).
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Items on a page where no limit is asked for.
    #[arg(long, default_value_t = 100)]
    page: usize,
    /// Length of the salt of signatures; as long as the hash where it is absent.
    #[arg(long)]
    salt: Option<usize>,
    /// Signatures that are deleted stay listed as DELETED.
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
            Some(Tls::made(&names))
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
