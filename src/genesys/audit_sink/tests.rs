use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server on loopback that answers every request with these bytes, then keeps the connection.
async fn server(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?secret=1", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let book = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let book = book.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"{\"a\":1}") {
                    if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                        return;
                    }
                }
                book.lock().unwrap().push(String::from_utf8(bytes).unwrap());
                if !answer.is_empty() {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                tokio::time::sleep(Duration::from_secs(30)).await;
            });
        }
    });
    (url, seen)
}

fn sink(url: &str, key: Option<&str>, private: bool) -> Result<Sink, Error> {
    Sink::with_timeout(Url::parse(url).unwrap(), key.map(SecretString::from), private, Duration::from_secs(2))
}

async fn deliver(answer: &'static str) -> Result<(), Undelivered> {
    let (url, _) = server(answer).await;
    sink(&url, None, true).unwrap().deliver("id", b"{\"a\":1}").await
}

#[test]
fn the_signature_is_that_of_rfc_4231() {
    assert_eq!(
        signature(b"Jefe", b"what do ya want for nothing?"),
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    let long = [0xaa_u8; 131];
    assert_eq!(
        signature(&long, b"Test Using Larger Than Block-Size Key - Hash Key First"),
        "sha256=60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    );
}

#[tokio::test]
async fn a_record_goes_out_as_it_is_and_signed() {
    let (url, seen) = server("HTTP/1.1 204 X\r\n\r\n").await;
    sink(&url, Some("key"), true).unwrap().deliver("audit-1", b"{\"a\":1}").await.unwrap();
    sink(&url, None, true).unwrap().deliver("audit-1", b"{\"a\":1}").await.unwrap();
    let seen = seen.lock().unwrap();
    let signed = seen[0].to_ascii_lowercase();
    assert!(signed.starts_with("post /hook?secret=1 http/1.1\r\n"), "{signed}");
    for line in ["content-type: application/json", "x-audit-id: audit-1", "user-agent: assist-operator/"] {
        assert!(signed.contains(line), "{line} in {signed}");
    }
    assert!(signed.contains(&format!("x-signature-256: {}\r\n", signature(b"key", b"{\"a\":1}"))));
    assert!(!signed.contains("authorization") && !signed.contains("cookie"));
    assert!(!seen[1].to_ascii_lowercase().contains("x-signature-256"));
}

#[tokio::test]
async fn only_a_2xx_is_delivered() {
    for answer in ["HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 202 X\r\nContent-Length: 99999999\r\n\r\nmore"] {
        assert_eq!(deliver(answer).await, Ok(()));
    }
    for (answer, status) in [
        ("HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 307),
        ("HTTP/1.1 304 X\r\n\r\n", 304),
        ("HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", 404),
        ("HTTP/1.1 500 X\r\nContent-Length: 5\r\n\r\nwords", 500),
    ] {
        let error = deliver(answer).await.unwrap_err();
        assert_eq!(error.status, Some(status));
        assert!(!error.to_string().contains("words"), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("HTTP/1.1 307 X\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n", listener.local_addr().unwrap());
    let error = deliver(location.leak()).await.unwrap_err();
    assert_eq!(error.to_string(), "the audit webhook answered a redirect, which is not followed: correct its URL (HTTP 307)");
    assert!(tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_err());
}

#[tokio::test]
async fn silence_and_a_closed_port_are_undelivered() {
    let silent = deliver("").await.unwrap_err();
    assert_eq!((silent.status, silent.to_string().as_str()), (None, "the audit webhook did not answer in time"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    drop(listener);
    let closed = sink(&url, None, true).unwrap().deliver("id", b"{}").await.unwrap_err();
    assert!(closed.detail.contains("cannot be reached"), "{closed}");
    let (url, _) = server("HTTP/1.1 200 X\r\n\r\n").await;
    let odd = sink(&url, None, true).unwrap().deliver("a\nb", b"{\"a\":1}").await.unwrap_err();
    assert!(odd.detail.contains("cannot be built"), "{odd}");
}

#[test]
fn a_private_address_in_the_url_must_be_allowed() {
    for host in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0x7f.1",
        "2130706433",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "[fd00::1]",
    ] {
        let url = format!("https://{host}/hook");
        assert_eq!(sink(&url, None, false).unwrap_err().kind, ErrorKind::Configuration, "{host}");
        assert!(sink(&url, None, true).is_ok(), "{host}");
    }
    assert!(sink("https://registry.example.com/hook", None, false).is_ok());
    assert!(sink("https://8.8.8.8/hook", None, false).is_ok());
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_refused_when_it_is_resolved() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());
    let error = sink(&url, None, false).unwrap().deliver("id", b"{}").await.unwrap_err();
    assert!(error.detail.contains("private addresses"), "{error}");
    assert!(tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_err());
    // Where it is allowed, a connection is made, and fails for its TLS.
    let allowed = sink(&url, None, true).unwrap();
    let (error, accepted) = tokio::join!(allowed.deliver("id", b"{}"), listener.accept());
    drop(accepted);
    assert!(!error.unwrap_err().detail.contains("private"));
}

#[test]
fn plain_http_passwords_and_empty_keys_are_refused() {
    for (url, private) in [
        ("http://127.0.0.1/hook", false),
        ("http://localhost/hook", false),
        ("http://10.0.0.1/hook", false),
        ("http://example.com/hook", false),
        ("ftp://example.com/hook", true),
        ("https://user@example.com/hook", true),
        ("https://:pw@example.com/hook", true),
        ("data:text/plain,x", true),
    ] {
        assert_eq!(sink(url, None, private).unwrap_err().kind, ErrorKind::Configuration, "{url}");
    }
    assert!(sink("http://localhost/hook", None, true).is_ok());
    assert_eq!(sink("https://example.com/", Some(""), false).unwrap_err().kind, ErrorKind::Configuration);
}

#[test]
fn neither_the_key_nor_the_path_is_printed() {
    let sink = sink("https://example.com/s3cr3t-path?token=s3cr3t", Some("s3cr3t-key"), false).unwrap();
    let text = format!("{sink:?}");
    assert!(!text.contains("s3cr3t"), "{text}");
    assert!(text.contains("example.com") && text.contains("signed: true"), "{text}");
}
