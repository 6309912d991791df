use proptest::prelude::*;
use serde_json::json;

use super::*;

fn api() -> Value {
    json!({
        "compartmentId": "ocid1.compartment.oc1..a",
        "definedTags": {},
        "displayName": "name",
        "freeformTags": {"kms-key-id": "people's own"},
        "id": "ocid1.containerimagesignature.oc1.phx.0.a.b",
        "kmsKeyId": "key",
        "kmsKeyVersionId": "version",
        "lifecycleState": "AVAILABLE",
        "message": "bWVzc2FnZQ==",
        "signature": "c2lnbmF0dXJl",
        "signingAlgorithm": "SHA_256_RSA_PKCS_PSS",
        "somethingNew": [1, {"a": null}],
        "timeCreated": "2026-11-23T16:49:59.329Z",
    })
}

fn parse(record: &Value) -> Result<Record, RecordError> {
    Record::parse(record.to_string().as_bytes())
}

fn cli() -> Value {
    let mut object = api().as_object().unwrap().clone();
    for (api, cli) in FIELDS {
        if let Some(value) = object.remove(api) {
            object.insert(cli.to_owned(), value);
        }
    }
    Value::Object(object)
}

#[test]
fn reads_both_spellings_as_one_record_and_loses_nothing() {
    let record = parse(&api()).unwrap();
    assert_eq!(parse(&cli()).unwrap(), record);
    assert_eq!(
        record.others.keys().collect::<Vec<_>>(),
        ["compartmentId", "definedTags", "freeformTags", "somethingNew"]
    );
    assert_eq!(
        record.others["freeformTags"],
        json!({"kms-key-id": "people's own"})
    );
    assert_eq!(record.to_json(), api().to_string().as_bytes());
    assert_eq!(Record::parse(&record.to_json()).unwrap(), record);
    assert_eq!(record.message_bytes().unwrap(), b"message");
    assert_eq!(record.signature_bytes().unwrap(), b"signature");
    assert_eq!(record.locator(), "ocid1.containerimagesignature.oc1.phx.0.a.b");
    assert_eq!(Record { id: None, ..record }.locator(), "key");
}

#[test]
fn five_fields_are_enough() {
    let least = json!({
        "kmsKeyId": "", "kmsKeyVersionId": "", "message": "", "signature": "", "signingAlgorithm": "",
    });
    let record = parse(&least).unwrap();
    assert_eq!(
        (
            record.id.clone(),
            record.lifecycle_state.clone(),
            record.others.len()
        ),
        (None, None, 0)
    );
    assert_eq!(record.to_json(), least.to_string().as_bytes());
    // The text that the command line prints for an absent field.
    let nulls = json!({"id": null, "display-name": null, "lifecycle-state": null, "time-created": null});
    let mut least = least;
    let mut printed = Map::new();
    for (key, value) in least.as_object_mut().unwrap() {
        let cli = FIELDS
            .iter()
            .find(|(api, _)| api == key)
            .map_or(key.as_str(), |(_, cli)| cli);
        printed.insert(cli.to_owned(), value.take());
    }
    printed.extend(nulls.as_object().unwrap().clone());
    assert_eq!(parse(&Value::Object(printed)).unwrap(), record);
}

#[test]
fn refuses_a_record_put_together_from_two_spellings() {
    for (api_name, cli_name) in FIELDS {
        // The same field twice, or two fields of which each is spelled another way.
        let mut twice = api();
        twice[cli_name] = json!("other");
        assert!(
            matches!(parse(&twice), Err(RecordError::Mixed { cli, .. }) if cli == cli_name),
            "{cli_name}"
        );
        let mut twice = cli();
        twice[api_name] = json!("other");
        assert!(
            matches!(parse(&twice), Err(RecordError::Mixed { api, .. }) if api == api_name),
            "{api_name}"
        );
    }
    let mut mixed = api();
    let object = mixed.as_object_mut().unwrap();
    let state = object.remove("lifecycleState").unwrap();
    object.insert("lifecycle-state".to_owned(), state);
    assert_eq!(
        parse(&mixed),
        Err(RecordError::Mixed {
            api: "compartmentId",
            cli: "lifecycle-state"
        })
    );
}

#[test]
fn reads_every_kind_of_list_and_refuses_what_is_none() {
    let two = json!([api(), cli()]);
    let listing = |value: Value| Record::parse_listing(value.to_string().as_bytes());
    for list in [
        two.clone(),
        json!({"items": two}),
        json!({"data": two}),
        json!({"data": {"items": two}, "etag": "x"}),
    ] {
        let record = parse(&api()).unwrap();
        assert_eq!(listing(list), Ok(vec![record.clone(), record]));
    }
    for one in [api(), cli(), json!({"data": api(), "etag": "x"}), json!([api()])] {
        assert_eq!(listing(one), Ok(vec![parse(&api()).unwrap()]));
    }
    for none in [
        json!([]),
        json!({"items": []}),
        json!({"data": {"items": [], "remaining-items-count": 0}}),
    ] {
        assert_eq!(listing(none), Ok(vec![]));
    }
    for other in [
        json!(null),
        json!("x"),
        json!([1]),
        json!([[]]),
        json!({"items": [null]}),
        json!({"data": 3}),
    ] {
        assert_eq!(listing(other), Err(RecordError::NotAnObject));
    }
    assert_eq!(listing(json!({})), Err(RecordError::Missing("kmsKeyId")));
    assert_eq!(listing(json!([api(), {}])), Err(RecordError::Missing("kmsKeyId")));
    assert_eq!(listing(json!(vec![api(); CANDIDATES])).unwrap().len(), CANDIDATES);
    assert_eq!(
        listing(json!(vec![api(); CANDIDATES + 1])),
        Err(RecordError::TooMany { limit: CANDIDATES })
    );
    let large = vec![b' '; LISTING_BYTES + 1];
    assert_eq!(
        Record::parse_listing(&large),
        Err(RecordError::TooLarge { limit: LISTING_BYTES })
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        texts in proptest::collection::vec(".{0,20}", 5),
        id in proptest::option::of(".{0,20}"),
        // Never another spelling of a field that is known: two of one name are refused.
        other in "x[a-z]{1,3}[A-Z]{1,2}",
    ) {
        let [kms_key_id, kms_key_version_id, signing_algorithm, message, signature] = texts.try_into().unwrap();
        let record = Record {
            kms_key_id,
            kms_key_version_id,
            signing_algorithm,
            message,
            signature,
            id: id.clone(),
            display_name: None,
            lifecycle_state: id,
            time_created: None,
            others: Map::from_iter([(other, json!({"a": 1}))]),
        };
        prop_assert_eq!(Record::parse(&record.to_json()), Ok(record));
    }
}
