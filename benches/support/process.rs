//! Processes that are measured: what they used of the CPU and the memory, and their end.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A running process; it is ended when this is dropped.
pub struct Process {
    child: Child,
    /// Nanoseconds on a CPU by thread. Kept, because what a thread used is gone from /proc when it ends.
    threads: Mutex<HashMap<String, u64>>,
}

impl Process {
    /// Starts it with nothing of our environment but `PATH` and what the command sets: a proxy or a log setting would
    /// be measured as well.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            threads: Mutex::default(),
        }
    }

    /// A command that inherits `PATH` alone.
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

    /// User and system time since its start, in nanosecond grain (`/proc/<pid>/task/*/schedstat`).
    pub fn cpu(&self) -> Duration {
        let tasks = format!("/proc/{}/task", self.child.id());
        let mut threads = self.threads.lock().unwrap();
        for task in std::fs::read_dir(tasks).unwrap().flatten() {
            // A thread may end between the list and the look.
            let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let used = text.split(' ').next().unwrap().parse().unwrap();
            threads.insert(task.file_name().into_string().unwrap(), used);
        }
        Duration::from_nanos(threads.values().sum())
    }

    /// Resident memory in bytes (`VmRSS`).
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
        // It may have ended by itself; then there is nothing to end.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A port of loopback that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Waits until somebody listens there.
pub fn await_listener(address: SocketAddr) {
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "nobody listens at {address}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
