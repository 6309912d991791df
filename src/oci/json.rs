//! JSON from outside, read strictly: bounded depth, no duplicate keys, no trailing bytes.
//!
//! Two readers of one document must see one document. Go's `encoding/json`, which the runtimes and registries use, takes
//! the last of two equal keys and ignores the case of field names; other readers take the first, or one spelling alone
//! (CVE-2021-41190, CVE-2026-44309). A document that could be read in two ways is therefore refused before its meaning is
//! looked at. `serde_json` alone refuses neither.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::base::limits::JSON_DEPTH;
use crate::base::printable::excerpt;

/// Keys that one object of a JSON document may have: a check for duplicates holds them all. The widest objects of real
/// manifests are annotations, with some tens.
pub(crate) const JSON_KEYS: usize = 4096;

/// Why a document was refused before its meaning was looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON, not UTF-8, or text follows the document.
    #[error("not a JSON document: {0}")]
    Syntax(String),
    /// The same key twice in one object, also when only the case differs (Go readers take either).
    #[error("the key `{0}` occurs twice in one object")]
    DuplicateKey(String),
    /// A key that the format knows, in another case: Go readers would take it, others would not.
    #[error("the key `{found}` must be written `{known}`")]
    OtherSpelling {
        /// The spelling in the document.
        found: String,
        /// The spelling of the format.
        known: &'static str,
    },
    /// Deeper than [`crate::base::limits::JSON_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
    /// An object has more keys than `JSON_KEYS`.
    #[error("an object has more than {limit} keys")]
    TooManyKeys {
        /// The bound.
        limit: usize,
    },
}

/// Reads one document, strictly, then as `T`.
///
/// The caller bounds the length. A derived `Deserialize` of a struct also accepts an array of its fields in order: wrap
/// a type in [`Object`] where the document must have an object.
///
/// # Errors
/// As [`JsonError`] says; a document that is not a `T` is [`JsonError::Syntax`].
pub fn parse<T: DeserializeOwned>(unverified: &[u8]) -> Result<T, JsonError> {
    Strict::check(unverified, &[])?.read()
}

/// A document that was checked and can be read in one way only. Keys in another spelling
/// ([`JsonError::OtherSpelling`]) are refused later, by [`Self::read`].
#[derive(Debug)]
pub(crate) struct Strict<'d> {
    text: &'d str,
    /// The folded keys of the outermost object. Empty for a format without known keys.
    outermost: HashSet<String>,
    other_spelling: Option<JsonError>,
}

impl<'d> Strict<'d> {
    /// Checks one document. `known` are the keys of its format, at any depth.
    pub(crate) fn check(unverified: &'d [u8], known: &[&'static str]) -> Result<Self, JsonError> {
        // `serde_json` checks UTF-8 inside strings only, and replaces or refuses by type.
        let text = std::str::from_utf8(unverified).map_err(|error| JsonError::Syntax(error.to_string()))?;
        let mut findings = Findings {
            known: known.iter().map(|key| (fold(key).into_owned(), *key)).collect(),
            outermost: HashSet::new(),
            other_spelling: None,
            refused: None,
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let walked = Walk {
            findings: &mut findings,
            depth: 0,
            case_matters: false,
        }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
        match (findings.refused, walked) {
            (Some(refused), _) => Err(refused),
            (None, Err(error)) => Err(syntax(&error)),
            (None, Ok(())) => Ok(Self {
                text,
                outermost: findings.outermost,
                other_spelling: findings.other_spelling,
            }),
        }
    }

    /// Whether the outermost object has this key, in any case.
    pub(crate) fn has_in_any_case(&self, key: &str) -> bool {
        self.outermost.contains(fold(key).as_ref())
    }

    /// Reads the document as `T`.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, JsonError> {
        match self.other_spelling {
            Some(refused) => Err(refused),
            None => serde_json::from_str(self.text).map_err(|error| syntax(&error)),
        }
    }
}

/// A `T` that stands in the document as an object, and not as an array of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// The findings of one pass over a document.
struct Findings {
    /// The keys of the format, by their folded spelling.
    known: HashMap<String, &'static str>,
    outermost: HashSet<String>,
    other_spelling: Option<JsonError>,
    /// Why the pass ended early.
    refused: Option<JsonError>,
}

/// The pass over one value.
struct Walk<'w> {
    findings: &'w mut Findings,
    /// The number of arrays and objects around the value.
    depth: usize,
    /// The value is a map with free keys, two of which may differ in case alone.
    case_matters: bool,
}

