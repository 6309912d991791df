//! The content of the cloud at the start: users, compartments, images and keys. As JSON it is the program's `--state`;
//! missing OCIDs are generated.

use jiff::Timestamp;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rsa::PrivateKey;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::authorization::pem_fingerprint;
use super::clock::instant;

/// The whole content.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct World {
    #[serde(default = "phoenix")]
    pub region: String,
    /// The region's name in OCIDs.
    #[serde(default = "phx")]
    pub region_key: String,
    #[serde(default = "domain")]
    pub domain: String,
    pub tenancy: Tenancy,
    #[serde(default)]
    pub compartments: Vec<Compartment>,
    #[serde(default)]
    pub users: Vec<User>,
    #[serde(default)]
    pub images: Vec<Image>,
    #[serde(default)]
    pub keys: Vec<Key>,
    /// Records as the API returns them. They are stored unchecked, so they may be forged.
    #[serde(default)]
    pub signatures: Vec<Value>,
}

/// The account, and the root of all compartments.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tenancy {
    pub id: String,
    /// The part before the repository in an image's name.
    pub namespace: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Compartment {
    #[serde(default)]
    pub id: String,
    /// The parent compartment; the tenancy if absent.
    #[serde(default)]
    pub parent: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    #[serde(default)]
    pub id: String,
    /// PEM (SubjectPublicKeyInfo) of each API key.
    pub public_keys: Vec<String>,
}

/// One push of an image.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    #[serde(default)]
    pub id: String,
    /// The name without host and namespace.
    pub repository: String,
    pub digest: String,
    /// The tag.
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub compartment: Option<String>,
}

/// A master encryption key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Key {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub kind: Kind,
    #[serde(default)]
    pub state: Lifecycle,
    #[serde(default)]
    pub compartment: Option<String>,
    /// Oldest first. If there are none, one is generated.
    #[serde(default)]
    pub versions: Vec<Version>,
}

/// The algorithm in a key's shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    Aes,
    Ecdsa,
    #[default]
    Rsa,
}

/// The state of a key, or of one of its versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Lifecycle {
    Disabled,
    #[default]
    Enabled,
    PendingDeletion,
}

/// A version of a key: for RSA and ECDSA, a key pair of its own. A version with a public key only verifies and cannot
/// sign.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Version {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub state: Lifecycle,
    /// PKCS#8 PEM. Without either key, a pair is generated.
    #[serde(default)]
    pub private_key: Option<String>,
    #[serde(default)]
    pub public_key: Option<String>,
}

impl World {
    /// An empty tenancy in Phoenix with one compartment.
    pub fn new() -> Self {
        let tenancy = Tenancy {
            id: format!("ocid1.tenancy.oc1..{}", unique()),
            namespace: "ansh81vru1zp".to_owned(),
        };
        let compartment = Compartment {
            id: format!("ocid1.compartment.oc1..{}", unique()),
            parent: None,
        };
        Self {
            region: phoenix(),
            region_key: phx(),
            domain: domain(),
            tenancy,
            compartments: vec![compartment],
            users: Vec::new(),
            images: Vec::new(),
            keys: Vec::new(),
            signatures: Vec::new(),
        }
    }

    /// Adds a user with one API key. Returns `tenancy/user/fingerprint`, the key id of its requests.
    pub fn user(&mut self, public_key: &str) -> String {
        let id = format!("ocid1.user.oc1..{}", unique());
        let key_id = format!("{}/{id}/{}", self.tenancy.id, pem_fingerprint(public_key));
        self.users.push(User {
            id,
            public_keys: vec![public_key.to_owned()],
        });
        key_id
    }

    /// Adds a key with one version, which is generated at the start. Returns their OCIDs.
    pub fn key(&mut self, kind: Kind) -> (String, String) {
        let mut key = Key {
            id: String::new(),
            kind,
            state: Lifecycle::default(),
            compartment: None,
            versions: vec![Version::default()],
        };
        self.name_key(&mut key);
        let ids = (key.id.clone(), key.versions[0].id.clone());
        self.keys.push(key);
        ids
    }

    /// The first compartment.
    pub fn compartment(&self) -> &str {
        self.compartments
            .first()
            .map_or(&self.tenancy.id, |compartment| &compartment.id)
    }

    /// Generates the missing OCIDs.
    pub fn complete(mut self) -> Self {
        for compartment in &mut self.compartments {
            fill(&mut compartment.id, || {
                format!("ocid1.compartment.oc1..{}", unique())
            });
        }
        for user in &mut self.users {
            fill(&mut user.id, || format!("ocid1.user.oc1..{}", unique()));
        }
        let mut images = std::mem::take(&mut self.images);
        for image in &mut images {
            fill(&mut image.id, || self.registry_id("containerimage"));
        }
        let mut keys = std::mem::take(&mut self.keys);
        for key in &mut keys {
            self.name_key(key);
        }
        Self { images, keys, ..self }
    }

    /// Generates an OCID of a resource of the registry.
    pub fn registry_id(&self, kind: &str) -> String {
        let Self {
            region_key, tenancy, ..
        } = self;
        format!(
            "ocid1.{kind}.oc1.{region_key}.0.{}.{}",
            tenancy.namespace,
            unique()
        )
    }

