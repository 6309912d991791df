use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use redb::{ReadableDatabase as _, ReadableTableMetadata as _};

use super::file::{EDGES, key};
use super::{Derivation, Derivations, DerivationsError, Expiry, StoredDerivation, after};
use crate::oci::{ChildKind, Digest, Repository};
use crate::pull::policy::Generation;

fn repository(path: &str) -> Repository {
    Repository::new("registry.test", path).unwrap()
}

fn derivation(path: &str, child: u32) -> Derivation {
    let digest = Digest::sha256(&child.to_le_bytes());
    Derivation::new(
        repository(path),
        digest,
        ChildKind::Blob,
        Digest::sha256(b"root"),
        Generation([7; 32]),
    )
}

fn remember(derivations: &Derivations, children: impl Iterator<Item = Derivation>, life: i64) {
    let now = Timestamp::now();
    let life = Expiry {
        expires_at: now + SignedDuration::from_secs(life),
        keys_end_at: Timestamp::MAX,
    };
    derivations.remember(children, now, life, derivations.epoch());
}

/// Opens the file again, as soon as the thread of the earlier gate has closed it.
fn reopen(file: &Path, most: usize) -> Derivations {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match Derivations::open(Some(file), most) {
            Ok(derivations) => return derivations,
            Err(DerivationsError::Open { .. }) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn derivations_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    let derivations = Derivations::open(Some(&file), 1000).unwrap();
    remember(&derivations, (0..50).map(|child| derivation("app", child)), 3600);
    drop(derivations);

    let derivations = reopen(&file, 1000);
    let wanted = derivation("app", 49);
    let kept = derivations
        .parent_of(&repository("app"), wanted.child(), ChildKind::Blob)
        .unwrap();
    assert_eq!(kept.derivation, wanted);
    assert!(kept.expires_at > Timestamp::now());
}

#[test]
fn a_current_derivation_keeps_its_root() {
    let derivations = Derivations::open(None, 1000).unwrap();
    let of = |root: &[u8], generation| {
        let (child, kind) = (Digest::sha256(b"layer"), ChildKind::Blob);
        Derivation::new(repository("app"), child, kind, Digest::sha256(root), generation)
    };
    let root = || {
        let kept = derivations.parent_of(&repository("app"), &Digest::sha256(b"layer"), ChildKind::Blob);
        *kept.unwrap().derivation.root()
    };
    remember(
        &derivations,
        std::iter::once(of(b"one", Generation([7; 32]))),
        3600,
    );
    remember(
        &derivations,
        std::iter::once(of(b"other", Generation([7; 32]))),
        3600,
    );
    assert_eq!(root(), Digest::sha256(b"one"));
    // Under another policy, or with little of its time left, another root may take it over.
    remember(
        &derivations,
        std::iter::once(of(b"other", Generation([8; 32]))),
        60,
    );
    assert_eq!(root(), Digest::sha256(b"other"));
    remember(
        &derivations,
        std::iter::once(of(b"third", Generation([8; 32]))),
        3600,
    );
    assert_eq!(root(), Digest::sha256(b"third"));
}

#[test]
fn a_derivation_holds_only_for_its_own_repository_digest_and_kind() {
    let derivations = Derivations::open(None, 1000).unwrap();
    let edge = derivation("app", 1);
    remember(&derivations, std::iter::once(edge.clone()), 3600);
    assert!(
        derivations
            .parent_of(&repository("app"), edge.child(), ChildKind::Blob)
            .is_some()
    );
    assert!(
        derivations
            .parent_of(&repository("app"), edge.child(), ChildKind::Manifest)
            .is_none()
    );
    assert!(
        derivations
            .parent_of(&repository("app/more"), edge.child(), ChildKind::Blob)
            .is_none()
    );
    assert!(
        derivations
            .parent_of(&repository("app"), derivation("app", 2).child(), ChildKind::Blob)
            .is_none()
    );
}

#[test]
fn a_full_file_drops_the_oldest_derivations() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    let derivations = Derivations::open(Some(&file), 100).unwrap();
    for round in 0..10 {
        let children = (0..50).map(|child| derivation("app", round * 50 + child));
        remember(&derivations, children, 1000 + i64::from(round));
    }
    drop(derivations);

    let derivations = reopen(&file, 100);
    let newest = derivation("app", 499);
    assert!(
        derivations
            .parent_of(&repository("app"), newest.child(), ChildKind::Blob)
            .is_some()
    );
    let database = &derivations.file.as_ref().unwrap().database;
    let left = database
        .begin_read()
        .unwrap()
        .open_table(EDGES)
        .unwrap()
        .len()
        .unwrap();
    assert!(
        (1..=100).contains(&left),
        "{left} derivations are left of a bound of 100"
    );
}

