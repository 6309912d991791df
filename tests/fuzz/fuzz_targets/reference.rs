//! A name that is read has one spelling, which is read as the same name and stays in its place in a URL.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullgate::oci::{Reference, Repository, normalised_registry};

fuzz_target!(|text: &str| {
    if let Ok(registry) = normalised_registry(text) {
        assert_eq!(normalised_registry(&registry).as_ref(), Ok(&registry));
        assert_eq!(
            normalised_registry(&text.to_ascii_uppercase()).as_ref(),
            Ok(&registry)
        );
        assert!(normalised_registry(&format!("{text}.")).is_err());
    }
    let Ok(reference) = text.parse::<Reference>() else {
        return;
    };
    assert!(reference.tag.is_some() || reference.digest.is_some());
    assert_eq!(
        reference.to_string().parse::<Reference>().as_ref(),
        Ok(&reference)
    );
    let repository = &reference.repository;
    let name = repository.to_string();
    assert_eq!(name.parse::<Repository>().as_ref(), Ok(repository));
    assert_eq!(
        Repository::new(repository.registry(), repository.path()).as_ref(),
        Ok(repository)
    );
    assert!(name.len() <= 255 && name.is_ascii() && name == name.to_ascii_lowercase());
    assert!(
        name.split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
    );
    assert!(!name.contains(|letter: char| letter.is_ascii_control() || " %?#\\@*".contains(letter)));
    assert!(repository.registry() != "docker.io" || repository.path().contains('/'));
});
