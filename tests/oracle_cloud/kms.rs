//! OCI Vault: keys, and signing and verifying with them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use rsa::pss::Pss;
use rsa::{Pkcs1v15Sign, PrivateKey, PublicKey};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use super::behaviour::Salt;
use super::refusal::Refusal;
use super::route::Service;
use super::shared::Shared;
use super::world::{Key, Kind, Lifecycle, Version, World};

/// The body of `Sign`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sign {
    message: String,
    key_id: String,
    key_version_id: Option<String>,
    #[serde(default)]
    message_type: MessageType,
    signing_algorithm: String,
}

/// The body of `Verify`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verify {
    message: String,
    key_id: String,
    key_version_id: String,
    signature: String,
    #[serde(default)]
    message_type: MessageType,
    signing_algorithm: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum MessageType {
    Digest,
    #[default]
    Raw,
}

pub fn sign(shared: &Shared, service: &Service, body: &[u8]) -> Result<Value, Refusal> {
    let body: Sign = read(body)?;
    let store = shared.store();
    let (key, version) = find(
        &store.world,
        service,
        &body.key_id,
        body.key_version_id.as_deref(),
    )?;
    usable(key, version)?;
    let message = decode("message", &body.message)?;
    if message.len() > MESSAGE_BYTES {
        return Err(Refusal::invalid("message is longer than 4096 bytes"));
    }
    let signature = raw_sign(
        version,
        key.kind,
        &body.signing_algorithm,
        body.message_type == MessageType::Digest,
        &message,
        shared.options.salt,
    )?;
    Ok(json!({
        "keyId": key.id,
        "keyVersionId": version.id,
        "signature": BASE64_STANDARD.encode(signature),
        "signingAlgorithm": body.signing_algorithm,
    }))
}

pub fn verify(shared: &Shared, service: &Service, body: &[u8]) -> Result<Value, Refusal> {
    let body: Verify = read(body)?;
    let store = shared.store();
    let (key, version) = find(&store.world, service, &body.key_id, Some(&body.key_version_id))?;
    usable(key, version)?;
    let message = decode("message", &body.message)?;
    let signature = decode("signature", &body.signature)?;
    let algorithm = Algorithm::from_name(&body.signing_algorithm, key.kind)?;
    let hashed = algorithm.hash(body.message_type == MessageType::Digest, &message)?;
    let public = version.public_key.as_deref().unwrap_or_default();
    let public = PublicKey::from_public_key_pem(public).map_err(|_spki| Refusal::internal())?;
    let valid = match algorithm {
        Algorithm::Pkcs1v15(bits) => match bits {
            224 => public.verify(Pkcs1v15Sign::new::<Sha224>(), &hashed, &signature),
            256 => public.verify(Pkcs1v15Sign::new::<Sha256>(), &hashed, &signature),
            384 => public.verify(Pkcs1v15Sign::new::<Sha384>(), &hashed, &signature),
            _ => public.verify(Pkcs1v15Sign::new::<Sha512>(), &hashed, &signature),
        },
        Algorithm::Pss(bits) => match bits {
            224 => public.verify(any_salt::<Sha224>(), &hashed, &signature),
            256 => public.verify(any_salt::<Sha256>(), &hashed, &signature),
            384 => public.verify(any_salt::<Sha384>(), &hashed, &signature),
            _ => public.verify(any_salt::<Sha512>(), &hashed, &signature),
        },
    };
    Ok(json!({ "isSignatureValid": valid.is_ok() }))
}

pub fn key(shared: &Shared, service: &Service, id: &str) -> Result<Value, Refusal> {
    let store = shared.store();
    let (key, version) = find(&store.world, service, id, None)?;
    Ok(json!({
        "compartmentId": key.compartment.as_deref().unwrap_or(store.world.compartment()),
        "currentKeyVersion": version.id,
        "definedTags": {},
        "displayName": "a key",
        "freeformTags": {},
        "id": key.id,
        "keyShape": { "algorithm": key.kind, "length": length(key.kind, version) },
        "lifecycleState": key.state,
        "protectionMode": "HSM",
        "timeCreated": CREATED,
        "vaultId": vault(&store.world, &key.id),
    }))
}

pub fn keys(shared: &Shared, service: &Service) -> Result<Value, Refusal> {
    let ids: Vec<String> = {
        let store = shared.store();
        let held = store.world.keys.iter().filter(|key| service.holds(&key.id));
        held.map(|key| key.id.clone()).collect()
    };
    ids.iter().map(|id| key(shared, service, id)).collect()
}

/// Lists versions without their public keys: only [`version`] returns those.
pub fn versions(shared: &Shared, service: &Service, id: &str) -> Result<Value, Refusal> {
    let store = shared.store();
    let (key, _) = find(&store.world, service, id, None)?;
    let versions = key
        .versions
        .iter()
        .rev()
        .map(|version| described(&store.world, key, version));
    Ok(versions.collect())
}

pub fn version(shared: &Shared, service: &Service, id: &str, version: &str) -> Result<Value, Refusal> {
    let store = shared.store();
    let (key, version) = find(&store.world, service, id, Some(version))?;
    let mut answer = described(&store.world, key, version);
    answer["isPrimary"] = Value::Bool(key.versions.last().is_some_and(|last| last.id == version.id));
    answer["isAutoRotated"] = Value::Bool(false);
    if key.kind != Kind::Aes {
        answer["publicKey"] = json!(version.public_key);
    }
    Ok(answer)
}