#[test]
fn a_corrupt_file_is_set_aside_and_the_gate_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    std::fs::write(&file, vec![0x55; 8192]).unwrap();
    let derivations = Derivations::open(Some(&file), 1000).unwrap();
    let edge = derivation("app", 1);
    assert!(
        derivations
            .parent_of(&repository("app"), edge.child(), ChildKind::Blob)
            .is_none()
    );
    assert!(folder.path().join("permits.corrupt").exists());
}

#[test]
fn an_invalid_value_of_the_file_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    let edge = derivation("app", 1);
    {
        let database = redb::Database::create(&file).unwrap();
        let transaction = database.begin_write().unwrap();
        let key = key(edge.repository(), edge.child(), edge.kind());
        transaction
            .open_table(EDGES)
            .unwrap()
            .insert(&key, &b"\xff\xff\xff"[..])
            .unwrap();
        transaction.commit().unwrap();
    }
    let derivations = Derivations::open(Some(&file), 1000).unwrap();
    assert!(
        derivations
            .parent_of(edge.repository(), edge.child(), edge.kind())
            .is_none()
    );
}

#[test]
fn a_current_derivation_is_not_written_again() {
    let derivations = Derivations::open(None, 1000).unwrap();
    let edge = derivation("app", 1);
    remember(&derivations, std::iter::once(edge.clone()), 3600);
    let first = derivations
        .parent_of(edge.repository(), edge.child(), edge.kind())
        .unwrap();
    remember(&derivations, std::iter::once(edge.clone()), 3600);
    let second = derivations
        .parent_of(edge.repository(), edge.child(), edge.kind())
        .unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    // It is renewed when most of its time is over.
    remember(&derivations, std::iter::once(edge.clone()), 9000);
    let third = derivations
        .parent_of(edge.repository(), edge.child(), edge.kind())
        .unwrap();
    assert!(third.expires_at > first.expires_at);
}

#[test]
fn the_epoch_of_the_file_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    let derivations = Derivations::open(Some(&file), 1000).unwrap();
    let store = derivations.file.as_ref().unwrap();
    for (raised, holds) in [(2, 2), (1, 2), (3, 3)] {
        store.raise_epoch(raised).unwrap();
        assert_eq!(store.epoch().unwrap(), holds);
    }
    derivations.advance().unwrap();
    assert_eq!(
        derivations.epoch(),
        1,
        "the epoch is read once, when the file is opened"
    );
    drop(derivations);
    assert_eq!(Derivations::open(Some(&file), 1000).unwrap().epoch(), 3);
}

const HOUR: Duration = Duration::from_secs(3600);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn derivations_expire_with_the_verdict_the_root_or_the_first_key() {
    let expiry = |limit, keys: &[i64]| {
        let keys = keys.iter().map(|key| at(*key));
        let Expiry {
            expires_at,
            keys_end_at,
        } = Expiry::new(at(1000), HOUR, limit, keys);
        (expires_at, keys_end_at)
    };
    assert_eq!(expiry(Timestamp::MAX, &[]), (at(4600), Timestamp::MAX));
    assert_eq!(expiry(at(2000), &[]), (at(2000), Timestamp::MAX));
    assert_eq!(expiry(at(2000), &[9000, 8000]), (at(2000), at(8000)));
    assert_eq!(expiry(Timestamp::MAX, &[3000, 1500]), (at(1500), at(1500)));
    // A key that has expired already did not sign.
    assert_eq!(expiry(Timestamp::MAX, &[999, 1000]), (at(4600), Timestamp::MAX));
    assert_eq!(after(at(1000), Duration::MAX), Timestamp::MAX);
}

