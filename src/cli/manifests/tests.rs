use super::*;
use crate::api::AgentAssistConfig;

const TWO: &str = "# a comment\n---\napiVersion: v1\nkind: One\n---\n# nothing\n---\napiVersion: v1\nkind: Two\nflag: yes\n";

#[test]
fn a_file_may_hold_several_documents_and_booleans_read_as_kubectl_reads_them() {
    let manifests = parse("a.yaml", TWO).unwrap();
    assert_eq!(manifests.iter().map(|manifest| &manifest.value["kind"]).collect::<Vec<_>>(), ["One", "Two"]);
    assert_eq!(manifests[1].value["flag"], true);
}

#[test]
fn errors_name_file_and_line() {
    let text = |text: &str| parse("a.yaml", text).unwrap_err().to_string();
    let broken = text(&format!("{TWO}---\nkind: [\n"));
    assert!(broken.starts_with("a.yaml:1"), "{broken}");
    let missing = text("\n# x\nkind: A\n");
    assert!(missing.starts_with("a.yaml:3:1: A/?: apiVersion is missing"), "{missing}");
    let twice = text("apiVersion: v1\nkind: A\nspec: 1\nspec: 2\n");
    assert!(twice.starts_with("a.yaml:4:1: duplicate key spec"), "{twice}");
}

#[test]
fn a_field_that_does_not_fit_is_named_with_its_line() {
    let text =
        "apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec:\n  orgRef: {name: o}\n  configId: c\n  restoreVersion: many\n";
    let error = parse("a.yaml", text).unwrap()[0].read::<AgentAssistConfig>().unwrap_err().to_string();
    assert!(error.starts_with("a.yaml:7:3: A/a: spec.restoreVersion: "), "{error}");
}

#[test]
fn the_place_within_a_literal_block_is_that_of_the_file() {
    let text = "apiVersion: v1\nkind: A\n---\napiVersion: v1\nkind: A\na: |+\n\n   x\n     y\nb: >\n  z\nc: \"x\\ny\"\nd:\n- |1\n   v\ne: x\n";
    let manifests = super::parse("a.yaml", text).unwrap();
    let manifest = manifests.last().unwrap();
    for (pointer, within, place) in [
        ("/a", (2, 1), Some((8, 4))),
        ("/a", (3, 3), Some((9, 6))),
        ("/d/0", (1, 3), Some((15, 4))),
        ("/a", (9, 1), None),
        ("/b", (1, 1), None),
        ("/c", (2, 1), None),
        ("/e", (1, 1), None),
        ("/none", (1, 1), None),
    ] {
        assert_eq!(manifest.locate_within(pointer, within), place, "{pointer} {within:?} {:?}", manifest.document.positions());
    }
}

#[test]
fn files_that_are_too_large_together_are_not_all_read() {
    let folder = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1\nkind: A\n";
    let paths: Vec<String> = (0..5).map(|n| folder.path().join(format!("{n}.yaml")).to_string_lossy().into_owned()).collect();
    paths.iter().for_each(|path| std::fs::write(path, text).unwrap());
    let loaded = super::load_at_most(&paths, text.len() * 3);
    assert_eq!((loaded.manifests.len(), loaded.findings.len()), (3, 1));
    assert!(loaded.findings[0].to_string().starts_with(&format!("{}: with this file", paths[3])), "{:?}", loaded.findings);
    assert!(super::load_at_most(&paths, text.len() * 5).findings.is_empty());
}
