//! The ways in. A door is one file (or folder) and one line of `DOORS`: the file holds its settings, how they are read
//! and shown, how the door binds, and how it serves.

pub mod listen;
pub mod wire_codes;
pub mod admission;
pub mod cri;
pub mod registry;

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::base::strict_toml::problem::Reported;
use crate::base::strict_toml::table::{Setting, Table};
use crate::door::listen::unix_socket::SocketError;
use crate::pull::gate::Gate;
use crate::pull::request::DoorName;

/// One pull's decision, from the door to the answer, when the configuration names no other.
const PULL_DEADLINE: Duration = Duration::from_secs(30);

/// Every door. The configuration, a reload, `pullgate config show`, the daemon's start and the metrics walk this list, each
/// in this order.
///
/// The admission door fits although its setting is a key of `[daemon]`, a spelling that must stay: only the table that
/// holds the setting differs ([`ParentTable`]). The sockets for control and metrics are not doors: no pull comes through
/// them.
pub(crate) static DOORS: &[DoorKind] = &[
    DoorKind::new::<registry::RegistryDoorSettings>(),
    DoorKind::new::<admission::AdmissionDoorSettings>(),
    DoorKind::new::<cri::CriDoorSettings>(),
];

/// The settings of one door: what the author of a door implements, beside [`Door`].
///
/// The comparison of a reload is the derived [`PartialEq`]: it leaves out no setting, as a comparison written by hand could.
pub(crate) trait DoorSettings: fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The name of the door in logs and metrics. In the configuration it is the key of the door's table.
    const NAME: DoorName;

    /// The table that holds the setting of the door.
    const PARENT: ParentTable = ParentTable::Door;

    /// The key of the door in `pullgate config show --json`.
    const JSON_KEY: &'static str = Self::NAME.as_str();

    /// The name of the door in the text of `pullgate config show`.
    const LABEL: &'static str;

    /// Whether blobs pass through the door, so that their counters start at zero.
    const SERVES_BLOBS: bool = false;

    /// Reads the setting of the door out of its parent table. An absent setting is a closed door.
    fn read(parent: &mut Table<'_>) -> Setting<Self>
    where
        Self: Sized;

    /// Returns the address on which the door is to listen.
    fn listens_at(&self) -> ListenAddress;

    /// Returns what `pullgate config show` prints of the door.
    fn view(&self) -> DoorView;

    /// Binds the door: everything that can fail fails here, before the daemon is ready.
    ///
    /// # Errors
    /// See [`BindError`].
    fn bind(&self, limits: DoorLimits) -> BoxFuture<'_, Result<Box<dyn Door>, BindError>>;
}

/// A door that is bound and not yet served.
pub(crate) trait Door: Send {
    /// Returns the address that was bound.
    fn listens_at(&self) -> ListenAddress;

    /// Serves until it is told to stop, then lets the calls in progress finish for at most the grace period.
    fn serve(self: Box<Self>, context: ServeContext) -> BoxFuture<'static, ()>;
}

/// The table of the configuration in which the setting of a door stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParentTable {
    /// `[daemon]`: the key is the name of the door.
    Daemon,
    /// `[door]`: the door has the table `[door.NAME]`.
    Door,
}

/// What `pullgate config show` prints of an open door.
pub(crate) struct DoorView {
    /// The rest of the line that begins with the label of the door.
    pub(crate) text: String,
    /// The value of the key of the door.
    pub(crate) json: serde_json::Value,
}

/// An address on which a door listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address with the port that was bound.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// The parts that a door needs to serve.
#[derive(Clone)]
pub struct ServeContext {
    /// The gate that decides on each pull.
    pub gate: Arc<Gate>,
    /// Cancelled when the door must stop.
    pub stop: CancellationToken,
    /// The time that the calls in progress have to finish after that.
    pub grace: Duration,
}

/// `[limits]`: the most that one client of a door may take. A door is given them when it is bound. They are not part of its
/// own settings, so a change of them is not a change of every door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorLimits {
    /// The time within which a pull must be decided.
    pub pull: Duration,
    /// The time within which a blob must have passed through.
    pub blob: Duration,
    /// The number of connections to a door at one time; the next one waits.
    pub connections: usize,
}

