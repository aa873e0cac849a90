//! A1 against the sandbox's registry: what arrives, and what counts as delivered.

use assist_operator::genesys::audit_sink::Sink;
use assist_operator::sandbox::{Fault, FaultKind};
use secrecy::SecretString;

use super::stage::{SECRET, Stage, leaks};
use super::wire::Stranger;

const BODY: &[u8] = b"{\"auditId\": \"id-1\", \"status\": \"PROMOTED\"}";

fn sink(stage: &Stage, key: Option<&str>) -> Sink {
    let url = format!("{}/audit/records", stage.sandbox.url()).parse().unwrap();
    Sink::new(url, key.map(SecretString::from), true).unwrap()
}

#[tokio::test]
async fn a_record_arrives_signed_and_the_same_each_time() {
    let stage = Stage::new().await;
    stage.world.set_audit_key(Some(SECRET));
    let signed = sink(&stage, Some(SECRET));
    signed.deliver("id-1", BODY).await.unwrap();
    signed.deliver("id-1", BODY).await.unwrap();
    sink(&stage, Some("another key")).deliver("id-2", BODY).await.unwrap();
    sink(&stage, None).deliver("id-3", BODY).await.unwrap();
    let records = stage.world.audit_records();
    let valid: Vec<Option<bool>> = records.iter().map(|record| record.signature_valid).collect();
    assert_eq!(valid, [Some(true), Some(true), Some(false), Some(false)]);
    assert_eq!(
        (records[0].body.as_slice(), &records[0].body, &records[0].headers),
        (BODY, &records[1].body, &records[1].headers)
    );
    assert_eq!((records[0].audit_id.as_deref(), &records[3].signature), (Some("id-1"), &None));
    // No token of the platform ever goes there.
    assert!(records.iter().all(|record| record.headers.iter().all(|(name, value)| name != "authorization" && !leaks(value))));
    assert!(!leaks(&format!("{signed:?}")));
    assert_eq!((stage.count("A1").await, stage.count("T1").await), (4, 0));
}

#[tokio::test]
async fn what_is_no_2xx_was_not_delivered() {
    let stage = Stage::new().await;
    let stranger = Stranger::start().await;
    let faults = [
        (FaultKind::status(500), Some(500)),
        (FaultKind::status(401), Some(401)),
        (FaultKind::retry_after(429, "60"), Some(429)),
        (FaultKind::Redirect { status: 307, location: stranger.url.clone() }, Some(307)),
        (FaultKind::ResetBefore, None),
        (FaultKind::ResetAfter, None),
    ];
    let sink = sink(&stage, Some(SECRET));
    for (fault, status) in faults {
        stage.world.faults().push(Fault::new(fault.clone()).on(&["A1"]));
        let error = sink.deliver("id-1", BODY).await.unwrap_err();
        assert_eq!(error.status, status, "{fault:?}");
        assert!(!leaks(&error.to_string()) && !error.to_string().contains("id-1"), "{error}");
    }
    assert_eq!(stranger.connections().await, 0);
    // Its pause is not the org's, and a body that is no JSON does not matter: the status says it.
    for fault in
        [FaultKind::Html { status: 200 }, FaultKind::EmptyBody, FaultKind::Oversized { gzip: true }, FaultKind::TruncatedBody]
    {
        stage.world.faults().push(Fault::new(fault.clone()).on(&["A1"]));
        assert_eq!(sink.deliver("id-1", BODY).await, Ok(()), "{fault:?}");
    }
    assert_eq!(stage.calls().await.len(), 10);
}
