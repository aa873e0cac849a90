//! The connection of the story: the GenesysOrg and the Secret of `examples/sandbox`, at the sandbox's own address.

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;
use std::sync::Arc;
use url::Url;

use crate::api::GenesysOrg;
use crate::api::genesys_org::Endpoints as CustomEndpoints;
use crate::engine::finding;
use crate::engine::genesys_org::{AllowedEndpoints, Place, validate};
use crate::genesys::{Account, Client, Endpoints, NoObserver};

/// A connection, made the way that the controller makes it.
pub struct Org {
    /// Namespace and name, for audit records.
    pub label: String,
    /// Host and port of the API.
    pub host: String,
    /// {API host, client id}: whose remote objects these are.
    pub key: String,
    /// Calls a minute.
    pub calls_per_minute: u32,
    /// The client.
    pub client: Client,
}

impl Org {
    /// Connects the org of a manifest, with its endpoints replaced by `url`.
    ///
    /// # Errors
    /// An org or a Secret that cannot be used: the examples are broken.
    pub fn connect(mut org: GenesysOrg, secret: &Secret, namespace: &str, url: &str) -> anyhow::Result<Self> {
        org.spec.endpoints = Some(CustomEndpoints { login: url.to_owned(), api: url.to_owned(), ca_bundle: None });
        let allowed = AllowedEndpoints { all: false, urls: vec![Url::parse(url)?] };
        let place = validate(&org.spec, &allowed).map_err(|findings| anyhow!("{}", finding::summary(&findings)))?;
        let Place::Custom { login, api, ca_bundle } = place else { anyhow::bail!("the org of the examples has a region") };
        let host = match (api.host_str(), api.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let text = |key: &str| {
            let text = secret.string_data.as_ref().and_then(|data| data.get(key)).cloned();
            text.with_context(|| format!("the Secret of the examples has no {key}"))
        };
        let client_id = text("clientId")?;
        let calls_per_minute = org.spec.effective_requests_per_minute();
        let account = Account::new(login.clone(), &client_id, calls_per_minute);
        account.set_credentials(SecretString::from(text("clientSecret")?), "1");
        let client = Client::new(account, &Endpoints { login, api, ca_bundle }, Arc::new(NoObserver))?;
        let name = org.metadata.name.unwrap_or_default();
        Ok(Self { label: format!("{namespace}/{name}"), key: format!("{host} {client_id}"), host, calls_per_minute, client })
    }
}
