//! The CRDs as they are installed: what derive makes, and what it cannot say.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::status::OPTIONAL_PARTS;

/// Adds what derive cannot express: `status` begins as "never observed" (without it kstatus takes an unseen object for
/// ready), and no field is nullable (an explicit `null` would be a difference for GitOps tools). All managed kinds share one status type;
/// of its parts that not every kind has, the CRD knows only `parts`.
pub fn finish(crd: CustomResourceDefinition, parts: &[&str]) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut tree = serde_json::to_value(crd)?;
    if let Some(versions) = tree.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                drop_nullable(schema);
                join_lines(schema);
                default_status(schema);
                drop_parts(schema, parts);
            }
        }
    }
    serde_json::from_value(tree)
}

fn default_status(schema: &mut Value) {
    if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
        status.insert("default".into(), json!({"observedGeneration": -1}));
        status.entry("description").or_insert_with(|| json!("Observed state; written by the operator alone."));
        // The default that serde knows is already the one above.
        if let Some(field) =
            status.get_mut("properties").and_then(|p| p.get_mut("observedGeneration")).and_then(Value::as_object_mut)
        {
            field.remove("default");
        }
    }
}

/// Removes the parts of the status that this kind does not have.
fn drop_parts(schema: &mut Value, kept: &[&str]) {
    if let Some(properties) = schema.pointer_mut("/properties/status/properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| kept.contains(&name.as_str()) || !OPTIONAL_PARTS.contains(&name.as_str()));
    }
}

/// Doc comments are wrapped in the source; `kubectl explain` wraps by itself.
fn join_lines(node: &mut Value) {
    match node {
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
            }
            map.values_mut().for_each(join_lines);
        }
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        _ => {}
    }
}

/// Removes `nullable`, the `null` of enums and defaults inside the schema, at any depth.
fn drop_nullable(node: &mut Value) {
    match node {
        Value::Object(map) => {
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|v| !v.is_null());
            }
            map.values_mut().for_each(drop_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nullable),
        _ => {}
    }
}
