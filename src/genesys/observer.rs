//! Where the layer reports its calls, so that it need not know a metrics library.

use std::time::Duration;

/// Receives one report for each request that was put on the wire, after its answer or its failure.
pub trait Observer: Send + Sync {
    /// `endpoint` is the contract's short name (`"C1"`, `"T1"`, …), `status` one of a bounded set (`"200"`, `"409"`, `"4xx"`,
    /// `"timeout"`, `"reset"`, `"connect"`, …): both are safe as metric labels. `latency` runs to the end of the body.
    fn call(&self, endpoint: &'static str, status: &'static str, latency: Duration) {
        let _ = (endpoint, status, latency);
    }
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// The metric label of an HTTP status: itself where it is common, else its class.
pub(super) fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        201 => "201",
        202 => "202",
        204 => "204",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        408 => "408",
        409 => "409",
        412 => "412",
        413 => "413",
        429 => "429",
        500 => "500",
        501 => "501",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_statuses_fall_into_their_class() {
        assert_eq!(status_label(409), "409");
        assert_eq!(status_label(418), "4xx");
        assert_eq!(status_label(999), "other");
    }
}
