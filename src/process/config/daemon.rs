//! `[daemon]`, `[cache]`, `[limits]` and `[door.*]`: the settings of the process, as opposed to the policy.

use std::time::Duration;

use super::{CacheSettings, DaemonSettings, DaemonTable};
use crate::base::strict_toml::problem::Reported;
use crate::base::strict_toml::table::Table;
use crate::door::listen::socket_settings::{SocketSettings, address};
use crate::door::{ConfiguredDoors, DOORS, DoorLimits, ParentTable};

/// The daemon's own user, and root.
const CONTROL_MODE: u32 = 0o600;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Reads `[daemon]`, with the doors that it opens. The time to drain stands in `[limits]`.
pub(super) fn daemon(table: Option<Table<'_>>) -> Result<DaemonTable, Reported> {
    let Some(mut table) = table else {
        return Ok(DaemonTable::default());
    };
    let known = DaemonSettings::default();
    let state = table
        .text("state")
        .map(|text| text.map(|text| table.path(text.text)));
    let metrics = address(&mut table, "metrics", "127.0.0.1:9464");
    let doors = ConfiguredDoors::read(DOORS, ParentTable::Daemon, &mut table);
    let control = SocketSettings::read(&mut table, "control", "`control`", CONTROL_MODE);
    table.finish();
    Ok(DaemonTable {
        settings: DaemonSettings {
            state: state?.unwrap_or(known.state),
            metrics: metrics?,
            control: control?,
            drain: known.drain,
        },
        doors: doors?,
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

/// Reads `[limits]`, and the time to drain.
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

/// Reads `[door.*]`: an absent table is a closed door.
pub(super) fn doors(table: Option<Table<'_>>) -> Result<ConfiguredDoors, Reported> {
    let Some(mut table) = table else {
        return Ok(ConfiguredDoors::default());
    };
    let doors = ConfiguredDoors::read(DOORS, ParentTable::Door, &mut table);
    table.refuse_unsupported("proxy", "the proxy door");
    table.refuse_unsupported("docker", "the Docker authorization door");
    table.finish();
    doors
}
