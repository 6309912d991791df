//! A door that exists in this file alone, with one line in a table: read, shown, compared at a reload, bound and served.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use toml::de::DeTable;

use super::listen::accept::accept_until_stopped;
use super::listen::socket_settings::address;
use super::{
    BindError, ConfiguredDoors, DOORS, Door, DoorKind, DoorLimits, DoorSettings, DoorView, ListenAddress,
    ParentTable, ServeContext, cri, registry, test_gate,
};
use crate::base::strict_toml::problem::{ConfigErrors, ConfigSource, Report};
use crate::base::strict_toml::table::{Setting, Table};
use crate::pull::request::DoorName;

const LATEST: Duration = Duration::from_secs(10);

/// The table with the door of this file beside two real ones.
static KINDS: &[DoorKind] = &[
    DoorKind::new::<registry::RegistryDoorSettings>(),
    DoorKind::new::<GreetingSettings>(),
    DoorKind::new::<cri::CriDoorSettings>(),
];

/// `[door.greeting]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GreetingSettings {
    listen: SocketAddr,
    text: String,
}

impl DoorSettings for GreetingSettings {
    const NAME: DoorName = DoorName::new("greeting");
    const LABEL: &'static str = "greeting door";

    fn read(door: &mut Table<'_>) -> Setting<Self> {
        let Some(mut table) = door.table("greeting", "`[door.greeting]`")? else {
            return Ok(None);
        };
        let listen = address(&mut table, "listen", "127.0.0.1:5999");
        let text = table.required_text("text", "\"hello\"");
        let text = text.map(|text| text.text.to_owned());
        let Some(listen) = listen? else {
            return Err(table.missing("listen", "\"127.0.0.1:5999\""));
        };
        table.finish();
        Ok(Some(Self { listen, text: text? }))
    }

    fn listens_at(&self) -> ListenAddress {
        ListenAddress::Tcp(self.listen)
    }

    fn view(&self) -> DoorView {
        DoorView {
            text: format!("{} with `{}`", self.listen, self.text),
            json: serde_json::json!({ "listen": self.listen, "text": self.text }),
        }
    }

    fn bind(&self, limits: DoorLimits) -> BoxFuture<'_, Result<Box<dyn Door>, BindError>> {
        Box::pin(async move {
            let address = self.listen;
            let listener = TcpListener::bind(address).await;
            let door = GreetingDoor {
                listener: listener.map_err(|source| BindError::Address { address, source })?,
                text: self.text.clone(),
                connections: limits.connections,
            };
            let door: Box<dyn Door> = Box::new(door);
            Ok(door)
        })
    }
}

struct GreetingDoor {
    listener: TcpListener,
    text: String,
    connections: usize,
}

impl Door for GreetingDoor {
    fn listens_at(&self) -> ListenAddress {
        ListenAddress::Tcp(self.listener.local_addr().unwrap())
    }

    fn serve(self: Box<Self>, context: ServeContext) -> BoxFuture<'static, ()> {
        let ServeContext { gate, stop, grace } = context;
        let greeting = format!("{} {}", self.text, gate.settings().policy.generation());
        let serve = move |mut stream: TcpStream, _address| {
            let greeting = greeting.clone();
            async move { stream.write_all(greeting.as_bytes()).await.unwrap() }
        };
        Box::pin(async move {
            accept_until_stopped(self.listener, self.connections, stop, grace, serve).await;
        })
    }
}

/// Reads the doors of a configuration.
fn read(kinds: &[DoorKind], text: &str) -> Result<ConfiguredDoors, ConfigErrors> {
    let source = ConfigSource {
        path: PathBuf::from("/etc/pullgate/pullgate.toml"),
        text: text.to_owned(),
    };
    let report = Report::default();
    let tree = DeTable::parse(&source.text).unwrap();
    let mut root = Table::root(&report, &source, 0, tree.get_ref());
    let mut read = |key, name, parent| match root.table(key, name)? {
        Some(mut table) => {
            let doors = ConfiguredDoors::read(kinds, parent, &mut table);
            table.finish();
            doors
        }
        None => Ok(ConfiguredDoors::default()),
    };
    let daemon = read("daemon", "`[daemon]`", ParentTable::Daemon);
    let doors = read("door", "`[door]`", ParentTable::Door);
    let doors = daemon.and_then(|daemon| Ok(daemon.and(doors?)));
    report.finish(doors, &[&source]).map(|(doors, _warnings)| doors)
}

const GREETING: &str = "[door.greeting]\nlisten = \"127.0.0.1:0\"\ntext = \"hello\"\n";