/// Why a door could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address could not be bound, or the TLS files could not be used.
    #[error("the door at {address} could not be opened")]
    Address {
        /// The address of the settings.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The Unix socket could not be created.
    #[error("a socket could not be made")]
    Socket(#[from] SocketError),
}

/// One kind of door: a line of [`DOORS`].
#[derive(Clone, Copy)]
pub(crate) struct DoorKind {
    pub(crate) name: DoorName,
    pub(crate) parent: ParentTable,
    pub(crate) json_key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) serves_blobs: bool,
    read: fn(&mut Table<'_>) -> Setting<Arc<dyn AnyDoorSettings>>,
}

/// The doors that a configuration opens, each with its settings.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredDoors(Vec<Arc<dyn AnyDoorSettings>>);

/// The settings of a door of any kind. [`DoorSettings`] has constants and compares with its own type alone, so it cannot be
/// a trait object; the blanket implementation makes one of it, and is the only one.
trait AnyDoorSettings: Any + fmt::Debug + Send + Sync {
    fn name(&self) -> DoorName;
    fn is_same(&self, other: &dyn AnyDoorSettings) -> bool;
    fn listens_at(&self) -> ListenAddress;
    fn view(&self) -> DoorView;
    fn bind(&self, limits: DoorLimits) -> BoxFuture<'_, Result<Box<dyn Door>, BindError>>;
}

impl<S: DoorSettings> AnyDoorSettings for S {
    fn name(&self) -> DoorName {
        S::NAME
    }

    fn is_same(&self, other: &dyn AnyDoorSettings) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<S>() == Some(self)
    }

    fn listens_at(&self) -> ListenAddress {
        DoorSettings::listens_at(self)
    }

    fn view(&self) -> DoorView {
        DoorSettings::view(self)
    }

    fn bind(&self, limits: DoorLimits) -> BoxFuture<'_, Result<Box<dyn Door>, BindError>> {
        DoorSettings::bind(self, limits)
    }
}

impl DoorKind {
    /// The kind of door whose settings are `S`.
    pub(crate) const fn new<S: DoorSettings>() -> Self {
        Self {
            name: S::NAME,
            parent: S::PARENT,
            json_key: S::JSON_KEY,
            label: S::LABEL,
            serves_blobs: S::SERVES_BLOBS,
            read: |parent| {
                let settings = S::read(parent)?;
                Ok(settings.map(|settings| -> Arc<dyn AnyDoorSettings> { Arc::new(settings) }))
            },
        }
    }

    /// Returns the table that holds the settings, as `needs_restart` and the log name it.
    pub(crate) fn table(&self) -> String {
        match self.parent {
            ParentTable::Daemon => "daemon".to_owned(),
            ParentTable::Door => format!("door.{}", self.name.as_str()),
        }
    }
}

impl ConfiguredDoors {
    /// Reads the settings of the doors of `kinds` that stand in this table. All of them are read before the first problem
    /// is returned, so that all problems are reported.
    pub(crate) fn read(
        kinds: &[DoorKind],
        parent: ParentTable,
        table: &mut Table<'_>,
    ) -> Result<Self, Reported> {
        let here = kinds.iter().filter(|kind| kind.parent == parent);
        let read: Vec<_> = here.map(|kind| (kind.read)(table)).collect();
        let doors = read
            .into_iter()
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>();
        doors.map(Self)
    }

    /// Returns these doors and those of another table.
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Returns the settings of the door whose settings are `S`, if it is open.
    #[must_use]
    pub fn get<S: Any>(&self) -> Option<&S> {
        self.0.iter().find_map(|door| {
            let door: &dyn Any = &**door;
            door.downcast_ref::<S>()
        })
    }

    /// Whether the configuration opens no door.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the TCP addresses on which the doors are to listen.
    pub(crate) fn tcp_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|door| door.listens_at().tcp())
    }

    /// Returns what `pullgate config show` prints of this door, or `None` if it is closed.
    pub(crate) fn view(&self, kind: &DoorKind) -> Option<DoorView> {
        self.find(kind.name).map(AnyDoorSettings::view)
    }

    /// Binds each door, in the order of `kinds`.
    ///
    /// # Errors
    /// The [`BindError`] of the first door that could not be bound.
    pub(crate) async fn bind(
        &self,
        kinds: &[DoorKind],
        limits: DoorLimits,
    ) -> Result<Vec<(DoorName, Box<dyn Door>)>, BindError> {
        let mut bound = Vec::new();
        for kind in kinds {
            if let Some(settings) = self.find(kind.name) {
                bound.push((kind.name, settings.bind(limits).await?));
            }
        }
        Ok(bound)
    }

    /// Returns the kinds of the doors that differ: opened, closed, or with other settings.
    pub(crate) fn changed<'k>(&self, new: &Self, kinds: &'k [DoorKind]) -> Vec<&'k DoorKind> {
        let differs = |kind: &&DoorKind| match (self.find(kind.name), new.find(kind.name)) {
            (Some(old), Some(new)) => !old.is_same(new),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        kinds.iter().filter(differs).collect()
    }

    fn find(&self, name: DoorName) -> Option<&dyn AnyDoorSettings> {
        self.0.iter().find(|door| door.name() == name).map(|door| &**door)
    }
}

impl ListenAddress {
    /// Returns the TCP address. The gate sends no request to an address of its own.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => path.display().fmt(formatter),
        }
    }
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            pull: PULL_DEADLINE,
            blob: Duration::from_secs(6 * 60 * 60),
            connections: 1024,
        }
    }
}

#[cfg(test)]
mod test_gate;
#[cfg(test)]
mod tests;
