//! The next step for a daemon that does not start.

use std::io;
use std::net::SocketAddr;

use super::StartError;
use crate::door::BindError;
use crate::door::listen::unix_socket::SocketError;
use crate::pull::gate::DerivationsError;

impl StartError {
    /// Returns the next step, where one is known. Each error of the configuration has its own beside it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bind(BindError::Address { address, source }) => address_hint(*address, source.kind()),
            Self::Permits(DerivationsError::Open { path, source }) => permits_hint(path, source),
            Self::State { path, source } => {
                is_forbidden(source).then(|| ownership_hint(&path.display().to_string()))
            }
            Self::Bind(BindError::Socket(error)) => socket_hint(error),
            Self::Config(_)
            | Self::NoDoor
            | Self::Permits(DerivationsError::Epoch(_) | DerivationsError::Thread { .. })
            | Self::Settings(_)
            | Self::Signals(_) => None,
        }
    }
}

fn address_hint(address: SocketAddr, kind: io::ErrorKind) -> Option<String> {
    if kind == io::ErrorKind::AddrInUse {
        return Some(format!(
            "another process listens there, perhaps another pullgated: run `ss -ltnp 'sport = :{}'` as root to find it",
            address.port()
        ));
    }
    if kind == io::ErrorKind::AddrNotAvailable {
        return Some(format!(
            "this machine has no address {}: `ip address` lists those it has",
            address.ip()
        ));
    }
    let is_low = kind == io::ErrorKind::PermissionDenied && address.port() < 1024;
    is_low.then(|| {
        "ports below 1024 need a privilege that the daemon does not have: choose another port".to_owned()
    })
}

fn permits_hint(path: &str, error: &redb::DatabaseError) -> Option<String> {
    if matches!(error, redb::DatabaseError::DatabaseAlreadyOpen) {
        let other =
            "another pullgated uses it: stop that one, or give this one another folder in `[daemon] state`";
        return Some(other.to_owned());
    }
    let redb::DatabaseError::Storage(redb::StorageError::Io(error)) = error else {
        return None;
    };
    is_forbidden(error).then(|| ownership_hint(path))
}

fn socket_hint(error: &SocketError) -> Option<String> {
    match error {
        SocketError::InUse { .. } => {
            Some("perhaps another pullgated runs: `systemctl status pullgated`".to_owned())
        }
        SocketError::NotASocket { path } => Some(format!(
            "see what it is, and remove it if it is not needed: `ls -l {}`",
            path.display()
        )),
        SocketError::NoGroup { group, .. } => Some(format!("create it: `sudo groupadd --system {group}`")),
        SocketError::GroupLookup { .. } => None,
        // A member of these groups has the rights of root on the node.
        SocketError::Group { group, .. } if matches!(group.as_str(), "root" | "docker") => Some(format!(
            "give the socket a group of its own in place of `{group}`, whose members have the rights of root"
        )),
        SocketError::Group { group, .. } => Some(format!(
            "make the daemon's user a member: `sudo usermod --append --groups {group} pullgate`"
        )),
        SocketError::Io { path, source } => is_forbidden(source).then(|| {
            format!(
                "the daemon's user may not write to {}: /run/pullgate is made for it",
                path.parent().unwrap_or(path).display()
            )
        }),
    }
}

/// A daemon that was first run as root leaves files that the daemon's own user cannot open.
fn ownership_hint(path: &str) -> String {
    format!("the daemon's user must own it; as it is installed: `sudo chown -R pullgate: {path}`")
}

fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{BindError, DerivationsError, SocketError, StartError};

    fn group_refused(group: &str) -> StartError {
        StartError::Bind(BindError::Socket(SocketError::Group {
            path: "/run/pullgate/a.sock".into(),
            group: group.to_owned(),
            source: io::ErrorKind::PermissionDenied.into(),
        }))
    }

    #[test]
    fn a_permission_that_is_denied_has_a_next_step() {
        let forbidden = || io::Error::from(io::ErrorKind::PermissionDenied);
        let storage = || redb::DatabaseError::Storage(redb::StorageError::Io(forbidden()));
        for (error, part) in [
            (
                StartError::State {
                    path: "/var/lib/pullgate/signatures".into(),
                    source: forbidden(),
                },
                "chown -R pullgate: /var/lib/pullgate/signatures",
            ),
            (
                StartError::Permits(DerivationsError::Open {
                    path: "/var/lib/pullgate/permits.redb".to_owned(),
                    source: Box::new(storage()),
                }),
                "chown -R pullgate: /var/lib/pullgate/permits.redb",
            ),
            (
                StartError::Bind(BindError::Address {
                    address: "127.0.0.1:443".parse().unwrap(),
                    source: forbidden(),
                }),
                "below 1024",
            ),
            (
                StartError::Bind(BindError::Address {
                    address: "192.0.2.1:5443".parse().unwrap(),
                    source: io::ErrorKind::AddrNotAvailable.into(),
                }),
                "no address 192.0.2.1:",
            ),
            (
                StartError::Bind(BindError::Socket(SocketError::Io {
                    path: "/run/elsewhere/a.sock".into(),
                    source: forbidden(),
                })),
                "may not write to /run/elsewhere:",
            ),
            (
                group_refused("signers"),
                "usermod --append --groups signers pullgate",
            ),
            (group_refused("root"), "a group of its own"),
            (group_refused("docker"), "a group of its own"),
        ] {
            let hint = error.hint().unwrap_or_default();
            assert!(hint.contains(part), "{error}: {hint}");
        }
    }
}