#[test]
fn a_derivation_is_current_for_its_policy_its_epoch_and_its_time() {
    let stored = StoredDerivation {
        derivation: derivation("app", 1),
        expires_at: at(2000),
        keys_end_at: at(3000),
        epoch: 4,
    };
    let generation = Generation([7; 32]);
    assert!(stored.is_current(generation, 4, at(1999)));
    assert!(!stored.is_current(generation, 4, at(2000)), "it has expired");
    assert!(!stored.is_current(generation, 5, at(1999)));
    assert!(!stored.is_current(generation, 3, at(1999)));
    assert!(!stored.is_current(Generation([8; 32]), 4, at(1999)));
    assert!(stored.belongs_to(generation, 4));
    assert!(!stored.belongs_to(generation, 5));
    assert!(!stored.belongs_to(Generation([8; 32]), 4));
}

#[test]
fn a_derivation_is_renewed_when_half_of_its_time_is_over() {
    for (renewed_at, is_renewed) in [(1000, false), (1499, false), (1500, true), (2000, true)] {
        let derivations = Derivations::open(None, 1000).unwrap();
        let expiry = |now: i64| Expiry {
            expires_at: at(now + 1000),
            keys_end_at: Timestamp::MAX,
        };
        let edge = derivation("app", 1);
        derivations.remember(std::iter::once(edge.clone()), at(1000), expiry(1000), 0);
        derivations.remember(
            std::iter::once(edge.clone()),
            at(renewed_at),
            expiry(renewed_at),
            0,
        );
        let stored = derivations
            .parent_of(edge.repository(), edge.child(), edge.kind())
            .unwrap();
        let expected = if is_renewed { renewed_at + 1000 } else { 2000 };
        assert_eq!(stored.expires_at, at(expected), "renewed at {renewed_at}");
    }
}

#[test]
fn a_derivation_of_an_earlier_epoch_is_replaced() {
    let derivations = Derivations::open(None, 1000).unwrap();
    let edge = derivation("app", 1);
    remember(&derivations, std::iter::once(edge.clone()), 3600);
    derivations.advance().unwrap();
    remember(&derivations, std::iter::once(edge.clone()), 3600);
    let stored = derivations
        .parent_of(edge.repository(), edge.child(), edge.kind())
        .unwrap();
    assert_eq!(stored.epoch, 1);
}

#[test]
fn keys_of_the_file_differ_by_each_part() {
    let digest = Digest::sha256(b"x");
    let all = [
        key(&repository("app"), &digest, ChildKind::Blob),
        key(&repository("app"), &digest, ChildKind::Manifest),
        key(&repository("app/more"), &digest, ChildKind::Blob),
        key(&repository("app"), &Digest::sha256(b"y"), ChildKind::Blob),
        key(
            &Repository::new("other.test", "app").unwrap(),
            &digest,
            ChildKind::Blob,
        ),
    ];
    assert_eq!(
        std::collections::BTreeSet::from(all).len(),
        all.len(),
        "two of {all:?} are one"
    );
}

#[test]
fn every_field_survives_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    let derivations = Derivations::open(Some(&file), 1000).unwrap();
    derivations.advance().unwrap();
    let edge = derivation("app", 1);
    let expiry = Expiry {
        expires_at: at(5000),
        keys_end_at: at(6000),
    };
    derivations.remember(std::iter::once(edge.clone()), at(1000), expiry, 1);
    drop(derivations);
    let derivations = reopen(&file, 1000);
    assert_eq!(derivations.epoch(), 1);
    let stored = derivations
        .parent_of(edge.repository(), edge.child(), edge.kind())
        .unwrap();
    assert_eq!(stored.derivation, edge);
    assert_eq!(
        (stored.expires_at, stored.keys_end_at, stored.epoch),
        (at(5000), at(6000), 1)
    );
}
