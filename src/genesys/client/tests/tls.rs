//! TLS: the CA bundle of custom endpoints.

use axum_server::tls_rustls::RustlsConfig;

use super::*;

/// A TLS server that answers everything with a token; its URL and its certificate.
async fn server() -> (String, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let config = RustlsConfig::from_pem(cert.clone().into_bytes(), key.into_bytes()).await.unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let token = "{\"access_token\":\"t\",\"expires_in\":3600}";
    let app = axum::Router::new().fallback(move || async move { token });
    let server = axum_server::from_tcp_rustls(listener, config).unwrap();
    tokio::spawn(async move { server.serve(app.into_make_service()).await.unwrap() });
    (url, cert)
}

async fn call(url: &str, ca_bundle: Option<String>) -> Result<Answer, Error> {
    let endpoints = Endpoints::custom(url, url, ca_bundle).unwrap();
    let account = Account::new(endpoints.login.clone(), "id", 600);
    account.set_credentials("secret".into(), "1");
    let client = Client::with_timing(account.clone(), &endpoints, Arc::new(NoObserver), quick())?;
    client.session(account.budget().ticket(Lane::Check).await).send(read()).await
}

#[tokio::test]
async fn a_server_is_trusted_by_the_bundle_only() {
    let (url, cert) = server().await;
    assert_eq!(call(&url, Some(cert)).await.unwrap().status, 200);
    let (_, other) = server().await;
    let error = call(&url, Some(other)).await.unwrap_err();
    assert_eq!((error.kind, error.endpoint), (Unavailable, "T1"));
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_bundle_without_a_certificate_is_a_configuration_error() {
    for bundle in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"] {
        let error = call("https://localhost:1/", Some(bundle.into())).await.unwrap_err();
        assert_eq!((error.kind, error.endpoint), (ErrorKind::Configuration, "setup"), "{bundle}");
    }
}
