//! The connection of an org: credentials from the environment, from the Secret among the manifests, or from the cluster.

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};

use crate::api::GenesysOrg;
use crate::api::genesys_org::Region;
use crate::controller::org;
use crate::engine::finding;
use crate::engine::genesys_org::{AllowedEndpoints, validate};
use crate::genesys::{Account, NoObserver};
use crate::remote::connection::{self, Connection};

/// The variables that Genesys' own tools read.
const ID: &str = "GENESYSCLOUD_OAUTHCLIENT_ID";
const SECRET: &str = "GENESYSCLOUD_OAUTHCLIENT_SECRET";
const REGION: &str = "GENESYSCLOUD_REGION";

/// An OAuth client.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Its id.
    pub client_id: String,
    /// Its secret.
    pub secret: SecretString,
    /// Tells it apart from others.
    pub version: String,
}

impl Credentials {
    /// Those of the Secret of an org; also of one that was never in a cluster, with its texts in `stringData`.
    ///
    /// # Errors
    /// The key that is missing, and what to do.
    pub fn of_secret(secret: &Secret, namespace: &str, org: &GenesysOrg) -> Result<Self, String> {
        let secret = with_plain_texts(secret);
        let (client_id, secret, version) = org::credentials(&secret, namespace, org)?;
        Ok(Self { client_id, secret, version })
    }
}

/// A Secret that was never in a cluster as it would be there: the texts of `stringData` are data.
pub fn with_plain_texts(secret: &Secret) -> Secret {
    let mut secret = secret.clone();
    let plain = secret.string_data.take().unwrap_or_default();
    secret.data.get_or_insert_default().extend(plain.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))));
    secret
}

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The client, where both of its variables are set.
    pub credentials: Option<Credentials>,
    /// The region.
    pub region: Option<Region>,
}

impl Environment {
    /// The environment of this process.
    ///
    /// # Errors
    /// See [`Environment::read`].
    #[allow(clippy::disallowed_methods, reason = "a secret does not belong into arguments, which every process can see")]
    pub fn of_process() -> anyhow::Result<Self> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables with `get`.
    ///
    /// # Errors
    /// A variable that is set and cannot be used.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let text = |name: &str| get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let credentials = match (text(ID), text(SECRET)) {
            (Some(client_id), Some(secret)) => {
                let version = org::version_of(&client_id, &secret);
                Some(Credentials { client_id, secret: SecretString::from(secret), version })
            }
            (None, None) => None,
            (id, _) => {
                let missing = if id.is_none() { ID } else { SECRET };
                anyhow::bail!("{missing} is not set: the client of the environment is {ID} and {SECRET} together");
            }
        };
        let region = text(REGION).map(|name| {
            serde_json::from_value(serde_json::Value::String(name.clone())).map_err(|_| {
                let known: Vec<&str> = crate::genesys::endpoints::REGIONS.iter().map(|(id, _)| *id).collect();
                let shown = crate::engine::display::escape(&name);
                anyhow::anyhow!("{REGION}={shown} is no region of Genesys Cloud; one of {}", known.join(", "))
            })
        });
        Ok(Self { credentials, region: region.transpose()? })
    }

    /// Whether its client may be used for an org: credentials never go to another place than the environment names.
    ///
    /// # Errors
    /// Why not.
    pub fn fits(&self, org: &GenesysOrg, label: &str) -> Result<(), String> {
        match (&self.region, &org.spec.region) {
            // A custom endpoint is on the command line.
            (None, None) => Ok(()),
            (None, Some(region)) => Err(format!(
                "the credentials of the environment go only where it says: set {REGION}, for GenesysOrg {label} it would be {}",
                region.id()
            )),
            (Some(own), Some(region)) if own == region => Ok(()),
            (Some(region), _) => Err(format!(
                "{REGION} is {} and GenesysOrg {label} is elsewhere; the credentials of the environment are not sent there: correct one of the two",
                region.id()
            )),
        }
    }
}

/// The accounts in use: orgs with one client share its token and its budget.
pub type Accounts = Vec<(String, Arc<Account>)>;

/// Connects an org.
///
/// # Errors
/// What breaks a rule, and what to do.
pub fn connect(
    org: &GenesysOrg,
    credentials: &Credentials,
    allowed: &AllowedEndpoints,
    accounts: &mut Accounts,
) -> Result<Connection, String> {
    let place = validate(&org.spec, allowed).map_err(|findings| finding::summary(&findings))?;
    let endpoints = connection::endpoints(place)?;
    let limit = org.spec.effective_requests_per_minute();
    let same = |(version, account): &&(String, Arc<Account>)| {
        *version == credentials.version && *account.login() == endpoints.login && account.client_id() == credentials.client_id
    };
    let account = match accounts.iter().find(same) {
        Some((_, account)) => {
            // The smaller number counts.
            account.budget().set_limit(account.budget().limit().min(limit));
            account.clone()
        }
        None => {
            let account = Account::new(endpoints.login.clone(), &credentials.client_id, limit);
            account.set_credentials(SecretString::from(credentials.secret.expose_secret().to_owned()), &credentials.version);
            accounts.push((credentials.version.clone(), account.clone()));
            account
        }
    };
    Connection::new(account, &endpoints, Arc::new(NoObserver)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::genesys_org::GenesysOrgSpec;

    fn environment(variables: &[(&str, &str)]) -> anyhow::Result<Environment> {
        Environment::read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn org(region: &str) -> GenesysOrg {
        let region = serde_json::from_value(region.into()).unwrap();
        GenesysOrg::new("org", GenesysOrgSpec { region: Some(region), ..Default::default() })
    }

    #[test]
    fn half_a_client_and_an_unknown_region_are_errors() {
        assert!(environment(&[]).unwrap().credentials.is_none());
        let half = environment(&[(ID, "a")]).unwrap_err().to_string();
        assert!(half.starts_with("GENESYSCLOUD_OAUTHCLIENT_SECRET is not set"), "{half}");
        let region = environment(&[(REGION, "mars")]).unwrap_err().to_string();
        assert!(region.contains("GENESYSCLOUD_REGION=mars") && region.contains("eu-central-1"), "{region}");
        let whole = environment(&[(ID, "a"), (SECRET, " hunter2 "), (REGION, "eu-west-1")]).unwrap();
        assert!(!format!("{whole:?}").contains("hunter2"));
    }

    #[test]
    fn credentials_go_where_the_environment_says_only() {
        let here = environment(&[(REGION, "eu-west-1")]).unwrap();
        assert!(here.fits(&org("eu-west-1"), "a/b").is_ok());
        assert!(here.fits(&org("us-east-1"), "a/b").unwrap_err().contains("are not sent there"));
        let nowhere = environment(&[]).unwrap().fits(&org("us-east-1"), "a/b").unwrap_err();
        assert!(nowhere.contains("set GENESYSCLOUD_REGION"), "{nowhere}");
    }
}
