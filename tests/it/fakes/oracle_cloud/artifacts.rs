use serde_json::{Value, json};

use super::oracle_cloud::{Deletion, Lifecycle, Operation};
use super::{ALGORITHM, DIGEST, IMAGES, REPOSITORY, SIGNATURES, Site};

impl Site {
    fn record(&self) -> Value {
        json!({
            "compartmentId": self.compartment,
            "imageId": self.image.id,
            "kmsKeyId": self.key,
            "kmsKeyVersionId": self.version,
            "message": "e30=",
            "signature": "AAAA",
            "signingAlgorithm": ALGORITHM,
        })
    }
}

#[tokio::test]
async fn a_signature_is_created_read_tagged_and_deleted() {
    let site = Site::start().await;
    let mut submitted = site.record();
    submitted["freeformTags"] = json!({ "Department": "Finance" });
    let created = site.client.call("POST", SIGNATURES, &submitted).await;
    assert_eq!(created.status, 200);
    let record = created.json();
    for (field, value) in submitted.as_object().unwrap() {
        assert_eq!(&record[field], value, "{field}");
    }
    let id = record["id"].as_str().unwrap();
    let last = |text: &str| text[text.len() - 10..].to_owned();
    let name = format!(
        "{}::{}::{ALGORITHM}::{}",
        last(&site.key),
        last(&site.version),
        last(id)
    );
    assert_eq!(record["displayName"], name);
    assert_eq!(record["lifecycleState"], "AVAILABLE");
    assert_eq!(
        (&record["definedTags"], &record["systemTags"]),
        (&json!({}), &json!({}))
    );
    assert_eq!(record["createdBy"], site.client.key_id.split('/').nth(1).unwrap());
    let etag = created.header("etag").unwrap();

    let one = format!("{SIGNATURES}/{id}");
    let read = site.client.get(&one).await;
    assert_eq!((read.json(), read.header("etag")), (record.clone(), Some(etag)));
    // The list has all fields except for `createdBy`.
    let listed = site.client.get(&site.list("")).await.json()["items"][0].clone();
    let mut summary = record.clone();
    summary.as_object_mut().unwrap().remove("createdBy");
    assert_eq!(listed, summary);

    let tags = json!({ "definedTags": { "Operations": { "CostCenter": "42" } } });
    let tagged = site.client.call("PUT", &one, &tags).await;
    assert_eq!(tagged.json()["definedTags"], tags["definedTags"]);
    assert_eq!(tagged.json()["freeformTags"], submitted["freeformTags"]);
    assert_ne!(tagged.header("etag"), Some(etag));
    let other = site
        .client
        .call("PUT", &one, &json!({ "message": "bGllcw==" }))
        .await;
    assert_eq!(other.code(), (400, "InvalidParameter".to_owned()));

    let delete = |etag: &str| {
        let mut request = site
            .client
            .signed_request("DELETE", &one, None, jiff::Timestamp::now());
        request.headers.push(("if-match".to_owned(), etag.to_owned()));
        site.client.send(request)
    };
    assert_eq!(delete(etag).await.code(), (412, "NoEtagMatch".to_owned()));
    let gone = delete(tagged.header("etag").unwrap()).await;
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    assert_eq!(
        site.client.get(&one).await.code(),
        (404, "NotAuthorizedOrNotFound".to_owned())
    );
}

#[tokio::test]
async fn a_record_must_be_complete_and_name_an_existing_image() {
    let site = Site::start().await;
    for field in site.record().as_object().unwrap().keys() {
        let mut record = site.record();
        record.as_object_mut().unwrap().remove(field);
        let reply = site.client.call("POST", SIGNATURES, &record).await;
        assert_eq!(reply.code(), (400, "MissingParameter".to_owned()), "{field}");
    }
    for (field, value, code) in [
        (
            "imageId",
            "ocid1.containerimage.oc1.phx.0.x.y",
            (404, "NotAuthorizedOrNotFound"),
        ),
        (
            "compartmentId",
            "ocid1.compartment.oc1..x",
            (404, "NotAuthorizedOrNotFound"),
        ),
        (
            "signingAlgorithm",
            "SHA_256_RSA_PKCS1_V1_5",
            (400, "InvalidParameter"),
        ),
        ("signingAlgorithm", "ECDSA_SHA_256", (400, "InvalidParameter")),
    ] {
        let mut record = site.record();
        record[field] = json!(value);
        let reply = site.client.call("POST", SIGNATURES, &record).await;
        assert_eq!(reply.code(), (code.0, code.1.to_owned()), "{field} {value}");
    }
    assert_eq!(site.client.get(&site.list("")).await.ids().len(), 0);
}

