//! Regions and realms by name (SDK 2.189.0, `regions_definitions.py`). A region that Oracle opened later is not in the
//! table: its id is accepted as written, and its realm must come from elsewhere.

use std::fmt;
use std::str::FromStr;

use crate::base::printable::excerpt;

/// A region, by its id: `us-phoenix-1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(String);

/// A realm: a set of regions that share accounts, and a domain under which their services are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Realm {
    name: &'static str,
    domain: &'static str,
}

/// The text is not a region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a region: expected an id (`us-phoenix-1`) or a known short code (`phx`)")]
pub struct RegionError(pub String);

impl Region {
    /// Returns the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the realm of a region in the table.
    #[must_use]
    pub fn realm(&self) -> Option<Realm> {
        let (_, _, realm) = REGIONS.iter().find(|(id, _, _)| *id == self.0)?;
        Realm::from_name(realm)
    }
}

impl FromStr for Region {
    type Err = RegionError;

    /// Accepts an id or a short code in upper or lower case: an instance's metadata service returns either, and the SDK
    /// looks short codes up in lower case (`regions.get_region_from_short_name`).
    fn from_str(text: &str) -> Result<Self, RegionError> {
        let lower = text.to_ascii_lowercase();
        if let Some((id, _, _)) = REGIONS.iter().find(|(_, short, _)| *short == lower) {
            return Ok(Self((*id).to_owned()));
        }
        if is_id(&lower) {
            Ok(Self(lower))
        } else {
            Err(RegionError(excerpt(text)))
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Realm {
    /// Returns the realm of this name, as OCIDs spell it (`oc1`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (name, domain) = REALMS.iter().find(|(known, _)| *known == name)?;
        Some(Self { name, domain })
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Returns the second-level domain.
    #[must_use]
    pub const fn domain(self) -> &'static str {
        self.domain
    }
}

/// Returns whether a text has the form of every known id: parts of letters and digits, separated by `-`, the first of
/// letters and the last a number. The id becomes one label of a host name, so nothing else may pass.
fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let all =
        |part: &&str, is_allowed: fn(&u8) -> bool| !part.is_empty() && part.as_bytes().iter().all(is_allowed);
    text.len() <= 63
        && parts.len() >= 3
        && parts.iter().all(|part| all(part, u8::is_ascii_alphanumeric))
        && parts
            .first()
            .is_some_and(|part| all(part, u8::is_ascii_alphabetic))
        && parts.last().is_some_and(|part| all(part, u8::is_ascii_digit))
}

/// Each realm and its second-level domain.
const REALMS: [(&str, &str); 20] = [
    ("oc1", "oraclecloud.com"),
    ("oc2", "oraclegovcloud.com"),
    ("oc3", "oraclegovcloud.com"),
    ("oc4", "oraclegovcloud.uk"),
    ("oc8", "oraclecloud8.com"),
    ("oc9", "oraclecloud9.com"),
    ("oc10", "oraclecloud10.com"),
    ("oc14", "oraclecloud14.com"),
    ("oc15", "oraclecloud15.com"),
    ("oc19", "oraclecloud.eu"),
    ("oc20", "oraclecloud20.com"),
    ("oc21", "oraclecloud21.com"),
    ("oc23", "oraclecloud23.com"),
    ("oc24", "oraclecloud24.com"),
    ("oc26", "oraclecloud26.com"),
    ("oc29", "oraclecloud29.com"),
    ("oc35", "oraclecloud35.com"),
    ("oc42", "oraclecloud42.com"),
    ("oc51", "oraclecloud51.com"),
    ("oc52", "oraclecloud52.com"),
];

/// Each region with its short code and its realm.
const REGIONS: [(&str, &str, &str); 85] = [
    ("af-casablanca-1", "lej", "oc1"),
    ("af-johannesburg-1", "jnb", "oc1"),
    ("ap-batam-1", "hsg", "oc1"),
    ("ap-chuncheon-1", "yny", "oc1"),
    ("ap-delhi-1", "onm", "oc1"),
    ("ap-hyderabad-1", "hyd", "oc1"),
    ("ap-kulai-2", "jbp", "oc1"),
    ("ap-melbourne-1", "mel", "oc1"),
    ("ap-mumbai-1", "bom", "oc1"),
    ("ap-osaka-1", "kix", "oc1"),
    ("ap-seoul-1", "icn", "oc1"),
    ("ap-singapore-1", "sin", "oc1"),
    ("ap-singapore-2", "xsp", "oc1"),
    ("ap-sydney-1", "syd", "oc1"),
    ("ap-tokyo-1", "nrt", "oc1"),
    ("ca-montreal-1", "yul", "oc1"),
    ("ca-toronto-1", "yyz", "oc1"),
    ("eu-amsterdam-1", "ams", "oc1"),
    ("eu-frankfurt-1", "fra", "oc1"),
    ("eu-madrid-1", "mad", "oc1"),
    ("eu-madrid-3", "orf", "oc1"),
    ("eu-marseille-1", "mrs", "oc1"),
    ("eu-milan-1", "lin", "oc1"),
    ("eu-paris-1", "cdg", "oc1"),
    ("eu-stockholm-1", "arn", "oc1"),
    ("eu-turin-1", "nrq", "oc1"),
    ("eu-zurich-1", "zrh", "oc1"),
    ("il-jerusalem-1", "mtz", "oc1"),
    ("me-abudhabi-1", "auh", "oc1"),
    ("me-dubai-1", "dxb", "oc1"),
    ("me-jeddah-1", "jed", "oc1"),
    ("me-riyadh-1", "ruh", "oc1"),
    ("mx-monterrey-1", "mty", "oc1"),
    ("mx-queretaro-1", "qro", "oc1"),
    ("sa-bogota-1", "bog", "oc1"),
    ("sa-santiago-1", "scl", "oc1"),
    ("sa-saopaulo-1", "gru", "oc1"),
    ("sa-valparaiso-1", "vap", "oc1"),
    ("sa-vinhedo-1", "vcp", "oc1"),
    ("uk-cardiff-1", "cwl", "oc1"),
    ("uk-london-1", "lhr", "oc1"),
    ("us-ashburn-1", "iad", "oc1"),
    ("us-chicago-1", "ord", "oc1"),
    ("us-phoenix-1", "phx", "oc1"),
    ("us-saltlake-2", "aga", "oc1"),
    ("us-sanjose-1", "sjc", "oc1"),
    ("us-langley-1", "lfi", "oc2"),
    ("us-luke-1", "luf", "oc2"),
    ("us-gov-ashburn-1", "ric", "oc3"),
    ("us-gov-chicago-1", "pia", "oc3"),
    ("us-gov-phoenix-1", "tus", "oc3"),
    ("uk-gov-cardiff-1", "brs", "oc4"),
    ("uk-gov-london-1", "ltn", "oc4"),
    ("ap-chiyoda-1", "nja", "oc8"),
    ("ap-ibaraki-1", "ukb", "oc8"),
    ("me-dcc-muscat-1", "mct", "oc9"),
    ("me-ibri-1", "ibr", "oc9"),
    ("ap-dcc-canberra-1", "wga", "oc10"),
    ("eu-dcc-dublin-1", "ork", "oc14"),
    ("eu-dcc-dublin-2", "snn", "oc14"),
    ("eu-dcc-milan-1", "bgy", "oc14"),
    ("eu-dcc-milan-2", "mxp", "oc14"),
    ("eu-dcc-rating-1", "dus", "oc14"),
    ("eu-dcc-rating-2", "dtm", "oc14"),
    ("ap-dcc-gazipur-1", "dac", "oc15"),
    ("eu-frankfurt-2", "str", "oc19"),
    ("eu-madrid-2", "vll", "oc19"),
    ("eu-jovanovac-1", "beg", "oc20"),
    ("me-alrayyan-1", "vve", "oc21"),
    ("me-dcc-doha-1", "doh", "oc21"),
    ("us-somerset-1", "ebb", "oc23"),
    ("us-thames-1", "ebl", "oc23"),
    ("eu-crissier-1", "avf", "oc24"),
    ("eu-dcc-zurich-1", "avz", "oc24"),
    ("me-abudhabi-3", "ahu", "oc26"),
    ("me-alain-1", "rba", "oc26"),
    ("me-abudhabi-2", "rkt", "oc29"),
    ("me-abudhabi-4", "shj", "oc29"),
    ("ap-chuncheon-2", "bno", "oc35"),
    ("ap-seoul-2", "dtz", "oc35"),
    ("ap-suwon-1", "dln", "oc35"),
    ("us-ashburn-2", "yxj", "oc42"),
    ("us-newark-1", "pgc", "oc42"),
    ("eu-budapest-1", "jsk", "oc51"),
    ("sa-riodejaneiro-1", "hnw", "oc52"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_id_and_its_short_code_name_the_same_region() {
        for text in ["us-phoenix-1", "phx", "PHX", "US-Phoenix-1"] {
            let region: Region = text.parse().unwrap();
            assert_eq!(region.as_str(), "us-phoenix-1", "{text}");
            assert_eq!(region.realm().unwrap().domain(), "oraclecloud.com");
        }
        for (id, short, realm) in REGIONS {
            let region: Region = short.parse().unwrap();
            assert_eq!(region.as_str(), id);
            assert_eq!(id.parse(), Ok(region.clone()));
            assert_eq!(region.realm().unwrap().name(), realm);
        }
    }

    #[test]
    fn the_tables_have_no_duplicates() {
        let ids: BTreeSet<_> = REGIONS.iter().map(|(id, _, _)| id).collect();
        let shorts: BTreeSet<_> = REGIONS.iter().map(|(_, short, _)| short).collect();
        assert_eq!((ids.len(), shorts.len()), (REGIONS.len(), REGIONS.len()));
        for (region, domain) in [
            ("us-langley-1", "oraclegovcloud.com"),
            ("us-gov-phoenix-1", "oraclegovcloud.com"),
            ("uk-gov-london-1", "oraclegovcloud.uk"),
            ("eu-frankfurt-2", "oraclecloud.eu"),
            ("ap-chiyoda-1", "oraclecloud8.com"),
        ] {
            let region: Region = region.parse().unwrap();
            assert_eq!(region.realm().unwrap().domain(), domain, "{region}");
        }
    }

    #[test]
    fn an_unknown_region_is_accepted_and_its_realm_not_guessed() {
        let region: Region = "xx-newtown-7".parse().unwrap();
        assert_eq!((region.as_str(), region.realm()), ("xx-newtown-7", None));
        assert_eq!(Realm::from_name("oc999"), None);
    }

    #[test]
    fn refuses_texts_that_could_name_another_host() {
        let long = format!("us-{}-1", "a".repeat(64));
        for text in [
            "",
            "xyz",
            "us",
            "us-phoenix",
            "us-phoenix-1.evil.example",
            "us-phoenix-1/",
            "us-phoenix-1@evil",
            "us-phoenix-1:1",
            " us-phoenix-1",
            "us--1",
            "-us-phoenix-1",
            "us-phoenix-1-",
            "1-phoenix-1",
            "us-ph\u{f6}nix-1",
            long.as_str(),
        ] {
            assert_eq!(
                text.parse::<Region>(),
                Err(RegionError(excerpt(text))),
                "{text:?}"
            );
        }
    }
}
