//! `plan` of many objects without a cluster: what it reads, and how long it takes under the rate of a real organisation.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Instant;

use assist_operator::sandbox::{Actor, Options as SandboxOptions, Sandbox};
use serde_json::{Value, json};

use crate::Options;
use crate::table::Row;

/// Calls a minute of the organisation; the sandbox refuses what is above.
const RATE: u32 = 600;

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let many = options.many();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let sandbox = runtime.block_on(Sandbox::start(SandboxOptions::default())).expect("sandbox");
    sandbox.world().set_rate_limit(Some(RATE));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("objects.yaml");
    std::fs::write(&path, manifests(&sandbox, many)).expect("write the manifests");
    let began = Instant::now();
    let output = Command::new(&options.operator)
        .args(["plan", path.to_str().expect("UTF-8"), "--allow-endpoint", sandbox.url(), "-o", "json"])
        .stdin(Stdio::null())
        .output()
        .expect("run plan");
    let took = began.elapsed().as_secs_f64();
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let mut calls: BTreeMap<(String, Option<String>), usize> = BTreeMap::new();
    let mut throttled = 0_usize;
    for call in sandbox.world().journal().into_iter().filter(|call| call.actor == Actor::Client) {
        throttled += usize::from(call.status == 429);
        *calls.entry((call.call, call.target)).or_default() += 1;
    }
    let made: usize = calls.values().sum();
    let twice = calls.values().filter(|count| **count > 1).count();
    let bound = made as f64 * 60.0 / f64::from(RATE);
    let progress = String::from_utf8_lossy(&output.stderr).lines().filter(|line| line.starts_with("reading: ")).count();
    vec![
        Row::exactly(format!("plan of {many} objects: reads and the token"), many + 1, made, ""),
        Row::exactly(
            "plan: objects with a change",
            many / 2,
            report["summary"]["changed"].as_u64().unwrap_or_default() as usize,
            "",
        ),
        Row::exactly("plan: calls made twice", 0, twice, ""),
        Row::exactly("plan: 429", 0, throttled, ""),
        Row::new(
            format!("plan of {many} objects at {RATE} calls a minute"),
            "≤ 1.1 × the rate bound".to_owned(),
            format!("{took:.1} s, {:.2} ×; {progress} lines of progress", took / bound),
            took <= 1.1 * bound,
        ),
    ]
}

/// Configs, prompts and agents in equal parts; every second one differs from what is live.
fn manifests(sandbox: &Sandbox, many: usize) -> String {
    let object = |kind: &str, n: usize, spec: Value| json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": kind, "metadata": {"name": format!("o{n}")}, "spec": spec});
    let mut objects = vec![
        object(
            "GenesysOrg",
            0,
            json!({"endpoints": {"login": sandbox.url(), "api": sandbox.url()}, "credentials": {"secretRef": {"name": "genesys"}}, "requestsPerMinute": RATE}),
        ),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "genesys"}, "stringData": {"clientId": "demo-client", "clientSecret": "demo-secret"}}),
    ];
    let org = json!({"name": "o0"});
    for n in 0..many {
        let id = format!("o{n}");
        let text = if n % 2 == 0 { "live" } else { "new" };
        objects.push(match n % 3 {
            0 => {
                sandbox.world().put_config(&id, json!({"name": "live"}));
                object("AgentAssistConfig", n, json!({"orgRef": org, "configId": id, "config": {"name": text}}))
            }
            1 => {
                let version = json!({"version": "1.0.0", "content": "live", "variables": {}, "metadata": {}});
                sandbox.world().put_prompt(&id, &[version]);
                object("PromptTemplate", n, json!({"orgRef": org, "templateId": id, "content": text}))
            }
            _ => {
                let skills = |level: f64| json!([{"skillId": "s", "proficiency": level}]);
                sandbox.world().put_user(&id, json!({"version": 1, "name": id, "skills": skills(0.1)}));
                let level = if n % 2 == 0 { 0.1 } else { 0.9 };
                object("SkillProfile", n, json!({"orgRef": org, "userId": id, "skills": skills(level)}))
            }
        });
    }
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}
