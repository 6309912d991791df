//! Measures RSA-PSS verification in the gate (a record in Oracle's format is parsed, verified and compared) beside the bare
//! call of the `rsa` crate, for each key size and each hash.
#![allow(
    clippy::as_conversions,
    clippy::exit,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that cannot continue must stop at once, and it prints its results"
)]
#![allow(missing_docs, unreachable_pub, reason = "only this bench uses these items")]

#[path = "support/support.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use pullgate::signature::oracle::Oracle;
use pullgate::signature::{Candidate, Format as _, Locator, SourceName};
use pullgate::trust::{Authority, PublicKey, Salt, SignedBytes, SigningAlgorithm, TrustedKey};
use rsa::pss::{Signature, VerifyingKey};
use rsa::signature::Verifier;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use support::figures::{Figure, goal};
use support::image::digest_of;
use support::signer::Signer;
use support::{prepare, rounds};

const REPOSITORY: &str = "acme/app";

fn main() {
    if !prepare("verify") {
        return;
    }
    let rounds = rounds(400);
    for bits in [2048, 3072, 4096] {
        let signer = Signer::new(bits);
        let public = || signer.public();
        for algorithm in SigningAlgorithm::ALL {
            match algorithm {
                SigningAlgorithm::Sha224RsaPkcsPss => measure(
                    &signer,
                    bits,
                    algorithm,
                    &VerifyingKey::<Sha224>::new(public()),
                    rounds,
                ),
                SigningAlgorithm::Sha256RsaPkcsPss => measure(
                    &signer,
                    bits,
                    algorithm,
                    &VerifyingKey::<Sha256>::new(public()),
                    rounds,
                ),
                SigningAlgorithm::Sha384RsaPkcsPss => measure(
                    &signer,
                    bits,
                    algorithm,
                    &VerifyingKey::<Sha384>::new(public()),
                    rounds,
                ),
                SigningAlgorithm::Sha512RsaPkcsPss => measure(
                    &signer,
                    bits,
                    algorithm,
                    &VerifyingKey::<Sha512>::new(public()),
                    rounds,
                ),
            }
        }
    }
}

fn measure(
    signer: &Signer,
    bits: usize,
    algorithm: SigningAlgorithm,
    bare: &impl Verifier<Signature>,
    rounds: usize,
) {
    let digest = digest_of(b"some manifest");
    let record = signer.record(&digest, REPOSITORY, algorithm);
    let (message, signature) = (record.message_bytes().unwrap(), record.signature_bytes().unwrap());
    let candidate = Candidate {
        format: &Oracle,
        source: SourceName("test"),
        locator: Locator::Service("bench".to_owned()),
        unverified_media_type: None,
        unverified: Bytes::from(record.to_json()),
    };
    let public_key = PublicKey::from_pem(signer.public_pem().as_bytes()).unwrap();
    let schemes = SigningAlgorithm::every_scheme(Salt::Any);
    let trusted = TrustedKey::new("release", public_key, schemes);
    let authorities = [Arc::new(Authority::from(trusted.clone()))];
    let parsed = Signature::try_from(signature.as_slice()).unwrap();
    let now = Timestamp::now();

    let mut figure = Figure::new(format!("RSA-{bits}, {algorithm}"), "us");
    for round in 0..=rounds {
        let counted = round > 0;
        let mut timed = |name: &str, work: &mut dyn FnMut()| {
            let took = per_call(work);
            if counted {
                figure.add(name, took);
            }
        };
        timed("bare `rsa` call", &mut || {
            black_box(bare)
                .verify(black_box(message.as_slice()), &parsed)
                .unwrap()
        });
        timed("key of the gate", &mut || {
            let signed = SignedBytes {
                scheme: algorithm.scheme(Salt::Any),
                message: black_box(message.as_slice()),
                signature: &signature,
            };
            black_box(trusted.verify(signed).unwrap());
        });
        timed("record in the gate", &mut || {
            black_box(Oracle.verify(black_box(&candidate), &authorities, now).unwrap());
        });
    }
    figure.print(&["bare `rsa` call"]);
    goal(
        &format!("RSA-{bits}, {algorithm}"),
        figure.ratio("record in the gate", "bare `rsa` call"),
        1.1,
        " x bare call",
    );
}

/// Returns the microseconds per call. There are few calls in a round and many rounds, so that other load on the machine
/// disturbs few of them.
fn per_call(work: &mut dyn FnMut()) -> f64 {
    const CALLS: u32 = 5;
    let started = Instant::now();
    for _ in 0..CALLS {
        work();
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
}
