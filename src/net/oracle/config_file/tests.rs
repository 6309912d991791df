use proptest::prelude::*;

use super::*;

const USER: &str = "ocid1.user.oc1..aaaaaaaaylfzeygvsg6ck365vm6g7tgtdmwjv33nmyfue6otnosbv22z6q3c";
const TENANCY: &str = "ocid1.tenancy.oc1..aaaaaaaacatagdyblhcqriqxvorwvajdmlxuvv3d5dz3ba2v7kcvicmivfnq";
const FINGERPRINT: &str = "3b:41:99:fb:f2:9e:d9:d6:50:eb:17:83:bb:da:8a:a2";
const PATH: &str = "/etc/pullgate/oci/config";

/// The file of Oracle's documentation, with additional keys of other tools.
fn file() -> String {
    format!(
        "# made by hand\n\n[DEFAULT]\nuser={USER}\nfingerprint={FINGERPRINT}\nkey_file=~/.oci/key.pem\n\
         tenancy={TENANCY}\nregion=us-phoenix-1\ncustom_compartment_id=ocid1.x\n\n[ADMIN]\nuser = {}\n\
         Key_File : admin.pem\npass_phrase= correct = horse # battery\n; region = nowhere\n",
        USER.replace("aaaa", "bbbb")
    )
}

fn read(text: &str, profile: &str) -> Result<Profile, ConfigFileError> {
    Profile::parse(
        text.as_bytes(),
        Path::new(PATH),
        profile,
        Some(Path::new("/home/gate")),
    )
}

#[test]
fn a_profile_inherits_the_keys_that_it_lacks() {
    let default = read(&file(), "DEFAULT").unwrap();
    assert_eq!(
        default,
        Profile {
            name: "DEFAULT".to_owned(),
            tenancy: TENANCY.parse().unwrap(),
            key_file: PathBuf::from("/home/gate/.oci/key.pem"),
            pass_phrase: None,
            region: Some("us-phoenix-1".parse().unwrap()),
            authentication: Authentication::ApiKey {
                user: USER.parse().unwrap(),
                fingerprint: FINGERPRINT.parse().unwrap(),
            },
        }
    );
    let admin = read(&file(), "ADMIN").unwrap();
    assert_eq!(admin.key_file, Path::new("/etc/pullgate/oci/admin.pem"));
    // A comment cannot begin within a line, and only the first delimiter separates key and value.
    assert_eq!(
        admin.pass_phrase.as_ref().unwrap().expose(),
        "correct = horse # battery"
    );
    assert_eq!((admin.tenancy, admin.region), (default.tenancy, default.region));
    let expected = USER.replace("aaaa", "bbbb").parse().unwrap();
    assert!(matches!(admin.authentication, Authentication::ApiKey { user, .. } if user == expected));
}

#[test]
fn own_keys_win_over_inherited_ones_and_a_token_over_a_user() {
    let session = format!(
        "{}\n[SESSION]\nfingerprint={FINGERPRINT}\nkey_file=/k\nsecurity_token_file=sessions/token\n[API]\nuser={USER}\n",
        file()
    );
    let profile = read(&session, "SESSION").unwrap();
    assert_eq!(
        profile.authentication,
        Authentication::SessionToken {
            token_file: PathBuf::from("/etc/pullgate/oci/sessions/token"),
            fingerprint: Some(FINGERPRINT.parse().unwrap()),
        }
    );
    let by_default = session.replace("[DEFAULT]\n", "[DEFAULT]\nsecurity_token_file=~/token\n");
    let is_session = |profile| {
        matches!(
            read(&by_default, profile).unwrap().authentication,
            Authentication::SessionToken { .. }
        )
    };
    assert!(is_session("DEFAULT") && is_session("SESSION"));
    assert!(!is_session("API") && !is_session("ADMIN"));
    let least = format!("[S]\ntenancy={TENANCY}\nkey_file=k\nsecurity_token_file=t\n");
    assert!(matches!(
        read(&least, "S").unwrap().authentication,
        Authentication::SessionToken {
            fingerprint: None,
            ..
        }
    ));
}

#[test]
fn errors_name_line_profile_and_key() {
    let path = || PathBuf::from(PATH);
    let malformed = |line, key, wanted| ConfigFileError::Malformed {
        path: path(),
        line,
        profile: "DEFAULT".to_owned(),
        key,
        wanted,
    };
    let quoted = format!("user=\"{USER}\"");
    for (from, to, expected) in [
        (
            "user=",
            "usr=",
            ConfigFileError::Missing {
                path: path(),
                profile: "DEFAULT".to_owned(),
                key: "user",
            },
        ),
        (
            "key_file=",
            "keyfile=",
            ConfigFileError::Missing {
                path: path(),
                profile: "DEFAULT".to_owned(),
                key: "key_file",
            },
        ),
        (
            &format!("user={USER}"),
            &quoted,
            malformed(4, "user", "the OCID of a user"),
        ),
        (
            "user=ocid1.user",
            "user=ocid1.tenancy",
            malformed(4, "user", "the OCID of a user"),
        ),
        (
            "tenancy=ocid1.tenancy",
            "tenancy=ocid1.user",
            malformed(7, "tenancy", "the OCID of a tenancy"),
        ),
        (
            "=3b:41",
            "=3B:41",
            malformed(
                5,
                "fingerprint",
                "sixteen pairs of lower-case hex digits, separated by colons",
            ),
        ),
        (
            "us-phoenix-1",
            "us-phoenix-1.evil.example",
            malformed(
                8,
                "region",
                "a region's id (`us-phoenix-1`) or a known short code (`phx`)",
            ),
        ),
        ("~/.oci/key.pem", "", malformed(6, "key_file", "a path")),
        (
            "~/.oci/key.pem",
            "~root/key.pem",
            malformed(
                6,
                "key_file",
                "a supported path: write an absolute path in place of `~USER`",
            ),
        ),
        (
            "tenancy=",
            "  tenancy=",
            ConfigFileError::Continued {
                path: path(),
                line: 7,
                profile: "DEFAULT".to_owned(),
                key: "key_file",
            },
        ),
    ] {
        let text = file().replacen(from, to, 1);
        assert_eq!(read(&text, "DEFAULT"), Err(expected), "{from} {to}");
    }
    assert_eq!(
        Profile::parse(file().as_bytes(), Path::new(PATH), "DEFAULT", None),
        Err(ConfigFileError::NoHome {
            path: path(),
            line: 6,
            profile: "DEFAULT".to_owned(),
            key: "key_file"
        })
    );
    assert_eq!(
        read(&file(), "admin"),
        Err(ConfigFileError::NoProfile {
            path: path(),
            profile: "admin".to_owned(),
            known: "`ADMIN`, `DEFAULT`".to_owned()
        })
    );
    assert!(matches!(
        read("", "DEFAULT"),
        Err(ConfigFileError::Missing { key: "tenancy", .. })
    ));
}

