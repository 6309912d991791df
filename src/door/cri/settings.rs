//! `[door.cri]`: its settings, and how they are read.

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use serde_json::json;

use super::CriDoor;
use crate::base::strict_toml::problem::Reported;
use crate::base::strict_toml::table::{Setting, Table};
use crate::door::listen::socket_settings::SocketSettings;
use crate::door::{BindError, Door, DoorLimits, DoorSettings, DoorView, ListenAddress};
use crate::pull::request::DoorName;

/// The daemon's own user, and root: write access to this socket is equivalent to root on the node.
const DEFAULT_MODE: u32 = 0o600;

/// `[door.cri]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriDoorSettings {
    /// The socket on which the door listens.
    pub socket: SocketSettings,
    /// The path of the runtime's socket.
    pub runtime: PathBuf,
    /// Whether the door reports an image that is on the node but was not admitted as absent.
    pub recheck_present: bool,
}

impl DoorSettings for CriDoorSettings {
    const NAME: DoorName = DoorName::new("cri");
    const LABEL: &'static str = "CRI door";

    fn read(door: &mut Table<'_>) -> Setting<Self> {
        match door.table("cri", "`[door.cri]`")? {
            Some(table) => Self::read_table(table).map(Some),
            None => Ok(None),
        }
    }

    fn listens_at(&self) -> ListenAddress {
        ListenAddress::Unix(self.socket.path.clone())
    }

    fn view(&self) -> DoorView {
        let (listen, runtime) = (self.socket.path.display(), self.runtime.display());
        let rechecks = if self.recheck_present {
            "; recheck_present"
        } else {
            ""
        };
        DoorView {
            text: format!("{listen} before {runtime}{rechecks}"),
            json: json!({
                "listen": listen.to_string(),
                "runtime": runtime.to_string(),
                "recheck_present": self.recheck_present,
            }),
        }
    }

    fn bind(&self, limits: DoorLimits) -> BoxFuture<'_, Result<Box<dyn Door>, BindError>> {
        Box::pin(async move {
            let door = CriDoor::bind(self.clone(), limits).await?;
            let door: Box<dyn Door> = Box::new(door);
            Ok(door)
        })
    }
}

impl CriDoorSettings {
    /// Reads the table. Every setting is read before the first problem is returned, so that all problems are reported.
    fn read_table(mut table: Table<'_>) -> Result<Self, Reported> {
        let socket = SocketSettings::read_keys(&mut table, "\"/run/pullgate/cri.sock\"", DEFAULT_MODE);
        let runtime = table.required_text("runtime", "\"/run/containerd/containerd.sock\"");
        let runtime = runtime.map(|text| table.path(text.text));
        let recheck_present = table.boolean("recheck_present");
        // The door would call itself without end.
        if let (Ok(socket), Ok(runtime)) = (&socket, &runtime)
            && socket.path == *runtime
        {
            table.report().problem(
                table.key_span("runtime"),
                "`runtime` is the door's own socket",
                Some("name the socket of the runtime: `/run/containerd/containerd.sock`".to_owned()),
            );
        }
        table.finish();
        Ok(Self {
            socket: socket?,
            runtime: runtime?,
            recheck_present: recheck_present?.unwrap_or(false),
        })
    }
}
