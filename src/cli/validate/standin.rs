//! What stands in for values that do not fit the schema. With them the object can be read, so that the rules of its other fields are told
//! at once, and not only after its types are corrected.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Map, Value};

use super::schema::{fits, items, member_schema};

/// An object without the values that do not fit, in two ways: left out where that is allowed, and replaced. Nothing where all fit. A rule
/// that is broken in both ways has nothing to do with them. `text` is the one that stands in for texts.
pub fn both(schema: &JSONSchemaProps, object: &Value, text: &str) -> Option<[Value; 2]> {
    let left_out = StandIn { text, replaces: false }.object(schema, object.as_object()?);
    if left_out == *object {
        return None;
    }
    let replaced = StandIn { text, replaces: true }.object(schema, object.as_object()?);
    Some([left_out, replaced])
}

struct StandIn<'a> {
    text: &'a str,
    /// Whether also what may be left out is replaced.
    replaces: bool,
}

impl StandIn<'_> {
    /// The value with what stands in inside of it; nothing where it does not fit itself.
    fn value(&self, schema: &JSONSchemaProps, value: &Value) -> Option<Value> {
        if !fits(schema, value) {
            return None;
        }
        Some(match value {
            Value::Object(map) => self.object(schema, map),
            Value::Array(list) => match items(schema) {
                Some(schema) => {
                    let item = |item| self.value(schema, item).unwrap_or_else(|| self.instead(schema));
                    Value::Array(list.iter().map(item).collect())
                }
                None => value.clone(),
            },
            other => other.clone(),
        })
    }

    fn object(&self, schema: &JSONSchemaProps, map: &Map<String, Value>) -> Value {
        let required = schema.required.as_deref().unwrap_or_default();
        let mut out = Map::new();
        for (name, value) in map {
            let Some(schema) = member_schema(schema, name) else {
                out.insert(name.clone(), value.clone());
                continue;
            };
            let or_instead = || (self.replaces || required.contains(name)).then(|| self.instead(schema));
            out.extend(self.value(schema, value).or_else(or_instead).map(|value| (name.clone(), value)));
        }
        out.extend(self.required(schema, |name| !map.contains_key(name)));
        out.into()
    }

    /// What stands in for required members.
    fn required<'a>(
        &'a self,
        schema: &'a JSONSchemaProps,
        is_missing: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = (String, Value)> + 'a {
        let names = schema.required.iter().flatten().filter(move |name| is_missing(name));
        names.filter_map(|name| Some((name.clone(), self.instead(member_schema(schema, name)?))))
    }

    fn instead(&self, schema: &JSONSchemaProps) -> Value {
        if let Some(first) = schema.enum_.iter().flatten().next() {
            return first.0.clone();
        }
        match schema.type_.as_deref() {
            Some("object") => self.required(schema, |_| true).collect::<Map<_, _>>().into(),
            Some("array") => Value::Array(Vec::new()),
            Some("boolean") => false.into(),
            Some("integer" | "number") => schema.minimum.map_or(1, |least| least.ceil() as i64).into(),
            _ => self.text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema::Schemas;
    use super::both;

    #[test]
    fn what_does_not_fit_is_left_out_or_replaced_and_the_rest_stays() {
        let schemas = Schemas::new(crate::kinds::crds().unwrap());
        let schema = schemas.of("assist-operator.dev/v1alpha1", "SkillProfile").unwrap().unwrap();
        let good = json!({"spec": {"orgRef": {"name": "o"}, "userId": "u", "skills": [{"skillId": "a", "proficiency": 2}]}});
        assert_eq!(both(schema, &good, "x"), None);
        let bad = json!({"spec": {"orgRef": {"name": "o", "namespace": 1}, "userId": [], "suspend": "no", "unlisted": "keep",
            "skills": [{"skillId": "a", "proficiency": 2}, 7, {"skillId": 5, "proficiency": 0.5}]}});
        let [left_out, replaced] = both(schema, &bad, "x").unwrap();
        assert_eq!(left_out.pointer("/spec/skills/0"), good.pointer("/spec/skills/0"));
        assert_eq!(left_out.pointer("/spec/userId"), Some(&json!("x")));
        assert_eq!((left_out.pointer("/spec/suspend"), left_out.pointer("/spec/orgRef/namespace")), (None, None));
        assert_eq!(replaced.pointer("/spec/suspend"), Some(&json!(false)));
        assert_eq!(replaced.pointer("/spec/orgRef/namespace"), Some(&json!("x")));
        assert_eq!(replaced.pointer("/spec/skills/2/skillId"), Some(&json!("x")));
        for value in [left_out, replaced] {
            serde_json::from_value::<crate::api::SkillProfileSpec>(value["spec"].clone()).unwrap();
        }
    }
}
