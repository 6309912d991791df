//! A digest has one spelling, and only its own bytes have it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::oci::{Blob, Digest};

fuzz_target!(|text: &str| {
    let own = Digest::sha256(text.as_bytes());
    assert!(Blob::check(&own, text.to_owned().into()).is_ok());
    let Ok(digest) = text.parse::<Digest>() else {
        return;
    };
    assert_eq!(digest.to_string(), text);
    assert_eq!(digest.encoded().len(), digest.as_bytes().len() * 2);
    // No text is the preimage of the digest that it spells.
    assert!(Blob::check(&digest, text.to_owned().into()).is_err());
});
