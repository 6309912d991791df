//! The origin: nginx, or a server of our own if nginx is not installed. Our own server has one thread per connection and
//! sends files with `std::io::copy`, which uses sendfile on Linux.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::process::Process;
use super::relay::printed_address;
use super::tls::Tls;
use super::{installed, nginx};

/// The environment variable that makes a child process of the bench the origin. Its value is the folder to serve.
const ROOT: &str = "PULLGATE_BENCH_ORIGIN";

/// A running origin.
pub struct Origin {
    pub process: Process,
    pub address: SocketAddr,
}

impl Origin {
    /// Serves a folder. Only nginx serves TLS: returns `None` if it is needed and not installed.
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
        let address = printed_address(&mut process);
        Some(Self { process, address })
    }
}

/// Becomes the origin if the parent process set the environment variable for it.
pub fn serve_if_selected() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else {
        return;
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    for stream in listener.incoming().flatten() {
        let root = root.clone();
        // A client that disconnects ends only its own thread.
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
