//! Which key of a rule a record is verified under, and when that key may be used.

use super::*;

#[test]
fn keys_are_chosen_by_the_ids_that_are_configured() {
    let other_ids = |id, version| with_ids(&[(KMS_KEY_ID, id), (KMS_KEY_VERSION_ID, version)]);
    // The right key material under the wrong ids: by the configuration, another key made the record.
    for stranger in [
        other_ids("other", "v1"),
        other_ids("key", "v2"),
        other_ids("KEY", "v1"),
        other_ids("key ", "v1"),
        other_ids("", ""),
    ] {
        assert_eq!(error(&good(), &[stranger]), untrusted("key"));
    }
    assert_eq!(error(&good(), &[]), untrusted("key"));
    // Named, and another key made the signature.
    let impostor = TrustedKey {
        public_key: key("other", OTHER).public_key,
        ..vault("v1")
    };
    assert_eq!(error(&good(), std::slice::from_ref(&impostor)), bad("release"));
    // Not named, and another key made the signature: nothing says that this key should have.
    assert_eq!(error(&good(), &[key("other", OTHER)]), untrusted("key"));
    // A key without ids is tried beside one that is named.
    let impostor = TrustedKey {
        name: "impostor".into(),
        ..impostor
    };
    assert_eq!(
        open(&good(), &[impostor.clone(), release()])
            .unwrap()
            .signer
            .name(),
        "release"
    );
    assert_eq!(error(&good(), &[impostor, key("other", OTHER)]), bad("impostor"));
}

#[test]
fn a_key_outside_any_vault_is_named_by_its_fingerprint() {
    let message = with(
        with(message(), "kmsKeyId", FINGERPRINT),
        "kmsKeyVersionId",
        FINGERPRINT,
    )
    .to_string();
    let local = with(
        with(record(message.as_bytes()), "kmsKeyId", FINGERPRINT),
        "kmsKeyVersionId",
        FINGERPRINT,
    );
    assert_eq!(open(&local, &[release()]).unwrap().signer.name(), "release");
    let altered = with(local, "message", STANDARD.encode(message.replace("acme", "evil")));
    assert_eq!(error(&altered, &[release()]), bad("release"));
    assert_eq!(error(&altered, &[key("other", OTHER)]), untrusted(FINGERPRINT));
    // With ids configured a record must name those.
    assert_eq!(error(&altered, &[vault("v1")]), untrusted(FINGERPRINT));
}

#[test]
fn the_settings_of_the_key_decide_its_algorithms() {
    let only = |algorithm: SigningAlgorithm| TrustedKey {
        schemes: [algorithm.scheme(Salt::Any)].into(),
        ..vault("v1")
    };
    let sha512 = only(SigningAlgorithm::Sha512RsaPkcsPss);
    assert_eq!(
        error(&good(), std::slice::from_ref(&sha512)),
        not_allowed("SHA_256_RSA_PKCS_PSS")
    );
    open(&good(), &[only(SigningAlgorithm::Sha256RsaPkcsPss)]).unwrap();
    for unknown in [
        "SHA_256_RSA_PKCS1_V1_5",
        "ECDSA_SHA_256",
        "sha_256_rsa_pkcs_pss",
        "",
        "none",
    ] {
        let record = with(good(), "signingAlgorithm", unknown);
        assert_eq!(error(&record, &[vault("v1")]), not_allowed(unknown));
        // A record by an untrusted key gets no further answer.
        assert_eq!(
            error(&record, &[with_ids(&[(KMS_KEY_ID, "other")])]),
            untrusted("key")
        );
    }
    // The named key may not use the algorithm; a key without ids may, and did not make the signature.
    assert_eq!(
        error(&good(), &[sha512.clone(), key("other", OTHER)]),
        not_allowed("SHA_256_RSA_PKCS_PSS")
    );
    // A narrowed name of one key does not narrow the other.
    assert_eq!(
        open(
            &good(),
            &[
                TrustedKey {
                    name: "narrow".into(),
                    ..sha512
                },
                release()
            ]
        )
        .unwrap()
        .signer
        .name(),
        "release"
    );
}

#[test]
fn a_window_is_checked_after_the_signature() {
    let start = "2026-06-01T00:00:00.000000001Z".parse().unwrap();
    let end = NOW.parse().unwrap();
    let early = Validity {
        not_before: Some(start),
        ..Validity::default()
    };
    let late = Validity {
        not_after: Some(end),
        ..Validity::default()
    };
    let forged = with(good(), "message", STANDARD.encode("{}"));
    for (validity, why) in [
        (early, SignerUnusable::NotYetValid(start)),
        (late, SignerUnusable::Expired(end)),
        (REVOKED, SignerUnusable::Revoked),
    ] {
        let key = valid(vault("v1"), validity);
        assert_eq!(
            error(&good(), std::slice::from_ref(&key)),
            unusable("release", why)
        );
        assert_eq!(error(&forged, &[key]), bad("release"));
    }
    // A message that an unusable key signed is not even read.
    let nonsense = record(b"nonsense");
    assert_eq!(
        error(&nonsense, &[valid(vault("v1"), REVOKED)]),
        unusable("release", SignerUnusable::Revoked)
    );
}

#[test]
fn of_two_names_of_one_key_the_usable_one_signs() {
    let old = TrustedKey {
        name: "old".into(),
        validity: Validity {
            not_after: Some(NOW.parse().unwrap()),
            ..Validity::default()
        },
        ..release()
    };
    let new = TrustedKey {
        name: "new".into(),
        validity: Validity {
            not_before: Some(NOW.parse().unwrap()),
            ..Validity::default()
        },
        ..vault("v1")
    };
    for keys in [vec![old.clone(), new.clone()], vec![new.clone(), old.clone()]] {
        assert_eq!(open(&good(), &keys).unwrap().signer.name(), "new");
    }
    let both = [
        old.clone(),
        TrustedKey {
            name: "older".into(),
            ..old
        },
    ];
    assert_eq!(
        error(&good(), &both),
        unusable("old", SignerUnusable::Expired(NOW.parse().unwrap()))
    );
    // If two names are usable, the first one of the rule counts.
    assert_eq!(
        open(&good(), &[new.clone(), release()]).unwrap().signer.name(),
        "new"
    );
    assert_eq!(
        open(&good(), &[release(), new.clone()]).unwrap().signer.name(),
        "release"
    );
    // A revoked key does not come back under its other name, also where the record does not name the revoked one.
    let revoked = TrustedKey {
        name: "leaked".into(),
        validity: REVOKED,
        ..vault("v9")
    };
    for keys in [vec![revoked.clone(), new.clone()], vec![new, revoked]] {
        assert_eq!(error(&good(), &keys), unusable("leaked", SignerUnusable::Revoked));
    }
}