#[test]
fn syntax_errors_name_the_line() {
    for (text, line, source) in [
        ("user=x", 1, SyntaxError::NoSection),
        ("\n[DEFAULT]\nuser", 3, SyntaxError::NoDelimiter),
        ("[DEFAULT]\n = x", 2, SyntaxError::NoDelimiter),
        ("[DEFAULT\n", 1, SyntaxError::Section),
        ("[]\n", 1, SyntaxError::Section),
        ("[A] user=x\n", 1, SyntaxError::Section),
        ("[A]\n[B]\n[A]\n", 3, SyntaxError::DuplicateSection { first: 1 }),
        (
            "[A]\nuser=x\n\nUSER=y\n",
            4,
            SyntaxError::DuplicateKey {
                key: "user".to_owned(),
                first: 2,
            },
        ),
        (
            "[DEFAULT]\na=1\n[DEFAULT]\na=2\n",
            4,
            SyntaxError::DuplicateKey {
                key: "a".to_owned(),
                first: 2,
            },
        ),
        ("{\"user\": 1}", 1, SyntaxError::NoSection),
    ] {
        assert_eq!(
            read(text, "DEFAULT"),
            Err(ConfigFileError::Syntax {
                path: PathBuf::from(PATH),
                line,
                source
            }),
            "{text:?}"
        );
    }
    let not_utf8 = [b"[DEFAULT]\nuser=".as_slice(), b"\xff\n"].concat();
    assert_eq!(
        Profile::parse(&not_utf8, Path::new(PATH), "DEFAULT", None),
        Err(ConfigFileError::NotUtf8 {
            path: PathBuf::from(PATH),
            line: 2
        })
    );
    let large = vec![b'#'; ORACLE_CONFIG_BYTES + 1];
    assert!(matches!(
        Profile::parse(&large, Path::new(PATH), "DEFAULT", None),
        Err(ConfigFileError::File(FileError::TooLarge { .. }))
    ));
}

#[test]
fn spelling_variants_of_a_file_read_the_same() {
    let expected = read(&file(), "ADMIN").unwrap();
    for text in [
        file().replace('\n', "\r\n"),
        format!("\u{feff}{}", file()),
        file().replace("[ADMIN]", "[ADMIN] # mine"),
        file().replace("user=", "  user="),
        file().replace("[ADMIN]", "[OTHER]\nnote = one\n  and = two\n\n[ADMIN]"),
        format!("{}[DEFAULT]\nmore = x\n", file()),
    ] {
        assert_eq!(read(&text, "ADMIN"), Ok(expected.clone()), "{text}");
    }
}

#[test]
fn errors_and_debug_output_quote_no_value() {
    let swapped = file().replace("region=us-phoenix-1", "region=correct horse");
    let error = read(&swapped, "ADMIN").unwrap_err();
    let profile = read(&file(), "ADMIN").unwrap();
    let ini = Ini::parse("[A]\npass_phrase=correct horse").unwrap();
    let text = format!("{error:?} {error} {profile:?} {ini:?}");
    assert!(!text.contains("horse"), "{text}");
    assert!(
        error
            .to_string()
            .starts_with("/etc/pullgate/oci/config, line 8: `region` of profile `ADMIN`")
    );
}

proptest! {
    #[test]
    fn any_text_is_a_file_or_an_error(
        text in "([\\[\\]=:#; \\ta-c\r\n~/]|\\PC){0,80}",
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let _ = read(&text, "a");
        let _ = Profile::parse(&bytes, Path::new(""), "DEFAULT", None);
    }

    /// Entries in the usual form are read unchanged.
    #[test]
    fn every_written_entry_is_read(
        entries in proptest::collection::btree_map("[a-z_]{1,8}", "[!-~]([ -~]{0,10}[!-~])?", 0..8),
        blank in "[ \t]{0,2}",
        comment in "[#;][ -~]{0,10}",
    ) {
        let mut text = "[P]\n".to_owned();
        for (key, value) in &entries {
            text.push_str(&format!("{key}{blank}={blank}{value}{blank}\n{blank}{comment}\n\n"));
        }
        let ini = Ini::parse(&text).unwrap();
        for (key, value) in &entries {
            let entry = ini.get("P", key).unwrap();
            prop_assert_eq!((entry.value, entry.continued), (value.as_str(), None));
        }
    }
}
