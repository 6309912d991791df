//! Instance principals: the certificate that the instance metadata service returns, and the tokens that the
//! authentication service issues for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_RSA_SHA256, RsaKeySize,
};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, LineEnding};
use rsa::traits::PublicKeyParts as _;
use rsa::{PrivateKey, PublicKey};
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use super::authorization::{Credentials, Flaw, fresh, pairs, verify};
use super::http::{Answer, Request};
use super::lock::lock;
use super::refusal::Refusal;
use super::world::{World, unique};

/// The principal of a token.
#[derive(Clone)]
pub struct Token {
    /// The public key of the session, which verifies its requests.
    pub key: PublicKey,
    pub principal: String,
    pub expires: Timestamp,
}

/// The identity that the metadata service returns, all PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
    pub intermediate: String,
}

pub struct Federation {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The issuer's key, which signs the tokens as well.
    signer: PrivateKey,
    /// The instance's OCID.
    pub instance: String,
    tenancy: String,
    identity: Mutex<Arc<Identity>>,
    tokens: Mutex<HashMap<String, Token>>,
    life: Mutex<Duration>,
}

impl Federation {
    pub fn new(world: &World) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "a stand-in's instances");
        let pair = rsa_pair();
        let signer = PrivateKey::from_pkcs8_der(pair.serialized_der()).expect("an RSA key");
        let issuer = CertifiedIssuer::self_signed(params, pair).expect("a certificate");
        let instance = format!("ocid1.instance.oc1.{}.{}", world.region_key, unique());
        let tenancy = world.tenancy.id.clone();
        let identity = Mutex::new(Arc::new(identity(&issuer, &instance, &tenancy)));
        Self {
            issuer,
            signer,
            instance,
            tenancy,
            identity,
            tokens: Mutex::default(),
            life: Mutex::new(Duration::from_secs(20 * 60)),
        }
    }

    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&lock(&self.identity))
    }

    /// Gives the instance a new certificate and key, as happens several times a day. The old certificate stays valid.
    pub fn renew(&self) {
        *lock(&self.identity) = Arc::new(identity(&self.issuer, &self.instance, &self.tenancy));
    }

    /// Sets the life of tokens that are issued from now on.
    pub fn set_token_life(&self, life: Duration) {
        *lock(&self.life) = life;
    }

    /// Invalidates all tokens.
    pub fn forget_tokens(&self) {
        lock(&self.tokens).clear();
    }

    /// Answers as the metadata service, which requires a header that forged requests lack.
    pub fn metadata(&self, request: &Request, world: &World) -> Result<Answer, Refusal> {
        if request.header("authorization") != Some("Bearer Oracle") {
            return Err(Refusal::new(
                401,
                "NotAuthenticated",
                "version 2 requires its header",
            ));
        }
        let identity = self.identity();
        match (request.method.as_str(), request.path().trim_end_matches('/')) {
            ("GET", "/opc/v2/identity/cert.pem") => Ok(Answer::text(&identity.certificate)),
            ("GET", "/opc/v2/identity/key.pem") => Ok(Answer::text(&identity.key)),
            ("GET", "/opc/v2/identity/intermediate.pem") => Ok(Answer::text(&identity.intermediate)),
            ("GET", "/opc/v2/instance/region") => Ok(Answer::text(&world.region_key)),
            ("GET", "/opc/v2/instance/regionInfo") => Ok(Answer::json(
                200,
                &json!({
                    "realmDomainComponent": world.domain,
                    "realmKey": "oc1",
                    "regionIdentifier": world.region,
                    "regionKey": world.region_key.to_uppercase(),
                }),
            )),
            (_, _) => Err(Refusal::new(404, "NotFound", "no such metadata")),
        }
    }

    /// `POST /v1/x509`: issues a token to a caller that presents a certificate of this authority and signs with its
    /// key.
    pub fn issue(&self, request: &Request, now: Timestamp) -> Result<Answer, Flaw> {
        let credentials = Credentials::from_request(request)?;
        let body: TokenRequest =
            serde_json::from_slice(&request.body).map_err(|_json| Flaw::Parameter("body"))?;
        let der = BASE64_STANDARD.decode(&body.certificate);
        let der = der.map_err(|_base64| Flaw::Parameter("certificate"))?;
        let leaf = Certificate::from_der(&der).map_err(|_der| Flaw::Parameter("certificate"))?;
        self.check(&leaf, &body, now)?;
        let fingerprint = pairs(&hex::encode_upper(Sha1::digest(&der)));
        if credentials.key_id != format!("{}/fed-x509/{fingerprint}", self.tenancy) {
            return Err(Flaw::UnknownKey);
        }
        let key = leaf.tbs_certificate().subject_public_key_info().to_der();
        let key = key.map_err(|_der| Flaw::Parameter("certificate"))?;
        let key = PublicKey::from_public_key_der(&key).map_err(|_spki| Flaw::Parameter("certificate"))?;
        verify(request, &credentials, &key, false)?;
        fresh(request, &credentials, now)?;
        let session = BASE64_STANDARD.decode(&body.public_key);
        let session = session.map_err(|_base64| Flaw::Parameter("publicKey"))?;
        let session =
            PublicKey::from_public_key_der(&session).map_err(|_spki| Flaw::Parameter("publicKey"))?;
        let expires = now + *lock(&self.life);
        let token = self.token(&session, now, expires);
        lock(&self.tokens).insert(
            token.clone(),
            Token {
                key: session,
                principal: self.instance.clone(),
                expires,
            },
        );
        Ok(Answer::json(200, &json!({ "token": token })))
    }

    /// Returns the principal of an unexpired token.
    pub fn holder(&self, token: &str, now: Timestamp) -> Result<Token, Flaw> {
        let token = lock(&self.tokens).get(token).cloned().ok_or(Flaw::UnknownKey)?;
        if token.expires <= now {
            return Err(Flaw::Expired);
        }
        Ok(token)
    }

    /// Checks that the certificate is this authority's, is valid now, names the tenancy, and comes with its issuer.
    fn check(&self, leaf: &Certificate, body: &TokenRequest, now: Timestamp) -> Result<(), Flaw> {
        let flaw = Flaw::Parameter("certificate");
        let tbs = leaf.tbs_certificate();
        let signed = tbs.to_der().map_err(|_der| flaw.clone())?;
        self.signer
            .to_public_key()
            .pkcs1v15_verify::<Sha256>(&signed, leaf.signature().raw_bytes())
            .map_err(|_rsa| flaw.clone())?;
        let now = u64::try_from(now.as_second()).unwrap_or_default();
        let since = tbs.validity().not_before.to_unix_duration().as_secs();
        let until = tbs.validity().not_after.to_unix_duration().as_secs();
        if now < since || now > until {
            return Err(Flaw::Expired);
        }
        let subject = tbs.subject().to_string();
        let issuer = BASE64_STANDARD.encode(self.issuer.der());
        if !subject.contains(&format!("opc-tenant:{}", self.tenancy)) {
            return Err(flaw);
        }
        if !body.intermediate_certificates.contains(&issuer) {
            return Err(Flaw::Parameter("intermediateCertificates"));
        }
        Ok(())
    }

    /// Makes a JSON web token (RFC 7519), RS256. Clients read its `exp` and `iat`.
    fn token(&self, session: &PublicKey, now: Timestamp, expires: Timestamp) -> String {
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({
            "kty": "RSA",
            "n": number(&session.n().to_be_bytes_trimmed_vartime()),
            "e": number(&session.e().to_be_bytes_trimmed_vartime()),
        });
        let signed = format!(
            "{}.{}",
            encode(&json!({ "alg": "RS256", "kid": "asw_stand_in", "typ": "JWT" })),
            encode(&json!({
                "sub": self.instance,
                "opc-instance": self.instance,
                "opc-tenant": self.tenancy,
                "tenant": self.tenancy,
                "ptype": "instance",
                "ttype": "x509",
                "iss": "authService.oracle.com",
                "iat": now.as_second(),
                "exp": expires.as_second(),
                // Makes two tokens of the same second differ.
                "jti": format!("{:032x}", rand::random::<u128>()),
                "jwk": key.to_string(),
            }))
        );
        let signature = self.signer.pkcs1v15_sign::<Sha256>(signed.as_bytes());
        format!("{signed}.{}", number(&signature.expect("a signature")))
    }
}

/// The body of `POST /v1/x509`: certificates and key are the base64 of their PEM, without its header lines.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    certificate: String,
    public_key: String,
    #[serde(default)]
    intermediate_certificates: Vec<String>,
}

fn identity(issuer: &CertifiedIssuer<'static, KeyPair>, instance: &str, tenancy: &str) -> Identity {
    let pair = rsa_pair();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, instance);
    params
        .distinguished_name
        .push(DnType::OrganizationalUnitName, format!("opc-tenant:{tenancy}"));
    let certificate = params.signed_by(&pair, issuer).expect("a certificate");
    let key = PrivateKey::from_pkcs8_der(pair.serialized_der()).expect("an RSA key");
    Identity {
        certificate: certificate.pem(),
        key: key.to_pkcs1_pem(LineEnding::LF).expect("a PEM").to_string(),
        intermediate: issuer.pem(),
    }
}

fn rsa_pair() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key pair")
}
