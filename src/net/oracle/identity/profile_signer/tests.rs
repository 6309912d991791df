use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tempfile::TempDir;

use super::*;
use crate::base::error_chain::chain;

const KEY: &str = include_str!("../../../../../tests/fixtures/keys/rsa-2048.private-encrypted.pem");
const FINGERPRINT: &str = "92:45:df:54:bf:17:b7:ab:13:09:74:e9:a5:37:9c:d4";
const USER: &str = "ocid1.user.oc1..aaaa";
const TENANCY: &str = "ocid1.tenancy.oc1..aaaa";

/// A folder with a configuration file, a key and a token, as `oci session authenticate` writes them.
fn folder(session: bool, fingerprint: &str) -> (TempDir, Profile) {
    let folder = tempfile::tempdir().unwrap();
    let who = if session {
        "security_token_file=token"
    } else {
        "user="
    };
    let who = if session {
        who.to_owned()
    } else {
        format!("{who}{USER}")
    };
    let config = format!(
        "[DEFAULT]\n{who}\ntenancy={TENANCY}\nfingerprint={fingerprint}\nkey_file=key.pem\npass_phrase=test\n"
    );
    let path = folder.path().join("config");
    std::fs::write(&path, config).unwrap();
    std::fs::write(folder.path().join("key.pem"), format!("{KEY}OCI_API_KEY\n")).unwrap();
    let profile = Profile::read(&path, "DEFAULT", None).unwrap();
    (folder, profile)
}

fn token(end: i64) -> String {
    format!(
        "e30.{}.c2ln\n",
        URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{end}}}"))
    )
}

#[test]
fn the_key_is_decrypted_and_checked_against_the_profile() {
    let (_folder, profile) = folder(false, FINGERPRINT);
    let key = profile.key().unwrap();
    assert_eq!(key.fingerprint().to_string(), FINGERPRINT);
    profile.signer(Arc::new(key), Timestamp::UNIX_EPOCH).unwrap();

    let other = "00:45:df:54:bf:17:b7:ab:13:09:74:e9:a5:37:9c:d4";
    for session in [false, true] {
        let (_folder, profile) = folder(session, other);
        let error = profile.key().unwrap_err();
        assert!(
            matches!(error, ProfileSignerError::Fingerprint { .. }),
            "{error:?}"
        );
        let text = chain(&error);
        assert!(text.contains(other) && text.contains(FINGERPRINT), "{text}");
    }

    let wrong = Profile {
        pass_phrase: None,
        ..profile.clone()
    };
    assert_eq!(
        wrong.key().unwrap_err(),
        ProfileSignerError::Key {
            path: profile.key_file.clone(),
            source: RequestKeyError::NoPassPhrase
        }
    );
    std::fs::remove_file(&profile.key_file).unwrap();
    assert!(matches!(
        profile.key(),
        Err(ProfileSignerError::File(FileError::Io { .. }))
    ));
}

#[test]
fn the_token_is_read_for_each_use() {
    let (folder, profile) = folder(true, FINGERPRINT);
    let key = Arc::new(profile.key().unwrap());
    let signer = || profile.signer(Arc::clone(&key), Timestamp::from_second(1000).unwrap());
    let path = folder.path().join("token");
    assert!(matches!(
        signer(),
        Err(ProfileSignerError::File(FileError::Io { .. }))
    ));
    std::fs::write(&path, token(1001)).unwrap();
    signer().unwrap();
    std::fs::write(&path, token(1000)).unwrap();
    assert_eq!(
        signer().unwrap_err(),
        ProfileSignerError::Expired {
            path: path.clone(),
            at: Timestamp::from_second(1000).unwrap()
        }
    );
    for (content, source) in [("", TokenError::Syntax), ("e30.e30.c2ln", TokenError::Claims)] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(
            signer().unwrap_err(),
            ProfileSignerError::Token {
                path: path.clone(),
                source
            }
        );
    }
    std::fs::write(&path, "a".repeat(SECURITY_TOKEN_BYTES + WHITE_SPACE + 1)).unwrap();
    assert!(matches!(
        signer(),
        Err(ProfileSignerError::File(FileError::TooLarge { .. }))
    ));
}