#[test]
fn a_door_reads_its_own_table_strictly() {
    let doors = read(KINDS, GREETING).unwrap();
    let expected = GreetingSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        text: "hello".to_owned(),
    };
    assert_eq!(doors.get::<GreetingSettings>(), Some(&expected));
    assert_eq!(doors.get::<registry::RegistryDoorSettings>(), None);
    assert!(!doors.is_empty() && read(KINDS, "").unwrap().is_empty());
    assert_eq!(doors.tcp_addresses().collect::<Vec<_>>(), [expected.listen]);

    let errors = read(KINDS, &format!("{GREETING}txt = 1\n"))
        .unwrap_err()
        .to_string();
    assert!(
        errors.contains("unknown key `txt` in `[door.greeting]`"),
        "{errors}"
    );
    let errors = read(KINDS, "[door.greetings]\n").unwrap_err().to_string();
    assert!(errors.contains("did you mean `greeting`?"), "{errors}");
    // All problems of all doors are reported at once.
    let errors = read(KINDS, "[door.registry]\n[door.greeting]\ntext = \"\"\n").unwrap_err();
    assert_eq!(errors.problems.len(), 3, "{errors}");
    // A table of a door that the list of doors does not name is a problem.
    let errors = read(DOORS, GREETING).unwrap_err().to_string();
    assert!(errors.contains("unknown key `greeting` in `[door]`"), "{errors}");
}

#[test]
fn every_kind_of_door_is_shown_open_or_closed() {
    let doors = read(KINDS, GREETING).unwrap();
    let views = KINDS.iter().map(|kind| {
        let view = doors.view(kind);
        (kind.label, kind.json_key, view.map(|view| (view.text, view.json)))
    });
    let json = serde_json::json!({ "listen": "127.0.0.1:0", "text": "hello" });
    assert_eq!(
        views.collect::<Vec<_>>(),
        [
            ("registry door", "door", None),
            (
                "greeting door",
                "greeting",
                Some(("127.0.0.1:0 with `hello`".to_owned(), json))
            ),
            ("CRI door", "cri", None),
        ]
    );
}

#[test]
fn a_reload_finds_the_doors_that_changed() {
    let registry = "[door.registry]\nlisten = \"127.0.0.1:5443\"\n";
    let admission = "[daemon]\nadmission = \"/run/pullgate/admission.sock\"\n";
    let changed = |kinds: &[DoorKind], old: &str, new: &str| {
        let (old, new) = (read(kinds, old).unwrap(), read(kinds, new).unwrap());
        let changed = old.changed(&new, kinds);
        changed.into_iter().map(DoorKind::table).collect::<Vec<_>>()
    };
    let both = format!("{registry}{GREETING}");
    assert_eq!(changed(KINDS, &both, &both), Vec::<String>::new());
    // One of two doors has other settings.
    let other_text = both.replace("hello", "good morning");
    assert_eq!(changed(KINDS, &both, &other_text), ["door.greeting"]);
    let other_default = format!("{registry}default_registry = \"docker.io\"\n{GREETING}");
    assert_eq!(changed(KINDS, &both, &other_default), ["door.registry"]);
    // A door is opened or closed.
    assert_eq!(changed(KINDS, registry, &both), ["door.greeting"]);
    assert_eq!(changed(KINDS, &both, GREETING), ["door.registry"]);
    assert_eq!(changed(KINDS, &both, ""), ["door.registry", "door.greeting"]);
    // The setting of a door may stand in `[daemon]`.
    let other_socket = admission.replace("admission.sock", "other.sock");
    assert_eq!(changed(DOORS, admission, admission), Vec::<String>::new());
    assert_eq!(changed(DOORS, admission, &other_socket), ["daemon"]);
    assert_eq!(changed(DOORS, admission, ""), ["daemon"]);
}

#[tokio::test]
async fn a_door_is_bound_and_served_until_it_is_told_to_stop() {
    let doors = read(KINDS, GREETING).unwrap();
    let bound = doors.bind(KINDS, DoorLimits::default()).await.unwrap();
    let [(name, door)] = <[_; 1]>::try_from(bound).ok().unwrap();
    assert_eq!(name.as_str(), "greeting");
    let address = door.listens_at().tcp().unwrap();
    assert_eq!(door.listens_at().to_string(), address.to_string());
    let gate = test_gate::gate(test_gate::settings("http://registry.test", Vec::new()));
    let stop = CancellationToken::new();
    let serving = tokio::spawn(door.serve(ServeContext {
        gate: Arc::clone(&gate),
        stop: stop.clone(),
        grace: LATEST,
    }));
    let mut greeting = String::new();
    let mut client = TcpStream::connect(address).await.unwrap();
    client.read_to_string(&mut greeting).await.unwrap();
    assert!(greeting.starts_with("hello "), "{greeting}");
    stop.cancel();
    timeout(LATEST, serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_door_that_cannot_be_bound_is_named_in_the_error() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let text = GREETING.replace("127.0.0.1:0", &address.to_string());
    let doors = read(KINDS, &text).unwrap();
    match doors.bind(KINDS, DoorLimits::default()).await {
        Err(error @ BindError::Address { .. }) => {
            assert_eq!(
                error.to_string(),
                format!("the door at {address} could not be opened")
            );
        }
        other => panic!("{:?}", other.map(|bound| bound.len())),
    }
}