#[tokio::test]
async fn requests_with_the_same_retry_token_create_one_record() {
    let site = Site::start().await;
    let create = |body: Value| {
        let mut request = site
            .client
            .signed_request("POST", SIGNATURES, Some(&body), jiff::Timestamp::now());
        let token = ("opc-retry-token".to_owned(), "again".to_owned());
        request.headers.push(token);
        site.client.send(request)
    };
    let (one, two) = (create(site.record()).await, create(site.record()).await);
    assert_eq!(one.json(), two.json());
    let mut other = site.record();
    other["signature"] = json!("BBBB");
    assert_eq!(
        create(other).await.code(),
        (409, "InvalidatedRetryToken".to_owned())
    );
    assert_eq!(site.client.get(&site.list("")).await.ids().len(), 1);
}

#[tokio::test]
async fn deleted_records_can_stay_listed() {
    for (deletion, state, again) in [
        (Deletion::Deleting, "DELETING", (409, "IncorrectState")),
        (Deletion::Deleted, "DELETED", (404, "NotAuthorizedOrNotFound")),
    ] {
        let site = Site::start_with(|options| options.deletion = deletion).await;
        let one = format!("{SIGNATURES}/{}", site.sign());
        let delete = || {
            let request = site
                .client
                .signed_request("DELETE", &one, None, jiff::Timestamp::now());
            site.client.send(request)
        };
        assert_eq!(delete().await.status, 204);
        assert_eq!(delete().await.code(), (again.0, again.1.to_owned()));
        let listed = site.client.get(&site.list("")).await.json();
        assert_eq!(listed["items"][0]["lifecycleState"], state);
    }
}

