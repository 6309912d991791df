//! Measured processes: their CPU time, their memory and their end.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A running process, which is killed on drop.
pub struct Process {
    child: Child,
    /// CPU time of each thread in nanoseconds. The values are kept here because `/proc` forgets a thread that has ended.
    threads: Mutex<HashMap<String, u64>>,
}

impl Process {
    /// Starts a command.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            threads: Mutex::default(),
        }
    }

    /// Returns a command that inherits only `PATH`. Other variables, such as a proxy or a log level, would change the
    /// measurement.
    pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Returns the user and system time since the start, in nanoseconds (`/proc/<pid>/task/*/schedstat`).
    pub fn cpu(&self) -> Duration {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut threads = self.threads.lock().unwrap();
        for task in std::fs::read_dir(tasks).unwrap().flatten() {
            // A thread may end after it was listed.
            let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let used = text.split(' ').next().unwrap().parse().unwrap();
            threads.insert(task.file_name().into_string().unwrap(), used);
        }
        Duration::from_nanos(threads.values().sum())
    }

    /// Returns the resident memory in bytes (`VmRSS`).
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Returns a loopback address whose port is free at this moment.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Waits until a process listens at this address.
pub fn await_listener(address: SocketAddr) {
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "nothing listens at {address}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
