//! The connection of the story: the GenesysOrg and the Secret of `examples/sandbox`, at the sandbox's own address.

use anyhow::anyhow;
use k8s_openapi::api::core::v1::Secret;
use url::Url;

use crate::api::GenesysOrg;
use crate::api::genesys_org::Endpoints as CustomEndpoints;
use crate::cli::project::connections::{Accounts, Credentials, connect};
use crate::engine::genesys_org::AllowedEndpoints;
use crate::remote::connection::Connection;

/// The org.
pub struct Org {
    /// `<namespace>/<name>`.
    pub label: String,
    /// Calls a minute.
    pub calls_per_minute: u32,
    /// The connection.
    pub connection: Connection,
}

impl Org {
    /// Connects the org of a manifest, with its endpoints replaced by `url`.
    ///
    /// # Errors
    /// An org or a Secret that cannot be used: the examples are broken.
    pub fn connect(mut org: GenesysOrg, secret: &Secret, namespace: &str, url: &str) -> anyhow::Result<Self> {
        org.spec.endpoints = Some(CustomEndpoints { login: url.to_owned(), api: url.to_owned(), ca_bundle: None });
        let allowed = AllowedEndpoints { all: false, urls: vec![Url::parse(url)?] };
        let credentials = Credentials::of_secret(secret, namespace, &org).map_err(|message| anyhow!(message))?;
        let connection = connect(&org, &credentials, &allowed, &mut Accounts::new()).map_err(|message| anyhow!(message))?;
        let calls_per_minute = org.spec.effective_requests_per_minute();
        let name = org.metadata.name.unwrap_or_default();
        Ok(Self { label: format!("{namespace}/{name}"), calls_per_minute, connection })
    }
}
