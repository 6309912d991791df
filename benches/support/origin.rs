//! The origin: nginx, or where there is none a server of our own that sends files (a thread a connection; on Linux
//! `std::io::copy` from a file to a socket is sendfile).

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::process::Process;
use super::relay::said_address;
use super::tls::Tls;
use super::{installed, nginx};

const ROOT: &str = "PULLGATE_BENCH_ORIGIN";

/// A running origin.
pub struct Origin {
    pub process: Process,
    pub address: SocketAddr,
}

impl Origin {
    /// Serves a folder. Over TLS by nginx alone: none, where that is not installed.
    pub fn start(folder: &Path, root: &Path, tls: Option<&Tls>) -> Option<Self> {
        if let Some(program) = installed("nginx") {
            let nginx::Nginx { process, address } = nginx::origin(&program, folder, root, tls);
            return Some(Self { process, address });
        }
        if tls.is_some() {
            return None;
        }
        let mut command = Process::command(std::env::current_exe().unwrap());
        command.env(ROOT, root).stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let address = said_address(&mut process);
        Some(Self { process, address })
    }
}

/// Is the origin, if a parent said so.
pub fn serve_if_asked() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else {
        return;
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    for stream in listener.incoming().flatten() {
        let root = root.clone();
        // A client that goes ends its thread and nothing else.
        std::thread::spawn(move || connection(&root, stream).ok());
    }
    std::process::exit(0);
}

fn connection(root: &Path, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if reader.read_line(&mut request)? == 0 {
                return Ok(());
            }
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let media_type = match path {
            path if path.contains("/manifests/sha256-") => "application/vnd.oci.image.index.v1+json",
            path if path.contains("/manifests/") => "application/vnd.oci.image.manifest.v1+json",
            _ => "application/octet-stream",
        };
        let Some(mut file) = File::open(root.join(path.trim_start_matches('/')))
            .ok()
            .filter(is_file)
        else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let length = file.metadata()?.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        if method == "GET" {
            std::io::copy(&mut file, &mut stream)?;
        }
    }
}

fn is_file(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file())
}
