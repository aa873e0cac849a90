//! How the server behaves where deployments differ. Every setting can stand in a seed file and be changed while the server runs.

use serde::{Deserialize, Serialize};

use super::normaliser::Normaliser;

/// How the tag of a config appears in answers (contract 3). The strong tag is `"7-9f2c"`, quotes included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EtagStyle {
    /// Quoted, as header `ETag` and as body field `etag`.
    #[default]
    Header,
    /// Quoted, as header only.
    HeaderOnly,
    /// Quoted, as body field only.
    BodyOnly,
    /// Header and body field without quotes; `If-Match` must have them.
    Unquoted,
    /// Body field only, without quotes.
    BodyUnquoted,
    /// `W/"7-9f2c"`, to be sent back exactly so.
    Weak,
    /// `W/7-9f2c`: no tag, nothing may be written.
    UnquotedWeak,
    /// The header is right, the body field is out of date: the header is to be preferred.
    BodyStale,
    /// No tag anywhere.
    Absent,
}

impl EtagStyle {
    /// The value of header `ETag` for a strong tag.
    pub(super) fn header(self, tag: &str) -> Option<String> {
        match self {
            Self::Header | Self::HeaderOnly | Self::BodyStale => Some(tag.to_owned()),
            Self::Unquoted => Some(tag.trim_matches('"').to_owned()),
            Self::Weak => Some(format!("W/{tag}")),
            Self::UnquotedWeak => Some(format!("W/{}", tag.trim_matches('"'))),
            Self::BodyOnly | Self::BodyUnquoted | Self::Absent => None,
        }
    }

    /// The value of body field `etag` for a strong tag.
    pub(super) fn body(self, tag: &str) -> Option<String> {
        match self {
            Self::Header | Self::BodyOnly => Some(tag.to_owned()),
            Self::Unquoted | Self::BodyUnquoted => Some(tag.trim_matches('"').to_owned()),
            Self::Weak => Some(format!("W/{tag}")),
            Self::UnquotedWeak => Some(format!("W/{}", tag.trim_matches('"'))),
            Self::BodyStale => Some("\"0-0000\"".to_owned()),
            Self::HeaderOnly | Self::Absent => None,
        }
    }

    /// What a correct client sends in `If-Match`; none where it has no usable tag.
    pub(super) fn guard(self, tag: &str) -> Option<String> {
        match self {
            Self::Weak => Some(format!("W/{tag}")),
            Self::UnquotedWeak | Self::Absent => None,
            Self::Header | Self::HeaderOnly | Self::BodyOnly | Self::Unquoted | Self::BodyUnquoted | Self::BodyStale => {
                Some(tag.to_owned())
            }
        }
    }
}

/// What a lost guard answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConflictStyle {
    /// 409 `general.conflict`.
    #[default]
    Conflict,
    /// 412.
    PreconditionFailed,
    /// 400 "… does not match the current version …".
    BadRequest,
}

/// What a write without `If-Match` answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MissingGuard {
    /// 428 `precondition.required`.
    #[default]
    PreconditionRequired,
    /// 400 `bad.request`.
    BadRequest,
}

/// What a token without the scope meets (contract 1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MissingScope {
    /// 403 `app.not.authorized.for.scope`.
    #[default]
    NotAuthorizedForScope,
    /// 403 `missing.permissions`.
    MissingPermissions,
    /// A write answers 2xx and changes nothing; a read answers 403 `app.not.authorized.for.scope`.
    SilentDrop,
}

/// All settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// API calls that one client may make in any 60 s; none: no limit.
    pub rate_limit: Option<u32>,
    /// Token requests of one client in any 60 s; beyond it T1 answers its own kind of 400 (contract 2).
    pub token_rate_limit: Option<u32>,
    /// `expires_in` of a token, in seconds.
    pub token_lifetime_seconds: u64,
    /// Status of bad credentials: 401, or 400.
    pub invalid_client_status: u16,
    /// Time that every call takes, in milliseconds; half of it before the state is looked at, half after.
    pub latency_ms: u64,
    /// How tags appear.
    pub etag_style: EtagStyle,
    /// What a lost guard answers.
    pub conflict_style: ConflictStyle,
    /// What a write without a guard answers.
    pub missing_guard: MissingGuard,
    /// What a missing scope answers.
    pub missing_scope: MissingScope,
    /// How the server rewrites what is written: configs, prompt versions and routing profiles alike.
    pub normaliser: Vec<Normaliser>,
    /// Whether P2 refuses content that breaks rules 1 to 3 of contract 4.
    pub prompt_rules: bool,
    /// How far the server's wall clock is ahead, in seconds: `Date`, `dateModified` and the date form of `Retry-After` show it.
    pub clock_skew_seconds: i64,
    /// Larger request bodies answer 413; in bytes.
    pub body_limit_bytes: usize,
    /// Whether the journal keeps request bodies and the documents before and after each write.
    pub journal_bodies: bool,
    /// Where set, each version begins to handle conversations so long after it was written, in milliseconds, and C4 shows them; else only
    /// conversations that were added by hand exist.
    pub traffic_delay_ms: Option<u64>,
    /// Agents on a page of S3, where they are fewer than the client asks for.
    pub details_page_size: Option<usize>,
    /// Whether S3 ends every page with the same token, which leads to the second page again and again.
    pub repeat_page_token: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rate_limit: None,
            token_rate_limit: None,
            token_lifetime_seconds: 86_400,
            invalid_client_status: 401,
            latency_ms: 0,
            etag_style: EtagStyle::default(),
            conflict_style: ConflictStyle::default(),
            missing_guard: MissingGuard::default(),
            missing_scope: MissingScope::default(),
            normaliser: Vec::new(),
            prompt_rules: true,
            clock_skew_seconds: 0,
            body_limit_bytes: 10 * 1024 * 1024,
            journal_bodies: true,
            traffic_delay_ms: None,
            details_page_size: None,
            repeat_page_token: false,
        }
    }
}
