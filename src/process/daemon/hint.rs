//! What to do about a daemon that does not start.

use std::io;
use std::net::SocketAddr;

use super::StartError;
use crate::door::listen::unix_socket::SocketError;
use crate::pull::gate::DerivationsError;

impl StartError {
    /// The next step, where one is known. The errors of the configuration have theirs beside each.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Door { address, source } => of_address(*address, source.kind()),
            Self::Permits(DerivationsError::Open { path, source }) => of_permits(path, source),
            Self::State { path, source } => is_forbidden(source).then(|| owned(&path.display().to_string())),
            Self::Socket(error) => of_socket(error),
            Self::Config(_)
            | Self::NoDoor
            | Self::Permits(DerivationsError::Epoch(_) | DerivationsError::Thread { .. })
            | Self::Settings(_)
            | Self::Signals(_) => None,
        }
    }
}

fn of_address(address: SocketAddr, kind: io::ErrorKind) -> Option<String> {
    if kind == io::ErrorKind::AddrInUse {
        return Some(format!(
            "another process listens there, perhaps another pullgated: `ss -ltnp 'sport = :{}'` as root says which",
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
    is_low.then(|| "ports below 1024 want a privilege that the daemon has not: take another".to_owned())
}

fn of_permits(path: &str, error: &redb::DatabaseError) -> Option<String> {
    if matches!(error, redb::DatabaseError::DatabaseAlreadyOpen) {
        let other =
            "another pullgated uses it: end that one, or give this one another folder in `[daemon] state`";
        return Some(other.to_owned());
    }
    let redb::DatabaseError::Storage(redb::StorageError::Io(error)) = error else {
        return None;
    };
    is_forbidden(error).then(|| owned(path))
}

fn of_socket(error: &SocketError) -> Option<String> {
    match error {
        SocketError::InUse { .. } => {
            Some("perhaps another pullgated runs: `systemctl status pullgated`".to_owned())
        }
        SocketError::NoSocket { path } => Some(format!(
            "see what it is, and remove it if nobody needs it: `ls -l {}`",
            path.display()
        )),
        SocketError::NoGroup { group, .. } => Some(format!("make it: `sudo groupadd --system {group}`")),
        SocketError::GroupLookup { .. } => None,
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

/// Whoever tries the daemon as root first leaves files that the daemon's own user can't open.
fn owned(path: &str) -> String {
    format!("the daemon's user must own it; as it is installed: `sudo chown -R pullgate: {path}`")
}

fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{DerivationsError, SocketError, StartError};

    #[test]
    fn what_the_system_forbids_has_a_next_step() {
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
                StartError::Door {
                    address: "127.0.0.1:443".parse().unwrap(),
                    source: forbidden(),
                },
                "below 1024",
            ),
            (
                StartError::Door {
                    address: "192.0.2.1:5443".parse().unwrap(),
                    source: io::ErrorKind::AddrNotAvailable.into(),
                },
                "no address 192.0.2.1:",
            ),
            (
                StartError::Socket(SocketError::Io {
                    path: "/run/elsewhere/a.sock".into(),
                    source: forbidden(),
                }),
                "may not write to /run/elsewhere:",
            ),
        ] {
            let hint = error.hint().unwrap_or_default();
            assert!(hint.contains(part), "{error}: {hint}");
        }
    }
}