/// Signs as the service does. Tests call it to get a record without a request.
pub fn raw_sign(
    version: &Version,
    kind: Kind,
    algorithm: &str,
    is_digest: bool,
    message: &[u8],
    salt: Salt,
) -> Result<Vec<u8>, Refusal> {
    let algorithm = Algorithm::from_name(algorithm, kind)?;
    let hashed = algorithm.hash(is_digest, message)?;
    let private = version
        .private_key
        .as_deref()
        .ok_or_else(|| Refusal::invalid("the stand-in has no private key of that version"))?;
    let private = PrivateKey::from_pkcs8_pem(private).map_err(|_pkcs8| Refusal::internal())?;
    let rng = &mut rand::rng();
    let signed = match algorithm {
        Algorithm::Pkcs1v15(bits) => match bits {
            224 => private.sign_with_rng(rng, Pkcs1v15Sign::new::<Sha224>(), &hashed),
            256 => private.sign_with_rng(rng, Pkcs1v15Sign::new::<Sha256>(), &hashed),
            384 => private.sign_with_rng(rng, Pkcs1v15Sign::new::<Sha384>(), &hashed),
            _ => private.sign_with_rng(rng, Pkcs1v15Sign::new::<Sha512>(), &hashed),
        },
        Algorithm::Pss(bits) => {
            let salt = match salt {
                Salt::Digest => bits / 8,
                Salt::Exactly(length) => length,
            };
            match bits {
                224 => private.sign_with_rng(rng, Pss::<Sha224>::new_with_salt(salt), &hashed),
                256 => private.sign_with_rng(rng, Pss::<Sha256>::new_with_salt(salt), &hashed),
                384 => private.sign_with_rng(rng, Pss::<Sha384>::new_with_salt(salt), &hashed),
                _ => private.sign_with_rng(rng, Pss::<Sha512>::new_with_salt(salt), &hashed),
            }
        }
    };
    signed.map_err(|_rsa| Refusal::internal())
}

/// A signing algorithm. The real service also signs with ECDSA keys, but never images; here such keys only exist.
#[derive(Clone, Copy)]
enum Algorithm {
    Pkcs1v15(usize),
    Pss(usize),
}

impl Algorithm {
    fn from_name(name: &str, kind: Kind) -> Result<Self, Refusal> {
        let refused = || Refusal::invalid("signingAlgorithm is not one of this key's");
        if kind != Kind::Rsa {
            return Err(refused());
        }
        let (bits, padding) = name
            .strip_prefix("SHA_")
            .and_then(|rest| rest.split_once('_'))
            .ok_or_else(refused)?;
        let bits = match bits {
            "224" => 224,
            "256" => 256,
            "384" => 384,
            "512" => 512,
            _ => return Err(refused()),
        };
        match padding {
            "RSA_PKCS1_V1_5" => Ok(Self::Pkcs1v15(bits)),
            "RSA_PKCS_PSS" => Ok(Self::Pss(bits)),
            _ => Err(refused()),
        }
    }

    fn hash(self, is_digest: bool, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (Self::Pkcs1v15(bits) | Self::Pss(bits)) = self;
        if is_digest {
            return if message.len() * 8 == bits {
                Ok(message.to_vec())
            } else {
                Err(Refusal::invalid(
                    "message is not as long as a digest of signingAlgorithm",
                ))
            };
        }
        Ok(match bits {
            224 => Sha224::digest(message).to_vec(),
            256 => Sha256::digest(message).to_vec(),
            384 => Sha384::digest(message).to_vec(),
            _ => Sha512::digest(message).to_vec(),
        })
    }
}

fn any_salt<D: sha2::Digest>() -> Pss<D> {
    Pss {
        salt_len: None,
        ..Pss::new()
    }
}

/// Finds a key, and the named version or else the newest.
fn find<'a>(
    world: &'a World,
    service: &Service,
    id: &str,
    version: Option<&str>,
) -> Result<(&'a Key, &'a Version), Refusal> {
    let key = world.keys.iter().find(|key| key.id == id);
    let key = key
        .filter(|key| service.holds(&key.id))
        .ok_or_else(Refusal::not_found)?;
    let version = match version {
        None => key.versions.last(),
        Some(id) => key.versions.iter().find(|version| version.id == id),
    };
    Ok((key, version.ok_or_else(Refusal::not_found)?))
}

fn usable(key: &Key, version: &Version) -> Result<(), Refusal> {
    if (key.state, version.state) == (Lifecycle::Enabled, Lifecycle::Enabled) {
        return Ok(());
    }
    Err(Refusal::incorrect_state("the key is not enabled"))
}

fn described(world: &World, key: &Key, version: &Version) -> Value {
    json!({
        "compartmentId": key.compartment.as_deref().unwrap_or(world.compartment()),
        "id": version.id,
        "keyId": key.id,
        "lifecycleState": version.state,
        "origin": "INTERNAL",
        "timeCreated": CREATED,
        "vaultId": vault(world, &key.id),
    })
}

fn vault(world: &World, key: &str) -> String {
    let extension = key.split('.').nth(4).unwrap_or_default();
    format!("ocid1.vault.oc1.{}.{extension}.aaaaaaaavault", world.region_key)
}

/// Returns the length in bytes that a key's shape states.
fn length(kind: Kind, version: &Version) -> usize {
    let public = version.public_key.as_deref().unwrap_or_default();
    match kind {
        Kind::Aes | Kind::Ecdsa => 32,
        Kind::Rsa => {
            PublicKey::from_public_key_pem(public).map_or(256, |key| rsa::traits::PublicKeyParts::size(&key))
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::invalid(&error.to_string()))
}

fn decode(field: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|_base64| Refusal::invalid(&format!("{field} is not base64")))
}

/// `SignDataDetails.message` of SDK 2.189.0.
const MESSAGE_BYTES: usize = 4096;
const CREATED: &str = "2025-01-01T00:00:00.000Z";
