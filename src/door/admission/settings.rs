//! `[daemon] admission`: the socket of the door. The setting is older than `[door]` and keeps its place.

use futures_util::future::BoxFuture;

use super::AdmissionDoor;
use crate::base::strict_toml::table::{Setting, Table};
use crate::door::listen::socket_settings::SocketSettings;
use crate::door::{BindError, Door, DoorLimits, DoorSettings, DoorView, ListenAddress, ParentTable};
use crate::pull::request::DoorName;

/// The daemon's user, root, and the members of the socket's group.
const DEFAULT_MODE: u32 = 0o660;

/// `[daemon] admission`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionDoorSettings {
    /// The socket on which the door listens.
    pub socket: SocketSettings,
}

impl DoorSettings for AdmissionDoorSettings {
    const NAME: DoorName = DoorName::new("admission");
    const PARENT: ParentTable = ParentTable::Daemon;
    const LABEL: &'static str = "admission";

    fn read(daemon: &mut Table<'_>) -> Setting<Self> {
        let socket = SocketSettings::read(daemon, "admission", "`admission`", DEFAULT_MODE)?;
        Ok(socket.map(|socket| Self { socket }))
    }

    fn listens_at(&self) -> ListenAddress {
        ListenAddress::Unix(self.socket.path.clone())
    }

    fn view(&self) -> DoorView {
        let path = self.socket.path.display().to_string();
        DoorView {
            json: path.clone().into(),
            text: path,
        }
    }

    fn bind(&self, limits: DoorLimits) -> BoxFuture<'_, Result<Box<dyn Door>, BindError>> {
        Box::pin(async move {
            let door = AdmissionDoor::bind(self, limits).await?;
            let door: Box<dyn Door> = Box::new(door);
            Ok(door)
        })
    }
}
