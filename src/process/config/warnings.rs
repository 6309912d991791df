//! What loads and will still surprise: said by `pullgate config check` and by the daemon's journal.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::keys::Keys;
use super::rules::Rules;
use crate::base::strict_toml::problem::Report;
use crate::pull::policy::Requirement;
use crate::trust::Authority;

/// So long before a key's window ends it is said.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Looks at keys and rules as they will be used at `now`.
pub(super) fn look(keys: &Keys, rules: &Rules, now: Timestamp, report: &Report) {
    let mut used = BTreeSet::new();
    for (rule, at) in rules.iter() {
        let Requirement::Signed(signed) = &rule.requirement else {
            continue;
        };
        used.extend(
            signed
                .authorities
                .iter()
                .map(|authority| authority.facts().name()),
        );
        let usable: BTreeSet<_> = signed
            .authorities
            .iter()
            .filter(|authority| authority.facts().validity().check(now).is_ok())
            .map(|authority| match authority.as_ref() {
                Authority::Key(key) => key.signer_id(),
            })
            .collect();
        if usable.len() < signed.threshold.get() {
            let message = match signed.threshold.get() {
                1 => "no key of this rule may be used now: no image satisfies it".to_owned(),
                threshold => format!(
                    "this rule wants {threshold} keys and {} may be used now: no image satisfies it",
                    usable.len()
                ),
            };
            report.warning(
                at,
                message,
                Some("add the key that images are signed with now".to_owned()),
            );
        }
    }
    let mut seen = BTreeMap::new();
    for (key, at) in keys.loaded() {
        if !used.contains(&*key.name) {
            report.warning(at, format!("no rule names the key `{}`", key.name), None);
        }
        if let Some(other) = seen.insert(key.signer_id(), &key.name) {
            let hint = Some("a threshold counts them as one".to_owned());
            report.warning(
                at,
                format!("`{}` and `{other}` are the same public key", key.name),
                hint,
            );
        }
        match (key.validity.check(now), key.validity.not_after) {
            (Err(why), _) => {
                report.warning(at, format!("the key `{}` may not be used: {why}", key.name), None)
            }
            (Ok(()), Some(end)) if end.duration_since(now) < SOON => {
                let hint = Some("have its successor in the rules before".to_owned());
                report.warning(at, format!("the key `{}` ends at {end}", key.name), hint);
            }
            (Ok(()), _) => {}
        }
    }
}