impl Walk<'_> {
    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > JSON_DEPTH {
            Err(self.refuse(JsonError::TooDeep))
        } else {
            Ok(())
        }
    }

    fn below(&mut self, case_matters: bool) -> Walk<'_> {
        Walk {
            findings: self.findings,
            depth: self.depth,
            case_matters,
        }
    }

    /// Keeps the reason beside the error that ends the pass, which can only carry text.
    fn refuse<E: serde::de::Error>(&mut self, refused: JsonError) -> E {
        let error = E::custom(&refused);
        self.findings.refused = Some(refused);
        error
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
        self.enter()?;
        while array.next_element_seed(self.below(false))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        self.enter()?;
        let mut seen = Seen::default();
        while let Some(JsonKey(key)) = object.next_key::<JsonKey<'de>>()? {
            let free_keys = MAPS_OF_FREE_KEYS.contains(&key.as_ref());
            let distinct = if self.case_matters {
                key.clone()
            } else {
                let folded = fold(&key);
                self.note(&key, &folded);
                match folded {
                    // Borrowed from the document, which outlives the pass.
                    Cow::Borrowed(_) => key.clone(),
                    Cow::Owned(folded) => Cow::Owned(folded),
                }
            };
            if seen.count == JSON_KEYS {
                return Err(self.refuse(JsonError::TooManyKeys { limit: JSON_KEYS }));
            }
            if !seen.insert(distinct) {
                return Err(self.refuse(JsonError::DuplicateKey(excerpt(&key))));
            }
            object.next_value_seed(self.below(free_keys))?;
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// Records a key that the format knows in another spelling, and the keys of the outermost object.
    fn note(&mut self, key: &str, folded: &str) {
        if self.findings.known.is_empty() {
            return;
        }
        if let Some(known) = self.findings.known.get(folded).filter(|known| **known != key) {
            let found = excerpt(key);
            self.findings
                .other_spelling
                .get_or_insert(JsonError::OtherSpelling { found, known });
        }
        if self.depth == 1 {
            self.findings.outermost.insert(folded.to_owned());
        }
    }
}

/// A key, copied only if the document writes it with escapes.
struct JsonKey<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for JsonKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = JsonKey<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<JsonKey<'de>, E> {
        Ok(JsonKey(Cow::Borrowed(key)))
    }

    fn visit_str<E>(self, key: &str) -> Result<JsonKey<'de>, E> {
        Ok(JsonKey(Cow::Owned(key.to_owned())))
    }
}

/// The keys of one object so far. Most objects have a handful, which are compared one by one.
#[derive(Default)]
struct Seen<'de> {
    count: usize,
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Seen<'de> {
    /// Returns whether the key is new, as [`HashSet::insert`] does.
    fn insert(&mut self, key: Cow<'de, str>) -> bool {
        let is_new = !self.few.contains(&key) && !self.many.contains(&key);
        if is_new {
            self.count += 1;
            if self.few.len() < FEW {
                self.few.push(key);
            } else {
                self.many.insert(key);
            }
        }
        is_new
    }
}

/// Folds a key as Go's `encoding/json` does to compare it: by Unicode simple folding, so that `ſ` (U+017F) is an `s` and
/// `K` (U+212A) a `k`. Other letters are folded at least as far as Go folds them.
fn fold(key: &str) -> Cow<'_, str> {
    // Nearly every key, without a copy that grows letter by letter.
    if key.is_ascii() {
        return if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(key.to_ascii_lowercase())
        } else {
            Cow::Borrowed(key)
        };
    }
    let folded = key.chars().flat_map(|letter| match letter {
        'ſ' => 's'.to_lowercase(),
        _ => letter.to_lowercase(),
    });
    Cow::Owned(folded.collect())
}

/// The number of keys that are compared one by one, which takes as long as hashing one.
const FEW: usize = 16;

/// Quotes the words of `serde_json`, which quote the document.
fn syntax(error: &serde_json::Error) -> JsonError {
    JsonError::Syntax(excerpt(&error.to_string()))
}

/// The keys whose objects hold free keys: annotations of manifests and descriptors (image-spec,
/// annotations.md), labels of image configurations, and free-form tags of the records that Oracle's API lists (also as its
/// command line spells them). Their case matters.
const MAPS_OF_FREE_KEYS: [&str; 4] = ["annotations", "freeform-tags", "freeformTags", "Labels"];

#[cfg(test)]
mod tests;
