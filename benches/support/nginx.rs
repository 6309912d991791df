//! nginx, if it is installed: the origin, and the two proxies that the gate is compared with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::process::{Process, await_listener, free_address};
use super::tls::Tls;

/// A running nginx of one process.
pub struct Nginx {
    pub process: Process,
    pub address: SocketAddr,
}

/// The amount of a response that a proxy buffers.
#[derive(Clone, Copy)]
pub enum Buffers {
    /// 16 buffers of 256 KiB, and no temporary file.
    Big,
    /// nginx's default: 8 buffers of 4 KiB, and a temporary file for the part that the client does not read at once.
    Default,
}

/// Serves a folder with sendfile, like a registry whose objects are files.
pub fn origin(program: &Path, folder: &Path, root: &Path, tls: Option<&Tls>) -> Nginx {
    let address = free_address();
    let (listen, files) = match tls {
        None => (format!("{address}"), String::new()),
        Some(tls) => (
            format!("{address} ssl"),
            format!(
                "ssl_certificate {}; ssl_certificate_key {};",
                tls.certificate.display(),
                tls.key.display()
            ),
        ),
    };
    let server = format!(
        "server {{
            listen {listen}; {files}
            root {};
            sendfile on; tcp_nopush on; keepalive_requests 1000000;
            types {{ }}
            location ~ ^/v2/.+/manifests/sha256- {{ default_type application/vnd.oci.image.index.v1+json; }}
            location ~ ^/v2/.+/manifests/ {{ default_type application/vnd.oci.image.manifest.v1+json; }}
            location / {{ default_type application/octet-stream; }}
        }}",
        root.display()
    );
    start(program, folder, "origin", address, &server)
}

/// Starts a reverse proxy in front of `origin` that keeps its connections open.
pub fn proxy(program: &Path, folder: &Path, origin: SocketAddr, tls: bool, buffers: Buffers) -> Nginx {
    let address = free_address();
    let (name, buffers) = match buffers {
        Buffers::Big => (
            "big",
            "proxy_buffers 16 256k; proxy_buffer_size 256k; proxy_busy_buffers_size 512k; proxy_max_temp_file_size 0;",
        ),
        Buffers::Default => ("default", ""),
    };
    let scheme = if tls { "https" } else { "http" };
    let server = format!(
        "upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000; }}
        server {{
            listen {address}; keepalive_requests 1000000;
            location / {{
                proxy_pass {scheme}://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; {buffers}
            }}
        }}"
    );
    start(program, folder, name, address, &server)
}

fn start(program: &Path, folder: &Path, name: &str, address: SocketAddr, server: &str) -> Nginx {
    let folder: PathBuf = folder.join(format!("nginx-{name}-{}", address.port()));
    std::fs::create_dir(&folder).unwrap();
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|place| format!("{place}_temp_path {};\n", folder.join(place).display()))
        .collect();
    // A single process, because workers outlive a master that is killed.
    let text = format!(
        "daemon off; master_process off; pid {}; error_log {} error;
        events {{ worker_connections 1024; }}
        http {{ access_log off; {places} {server} }}",
        folder.join("pid").display(),
        folder.join("error.log").display(),
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text).unwrap();
    let mut command = Process::command(program);
    command
        .arg("-p")
        .arg(&folder)
        .arg("-e")
        .arg(folder.join("error.log"))
        .arg("-c")
        .arg(&file);
    let process = Process::spawn(&mut command);
    await_listener(address);
    Nginx { process, address }
}
