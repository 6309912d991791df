use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use redb::{ReadableDatabase as _, ReadableTableMetadata as _};

use super::file::{EDGES, key};
use super::{Derivation, Derivations, DerivationsError, Expiry};
use crate::oci::{ChildKind, Digest, Repository};
use crate::pull::policy::Generation;

fn repository(path: &str) -> Repository {
    Repository::new("registry.test", path).unwrap()
}

fn cover(path: &str, child: u32) -> Derivation {
    let digest = Digest::sha256(&child.to_le_bytes());
    Derivation::new(
        repository(path),
        digest,
        ChildKind::Blob,
        Digest::sha256(b"root"),
        Generation([7; 32]),
    )
}

fn remember(permits: &Derivations, covers: impl Iterator<Item = Derivation>, life: i64) {
    let now = Timestamp::now();
    let life = Expiry {
        expires_at: now + SignedDuration::from_secs(life),
        keys_end_at: Timestamp::MAX,
    };
    permits.remember(covers, now, life, permits.epoch());
}

/// Reopens until the thread of the gate before has let go of the file.
fn reopen(file: &Path, most: usize) -> Derivations {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match Derivations::open(Some(file), most) {
            Ok(permits) => return permits,
            Err(DerivationsError::Open { .. }) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn what_was_admitted_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    let permits = Derivations::open(Some(&file), 1000).unwrap();
    remember(&permits, (0..50).map(|child| cover("app", child)), 3600);
    drop(permits);

    let permits = reopen(&file, 1000);
    let wanted = cover("app", 49);
    let kept = permits
        .parent_of(&repository("app"), wanted.child(), ChildKind::Blob)
        .unwrap();
    assert_eq!(kept.derivation, wanted);
    assert!(kept.expires_at > Timestamp::now());
}

#[test]
fn an_edge_that_stands_is_left_to_the_image_that_brought_it() {
    let permits = Derivations::open(None, 1000).unwrap();
    let of = |root: &[u8], generation| {
        let (child, kind) = (Digest::sha256(b"layer"), ChildKind::Blob);
        Derivation::new(repository("app"), child, kind, Digest::sha256(root), generation)
    };
    let root = || {
        let kept = permits.parent_of(&repository("app"), &Digest::sha256(b"layer"), ChildKind::Blob);
        *kept.unwrap().derivation.root()
    };
    remember(&permits, std::iter::once(of(b"one", Generation([7; 32]))), 3600);
    remember(&permits, std::iter::once(of(b"other", Generation([7; 32]))), 3600);
    assert_eq!(root(), Digest::sha256(b"one"));
    // Under another policy, and with little of its time left, it is anybody's.
    remember(&permits, std::iter::once(of(b"other", Generation([8; 32]))), 60);
    assert_eq!(root(), Digest::sha256(b"other"));
    remember(&permits, std::iter::once(of(b"third", Generation([8; 32]))), 3600);
    assert_eq!(root(), Digest::sha256(b"third"));
}

#[test]
fn an_edge_holds_for_its_own_repository_digest_and_kind_alone() {
    let permits = Derivations::open(None, 1000).unwrap();
    let edge = cover("app", 1);
    remember(&permits, std::iter::once(edge.clone()), 3600);
    assert!(
        permits
            .parent_of(&repository("app"), edge.child(), ChildKind::Blob)
            .is_some()
    );
    assert!(
        permits
            .parent_of(&repository("app"), edge.child(), ChildKind::Manifest)
            .is_none()
    );
    assert!(
        permits
            .parent_of(&repository("app/more"), edge.child(), ChildKind::Blob)
            .is_none()
    );
    assert!(
        permits
            .parent_of(&repository("app"), cover("app", 2).child(), ChildKind::Blob)
            .is_none()
    );
}

#[test]
fn a_full_file_lets_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    let permits = Derivations::open(Some(&file), 100).unwrap();
    for round in 0..10 {
        let children = (0..50).map(|child| cover("app", round * 50 + child));
        remember(&permits, children, 1000 + i64::from(round));
    }
    drop(permits);

    let permits = reopen(&file, 100);
    let newest = cover("app", 499);
    assert!(
        permits
            .parent_of(&repository("app"), newest.child(), ChildKind::Blob)
            .is_some()
    );
    let database = &permits.file.as_ref().unwrap().database;
    let left = database
        .begin_read()
        .unwrap()
        .open_table(EDGES)
        .unwrap()
        .len()
        .unwrap();
    assert!(
        (1..=100).contains(&left),
        "{left} edges are left of a bound of 100"
    );
}

#[test]
fn a_corrupt_file_is_set_aside_and_the_gate_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    std::fs::write(&file, vec![0x55; 8192]).unwrap();
    let permits = Derivations::open(Some(&file), 1000).unwrap();
    let edge = cover("app", 1);
    assert!(
        permits
            .parent_of(&repository("app"), edge.child(), ChildKind::Blob)
            .is_none()
    );
    assert!(folder.path().join("permits.corrupt").exists());
}

#[test]
fn a_value_that_is_none_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    let edge = cover("app", 1);
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
    let permits = Derivations::open(Some(&file), 1000).unwrap();
    assert!(
        permits
            .parent_of(edge.repository(), edge.child(), edge.kind())
            .is_none()
    );
}

#[test]
fn the_disk_is_written_once_for_edges_that_stand() {
    let permits = Derivations::open(None, 1000).unwrap();
    let edge = cover("app", 1);
    remember(&permits, std::iter::once(edge.clone()), 3600);
    let first = permits
        .parent_of(edge.repository(), edge.child(), edge.kind())
        .unwrap();
    remember(&permits, std::iter::once(edge.clone()), 3600);
    let second = permits
        .parent_of(edge.repository(), edge.child(), edge.kind())
        .unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    // With most of its time gone it is renewed.
    remember(&permits, std::iter::once(edge.clone()), 9000);
    let third = permits
        .parent_of(edge.repository(), edge.child(), edge.kind())
        .unwrap();
    assert!(third.expires_at > first.expires_at);
}

#[test]
fn the_epoch_of_the_file_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("permits.redb");
    let permits = Derivations::open(Some(&file), 1000).unwrap();
    let store = permits.file.as_ref().unwrap();
    for (raised, holds) in [(2, 2), (1, 2), (3, 3)] {
        store.raise_epoch(raised).unwrap();
        assert_eq!(store.epoch().unwrap(), holds);
    }
    permits.advance().unwrap();
    assert_eq!(permits.epoch(), 1, "read once, when it was opened");
    drop(permits);
    assert_eq!(Derivations::open(Some(&file), 1000).unwrap().epoch(), 3);
}