    fn name_key(&self, key: &mut Key) {
        let place = format!("{}.{VAULT}", self.region_key);
        fill(&mut key.id, || format!("ocid1.key.oc1.{place}.{}", unique()));
        if key.versions.is_empty() {
            key.versions.push(Version::default());
        }
        for version in &mut key.versions {
            let middle = format!("c{}", &unique()[8..20]);
            fill(&mut version.id, || {
                format!("ocid1.keyversion.oc1.{place}.{middle}.{}", unique())
            });
        }
    }

    /// Returns whether the tenancy has this compartment, the tenancy itself included.
    pub fn has_compartment(&self, id: &str) -> bool {
        self.tenancy.id == id || self.compartments.iter().any(|each| each.id == id)
    }

    /// Returns every host name that clients derive from the region and the keys, for certificates and `/etc/hosts`.
    pub fn hosts(&self) -> Vec<String> {
        let Self { region, domain, .. } = self;
        let mut hosts = vec![
            format!("artifacts.{region}.oci.{domain}"),
            format!("auth.{region}.{domain}"),
        ];
        for vault in self.keys.iter().filter_map(|key| key.id.split('.').nth(4)) {
            for service in ["crypto", "management"] {
                // Old regions have names without `.oci.`, and clients have a list of them.
                hosts.push(format!("{vault}-{service}.kms.{region}.{domain}"));
                hosts.push(format!("{vault}-{service}.kms.{region}.oci.{domain}"));
            }
        }
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

impl Image {
    /// Returns the response of `GetContainerImage`.
    pub fn to_json(&self, world: &World, pushed: Timestamp) -> Value {
        let version = self.version.as_deref().unwrap_or("unknown@sha256");
        let by = world.users.first().map_or(&world.tenancy.id, |user| &user.id);
        let at = instant(pushed);
        let versions = self
            .version
            .iter()
            .map(|version| json!({ "createdBy": by, "timeCreated": at, "version": version }));
        json!({
            "compartmentId": self.compartment.as_deref().unwrap_or(world.compartment()),
            "createdBy": by,
            "definedTags": {},
            "digest": self.digest,
            "displayName": format!("{}:{version}", self.repository),
            "freeformTags": {},
            "id": self.id,
            "layers": [],
            "layersSizeInBytes": 0,
            "lifecycleState": "AVAILABLE",
            "manifestSizeInBytes": 398,
            "pullCount": 0,
            "repositoryId": repository_id(world, &self.repository),
            "repositoryName": self.repository,
            "systemTags": {},
            "timeCreated": at,
            "version": self.version,
            "versions": versions.collect::<Vec<_>>(),
        })
    }
}

/// Returns a repository's OCID, derived from the hash of its name so that it never changes.
pub fn repository_id(world: &World, name: &str) -> String {
    use sha2::Digest as _;
    let hash = hex::encode(sha2::Sha256::digest(name));
    let Tenancy { namespace, .. } = &world.tenancy;
    format!(
        "ocid1.containerrepo.oc1.{}.0.{namespace}.aaaaaaaa{}",
        world.region_key,
        &hash[..52]
    )
}

/// Generates an RSA key pair of 2048 bits: PKCS#8 and SubjectPublicKeyInfo, both PEM.
pub fn pair() -> (String, String) {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key pair");
    (pair.serialize_pem(), pair.public_key_pem())
}

/// Generates missing key pairs, and the public keys of versions that have a private key only.
pub fn make_key_pairs(keys: &mut [Key]) {
    for key in keys {
        for version in &mut key.versions {
            match key.kind {
                Kind::Aes => {}
                Kind::Ecdsa if version.public_key.is_none() => {
                    let pair = KeyPair::generate().expect("a key pair");
                    version.private_key = Some(pair.serialize_pem());
                    version.public_key = Some(pair.public_key_pem());
                }
                Kind::Rsa if version.private_key.is_none() && version.public_key.is_none() => {
                    let (private, public) = pair();
                    version.private_key = Some(private);
                    version.public_key = Some(public);
                }
                Kind::Rsa if version.public_key.is_none() => {
                    let private = version.private_key.as_deref().unwrap_or_default();
                    let private = PrivateKey::from_pkcs8_pem(private).expect("a private key in PKCS#8");
                    let public = private.to_public_key().to_public_key_pem(LineEnding::LF);
                    version.public_key = Some(public.expect("a public key"));
                }
                Kind::Ecdsa | Kind::Rsa => {}
            }
        }
    }
}

/// Generates the last part of an OCID: 60 characters.
pub fn unique() -> String {
    let letters = (0..52).map(|_| {
        let at = usize::from(rand::random::<u8>() % 32);
        char::from(b"abcdefghijklmnopqrstuvwxyz234567"[at])
    });
    "aaaaaaaa".chars().chain(letters).collect()
}

fn fill(id: &mut String, made: impl FnOnce() -> String) {
    if id.is_empty() {
        *id = made();
    }
}

fn phoenix() -> String {
    "us-phoenix-1".to_owned()
}

fn phx() -> String {
    "phx".to_owned()
}

fn domain() -> String {
    "oraclecloud.com".to_owned()
}

/// The vault of keys whose OCID is generated.
const VAULT: &str = "bgxjkmty6zcls";