#[tokio::test]
async fn pages_form_the_whole_list_and_belong_to_it() {
    let site = Site::start_with(|options| options.page = 3).await;
    let mut made: Vec<String> = (0..7).map(|_| site.sign()).collect();
    made.reverse();
    let mut found = Vec::new();
    let mut next = Some(String::new());
    let mut remaining = Vec::new();
    while let Some(page) = next {
        let reply = site.client.get(&site.list(&page)).await;
        found.extend(reply.ids());
        remaining.push(reply.json()["remainingItemsCount"].as_u64().unwrap());
        next = reply
            .header("opc-next-page")
            .map(|token| format!("&page={token}"));
    }
    // By default the newest come first.
    assert_eq!((found, remaining), (made.clone(), vec![4, 1, 0]));

    let ascending = site.client.get(&site.list("&sortOrder=ASC&limit=2")).await;
    assert_eq!(ascending.ids(), [made[6].clone(), made[5].clone()]);
    let token = ascending.header("opc-next-page").unwrap();
    let same = site
        .client
        .get(&site.list(&format!("&sortOrder=ASC&limit=5&page={token}")))
        .await;
    assert_eq!((same.ids().len(), same.header("opc-next-page")), (5, None));
    for wrong in [
        format!("&page={token}"),
        "&page=x".to_owned(),
        "&limit=0".to_owned(),
        "&limit=1001".to_owned(),
        "&sortBy=ID".to_owned(),
        "&sortOrder=UP".to_owned(),
    ] {
        let reply = site.client.get(&site.list(&wrong)).await;
        assert_eq!(reply.code(), (400, "InvalidParameter".to_owned()), "{wrong}");
    }
    let by_name = site
        .client
        .get(&site.list("&sortBy=DISPLAYNAME&limit=7"))
        .await
        .json();
    let names: Vec<_> = by_name["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["displayName"].to_string())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[tokio::test]
async fn each_filter_restricts_the_list() {
    let site = Site::start().await;
    let mine = site.sign();
    let other = site
        .cloud
        .push("project01/other", &DIGEST.replace('2', "3"), None);
    let theirs = site
        .cloud
        .sign_and_upload(&other, &site.version, "SHA_512_RSA_PKCS_PSS");
    let name = site.client.get(&format!("{SIGNATURES}/{mine}")).await.json()["displayName"].clone();
    let escaped = |text: &str| text.replace('/', "%2F").replace(':', "%3A");
    for (filter, wanted) in [
        (format!("imageId={}", site.image.id), vec![&mine]),
        (format!("imageDigest={}", escaped(DIGEST)), vec![&mine]),
        (format!("repositoryName={}", escaped(REPOSITORY)), vec![&mine]),
        ("repositoryName=project01%2F*".to_owned(), vec![&theirs, &mine]),
        ("repositoryName=project01%2Fo*".to_owned(), vec![&theirs]),
        ("repositoryName=project01".to_owned(), vec![]),
        ("signingAlgorithm=SHA_512_RSA_PKCS_PSS".to_owned(), vec![&theirs]),
        (format!("kmsKeyId={}", site.key), vec![&theirs, &mine]),
        ("kmsKeyId=ocid1.key.oc1.phx.x.y".to_owned(), vec![]),
        (format!("kmsKeyVersionId={}", site.version), vec![&theirs, &mine]),
        (
            format!("displayName={}", escaped(name.as_str().unwrap())),
            vec![&mine],
        ),
        (
            format!("kmsKeyId={}&imageDigest={}", site.key, escaped(DIGEST)),
            vec![&mine],
        ),
    ] {
        let found = site.client.get(&site.list(&format!("&{filter}"))).await.ids();
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{filter}");
    }
}

#[tokio::test]
async fn only_the_tenancy_can_be_searched_with_its_subtree() {
    let site = Site::start().await;
    let mine = site.sign();
    let of = |compartment: &str, more: &str| format!("{SIGNATURES}?compartmentId={compartment}{more}");
    let (tenancy, compartment) = (&site.tenancy, &site.compartment);
    let subtree = "&compartmentIdInSubtree=true";
    assert_eq!(site.client.get(&of(tenancy, subtree)).await.ids(), [mine]);
    assert_eq!(site.client.get(&of(tenancy, "")).await.ids().len(), 0);
    assert_eq!(
        site.client.get(&of(compartment, subtree)).await.code(),
        (400, "InvalidParameter".to_owned())
    );
    assert_eq!(
        site.client.get(&of("ocid1.compartment.oc1..x", "")).await.code(),
        (404, "NotAuthorizedOrNotFound".to_owned())
    );
    assert_eq!(
        site.client.get(SIGNATURES).await.code(),
        (400, "MissingParameter".to_owned())
    );
}

#[tokio::test]
async fn an_image_is_found_by_id_and_by_name() {
    let site = Site::start().await;
    let by_id = site
        .client
        .get(&format!("{IMAGES}/{}", site.image.id))
        .await
        .json();
    assert_eq!(
        (&by_id["digest"], &by_id["repositoryName"]),
        (&json!(DIGEST), &json!(REPOSITORY))
    );
    let up = format!("{IMAGES}/actions/lookupImageByUri");
    let (client, up) = (&site.client, &up);
    let look_up = |uri: String| async move { client.call("POST", up, &json!({ "imageUri": uri })).await };
    let namespace = site.cloud.world().tenancy.namespace;
    assert_eq!(
        look_up(format!("{namespace}/{REPOSITORY}@{DIGEST}")).await.json(),
        by_id
    );
    assert_eq!(
        look_up(format!("{namespace}/{REPOSITORY}:v1")).await.json(),
        by_id
    );
    for wrong in [
        format!("other/{REPOSITORY}:v1"),
        format!("{namespace}/{REPOSITORY}:v2"),
        format!("{namespace}/project01/other@{DIGEST}"),
    ] {
        let code = look_up(wrong).await.code();
        assert_eq!(code, (404, "NotAuthorizedOrNotFound".to_owned()));
    }
    assert_eq!(look_up("nothing".to_owned()).await.code().0, 400);
    let listed = site
        .client
        .get(&format!("{IMAGES}?compartmentId={}&version=v1", site.compartment))
        .await;
    assert_eq!(listed.ids(), [site.image.id.as_str()]);
}

#[tokio::test]
async fn a_second_push_creates_another_image_without_signatures() {
    let site = Site::start().await;
    site.sign();
    let again = site.cloud.push(REPOSITORY, DIGEST, Some("v1"));
    assert_ne!(again.id, site.image.id);
    let of_image = |id: &str| site.list(&format!("&imageId={id}"));
    assert_eq!(site.client.get(&of_image(&again.id)).await.ids().len(), 0);
    assert_eq!(site.client.get(&of_image(&site.image.id)).await.ids().len(), 1);
}

#[tokio::test]
async fn an_unknown_operation_is_not_found() {
    let site = Site::start().await;
    let reply = site.client.get("/20160918/container/configuration").await;
    assert_eq!(reply.code(), (404, "NotAuthorizedOrNotFound".to_owned()));
    assert_eq!(site.cloud.requests()[0].operation, None);
    site.client.get(&site.list("")).await;
    let seen = site.cloud.requests().pop().unwrap();
    assert_eq!(seen.operation, Some(Operation::ListContainerImageSignatures));
    assert!(!site.cloud.set_key_state("nothing", Lifecycle::Disabled));
}
