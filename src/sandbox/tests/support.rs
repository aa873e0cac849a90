//! A plain client: it does what it is told and retries nothing.

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::{Value, json};

use crate::sandbox::{Entry, Options, Sandbox, World};

/// The config of the default seed.
pub(super) const ID: &str = "retail-assist";

/// A sandbox and a client with a token.
pub(super) struct Bench {
    pub(super) sandbox: Sandbox,
    pub(super) http: Client,
    pub(super) token: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// A client without a default provider of its own: TLS needs one.
pub(super) fn http(ca_pem: Option<&str>) -> Client {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = ca_pem.map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
    let builder = Client::builder().redirect(redirect::Policy::none()).no_proxy();
    match roots {
        Some(root) => builder.tls_certs_only([root]).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

impl Bench {
    pub(super) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(super) async fn with(options: Options) -> Self {
        let sandbox = Sandbox::start(options).await.unwrap();
        let http = http(sandbox.ca_pem());
        let mut bench = Self { sandbox, http, token: String::new() };
        bench.token = bench.new_token().await;
        bench
    }

    pub(super) fn world(&self) -> &World {
        self.sandbox.world()
    }

    pub(super) async fn new_token(&self) -> String {
        let answer = send(self.token_request("demo-client", "demo-secret")).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["access_token"].as_str().unwrap().to_owned()
    }

    pub(super) fn token_request(&self, id: &str, secret: &str) -> RequestBuilder {
        let encode = |part: &str| url::form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
        self.http
            .post(format!("{}/oauth/token", self.sandbox.url()))
            .basic_auth(encode(id), Some(encode(secret)))
            .form(&[("grant_type", "client_credentials")])
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.sandbox.url())).bearer_auth(&self.token)
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await.unwrap()
    }

    /// C1.
    pub(super) async fn read(&self, id: &str) -> Answer {
        self.get(&format!("/api/v2/agentassist/configs/{id}")).await
    }

    pub(super) fn put(&self, id: &str, guard: Option<&str>, body: &Value) -> RequestBuilder {
        let request = self.request(Method::PUT, &format!("/api/v2/agentassist/configs/{id}"));
        let request = match guard {
            Some(guard) => request.header("If-Match", guard),
            None => request,
        };
        request.header("content-type", "application/json").body(body.to_string())
    }

    /// C3.
    pub(super) async fn write(&self, id: &str, guard: Option<&str>, body: &Value) -> Answer {
        send(self.put(id, guard, body)).await.unwrap()
    }

    /// A correct C3 after a C1: the live document with another name, and the tag that was read.
    pub(super) async fn prepared(&self, name: &str) -> (String, Value) {
        let read = self.read(ID).await;
        let tag = read.header("etag").unwrap().to_owned();
        (tag, successor(read.body, name))
    }

    /// The only entry of a call, or the last one.
    pub(super) fn last(&self, call: &str) -> Entry {
        self.world().journal().into_iter().rev().find(|entry| entry.call == call).unwrap()
    }
}

/// The body of a correct C3 for a document that was read.
pub(super) fn successor(mut document: Value, name: &str) -> Value {
    let version = document["version"].as_i64().unwrap() + 1;
    let members = document.as_object_mut().unwrap();
    ["id", "etag", "selfUri"].iter().for_each(|key| drop(members.remove(*key)));
    document["version"] = json!(version);
    document["name"] = json!(name);
    document
}

/// Sends, and reads the body as JSON where it is some.
pub(super) async fn send(request: RequestBuilder) -> reqwest::Result<Answer> {
    answer(request.send().await?).await
}

async fn answer(response: Response) -> reqwest::Result<Answer> {
    let (status, headers): (StatusCode, _) = (response.status(), response.headers().clone());
    let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
    Ok(Answer { status: status.as_u16(), headers, body })
}
