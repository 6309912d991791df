use super::Demo;

#[tokio::test]
async fn every_pull_has_the_expected_outcome() {
    let demo = Demo::start().await.unwrap();
    let outcomes = demo.pull_all().await.unwrap();
    for outcome in &outcomes {
        assert!(outcome.as_expected(), "{outcome:?}");
        assert_eq!(outcome.printed.is_some(), outcome.demo_image.expected.is_some());
        assert_eq!(
            outcome.reason(),
            outcome.demo_image.expected.map(|reason| reason.code())
        );
    }
    let manifests: Vec<_> = outcomes
        .iter()
        .filter_map(|each| each.result.as_ref().ok())
        .map(|each| each.manifests.len())
        .collect();
    assert_eq!(manifests, [1, 2]);
    assert_eq!(outcomes.len(), 6);
    demo.stop().await;
}

#[tokio::test]
async fn an_unexpected_outcome_is_detected() {
    let mut demo = Demo::start().await.unwrap();
    let (first, second) = (demo.images[0].expected, demo.images[2].expected);
    demo.images[0].expected = second;
    demo.images[2].expected = first;
    demo.images[3].expected = second;
    let outcomes = demo.pull_all().await.unwrap();
    let seen: Vec<_> = outcomes.iter().map(super::PullOutcome::as_expected).collect();
    assert_eq!(seen, [false, true, false, false, true, true]);
    demo.stop().await;
}

#[tokio::test]
async fn the_commands_name_the_gate_and_never_the_registry() {
    let demo = Demo::start().await.unwrap();
    let origin = demo.registry().rsplit(':').next().unwrap().to_owned();
    let (gate, port) = (demo.gate(), demo.gate().port());
    let lines: Vec<_> = demo
        .commands_by_hand()
        .into_iter()
        .flat_map(|each| each.commands)
        .collect();
    assert!(lines.iter().all(|line| !line.contains(&origin)), "{lines:#?}");
    for expected in [
        format!("docker pull localhost:{port}/registry.example/acme/app:signed"),
        format!("docker pull localhost:{port}/registry.example/acme/app:unsigned"),
        format!("podman pull --tls-verify=false {gate}/registry.example/acme/app:signed"),
        "sudo ctr images pull --hosts-dir \"$hosts\" registry.example/acme/app:unsigned".to_owned(),
    ] {
        assert!(lines.contains(&expected), "{expected}\n{lines:#?}");
    }
    let hosts = lines.iter().find(|line| line.starts_with("hosts=")).unwrap();
    for part in [
        format!("'server = \"http://{gate}\"'"),
        format!("'[host.\"http://{gate}\"]'"),
    ] {
        assert!(hosts.contains(&part), "{hosts}");
    }
    demo.stop().await;
}
