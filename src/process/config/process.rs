//! `[daemon]`, `[cache]`, `[limits]` and `[door.*]`: the process rather than the policy.

use std::time::Duration;

use super::{CacheSettings, DaemonSettings};
use crate::base::strict_toml::problem::Reported;
use crate::base::strict_toml::table::Table;
use crate::door::DoorLimits;
use crate::door::admission::AdmissionDoorSettings;
use crate::door::cri::CriDoorSettings;
use crate::door::listen::socket_settings::{SocketSettings, address};
use crate::door::registry::RegistryDoorSettings;

/// The daemon's own user, and root.
const CONTROL_MODE: u32 = 0o600;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Reads `[daemon]`; how long it drains stands in `[limits]`.
pub(super) fn daemon(table: Option<Table<'_>>) -> Result<DaemonSettings, Reported> {
    let known = DaemonSettings::default();
    let Some(mut table) = table else { return Ok(known) };
    let state = table
        .text("state")
        .map(|text| text.map(|text| table.path(text.text)));
    let metrics = address(&mut table, "metrics", "127.0.0.1:9464");
    let admission = AdmissionDoorSettings::read(&mut table);
    let control = SocketSettings::read(&mut table, "control", "`control`", CONTROL_MODE);
    table.finish();
    Ok(DaemonSettings {
        state: state?.unwrap_or(known.state),
        metrics: metrics?,
        admission: admission?,
        control: control?,
        drain: known.drain,
    })
}

/// Reads `[cache]`.
pub(super) fn cache(table: Option<Table<'_>>) -> Result<CacheSettings, Reported> {
    let known = CacheSettings::default();
    let Some(mut table) = table else { return Ok(known) };
    let positive = table.duration("positive", Duration::ZERO..=24 * HOUR);
    let negative = table.duration("negative", Duration::ZERO..=HOUR);
    let verdicts = table.count("verdicts", 1..=10_000_000);
    let permits = table.count("permits", 1..=100_000_000);
    table.finish();
    Ok(CacheSettings {
        positive: positive?.unwrap_or(known.positive),
        negative: negative?.unwrap_or(known.negative),
        verdicts: verdicts?.map_or(known.verdicts, |(count, _)| count),
        permits: permits?.map_or(known.permits, |(count, _)| count),
    })
}

/// Reads `[limits]`: with it, how long the daemon drains.
pub(super) fn limits(table: Option<Table<'_>>) -> Result<(DoorLimits, Duration), Reported> {
    let (known, drain) = (DoorLimits::default(), DaemonSettings::default().drain);
    let Some(mut table) = table else {
        return Ok((known, drain));
    };
    let pull = table.duration("pull", SECOND..=5 * MINUTE);
    let blob = table.duration("blob", SECOND..=48 * HOUR);
    let connections = table.count("connections", 1..=65_536);
    let drains = table.duration("drain", Duration::ZERO..=10 * MINUTE);
    table.finish();
    Ok((
        DoorLimits {
            pull: pull?.unwrap_or(known.pull),
            blob: blob?.unwrap_or(known.blob),
            connections: connections?.map_or(known.connections, |(count, _)| count),
        },
        drains?.unwrap_or(drain),
    ))
}

/// The doors that `[door.*]` opens.
#[derive(Default)]
pub(super) struct DoorTables {
    pub(super) registry: Option<RegistryDoorSettings>,
    pub(super) cri: Option<CriDoorSettings>,
}

/// Reads `[door.*]`: an absent table is a closed door.
pub(super) fn doors(table: Option<Table<'_>>) -> Result<DoorTables, Reported> {
    let Some(mut table) = table else {
        return Ok(DoorTables::default());
    };
    let registry = match table.table("registry", "`[door.registry]`") {
        Ok(Some(inner)) => RegistryDoorSettings::read(inner).map(Some),
        Ok(None) => Ok(None),
        Err(reported) => Err(reported),
    };
    let cri = match table.table("cri", "`[door.cri]`") {
        Ok(Some(inner)) => CriDoorSettings::read(inner).map(Some),
        Ok(None) => Ok(None),
        Err(reported) => Err(reported),
    };
    table.later("proxy", "the proxy door");
    table.later("docker", "the Docker authorization door");
    table.finish();
    Ok(DoorTables {
        registry: registry?,
        cri: cri?,
    })
}
