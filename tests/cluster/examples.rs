//! The manifests that are shipped work as they are.

use std::path::Path;

use crate::stage::Stage;

#[test]
fn a_prompt_of_a_file_names_the_config_map_with_the_hash_of_its_text() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/features/prompt-from-file");
    let stage = Stage::without_org("kustomize");
    let built = stage.kubectl(&["kustomize", &folder.to_string_lossy()]);
    let names: Vec<&str> = built.lines().filter_map(|line| line.trim().strip_prefix("name: returns-prompt-")).collect();
    assert!(matches!(names[..], [a, b] if a == b), "{built}");
}

#[test]
fn every_example_is_accepted_and_the_refused_ones_are_refused() {
    let stage = Stage::without_org("examples");
    stage.kill_operator();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for folder in ["sandbox", "features", "team/org", "team/assist"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let flag = if path.is_dir() { "-k" } else { "-f" };
            let out = stage.plane.kubectl(&["-n", &stage.namespace, "apply", "--dry-run=server", flag, &path.to_string_lossy()]);
            let refused = path.file_stem().is_some_and(|s| s.to_string_lossy().ends_with("refused"));
            assert_eq!(out.success(), !refused, "{}: {}", path.display(), out.stderr);
            if path.ends_with("prompt-refused.yaml") {
                for part in ["87 characters", "{{custmer_name}}", "{{ offer }}", "offer", "117"] {
                    assert!(out.stderr.contains(part), "{part} is not in {}", out.stderr);
                }
            }
            seen += 1;
        }
    }
    assert!(seen >= 19, "{seen} examples");
}
