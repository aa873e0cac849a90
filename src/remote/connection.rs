//! The connection to an organisation: where its rules place it, and the client that goes there.

use std::sync::Arc;

use crate::engine::genesys_org::Place;
use crate::genesys::{self, Account, Client, Endpoints, Error, Observer};

/// A usable connection.
#[derive(Debug)]
pub struct Connection {
    /// {API host, client id}: whose remote objects these are.
    pub key: String,
    /// Host of the API, with the port where it is not the scheme's own.
    pub host: String,
    /// Where it was made for.
    pub endpoints: Endpoints,
    /// The client.
    pub client: Client,
}

impl Connection {
    /// A connection of an account.
    ///
    /// # Errors
    /// A CA bundle that cannot be used.
    pub fn new(account: Arc<Account>, endpoints: &Endpoints, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        let host = host_of(endpoints);
        let key = format!("{host} {}", account.client_id());
        let client = Client::new(account, endpoints, observer)?;
        Ok(Self { key, host, endpoints: endpoints.clone(), client })
    }
}

/// The endpoints of a place.
///
/// # Errors
/// A region that this version does not know.
pub fn endpoints(place: Place) -> Result<Endpoints, String> {
    match place {
        Place::Region(region) => {
            genesys::region(&region).ok_or_else(|| format!("region {region} is not known to this operator version"))
        }
        Place::Custom { login, api, ca_bundle } => Ok(Endpoints { login, api, ca_bundle }),
    }
}

fn host_of(endpoints: &Endpoints) -> String {
    let host = endpoints.api.host_str().unwrap_or_default();
    endpoints.api.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
