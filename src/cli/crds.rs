//! `crds`: print the CRDs; `crds/` in the repository holds the same.

use std::io::Write;

use crate::kinds;

/// All CRDs as one YAML stream.
///
/// # Errors
/// A CRD that cannot be printed: a defect.
pub fn yaml() -> anyhow::Result<String> {
    let mut out = String::new();
    for crd in kinds::crds()? {
        out.push_str("---\n");
        out.push_str(&serde_saphyr::to_string(&crd)?);
    }
    Ok(out)
}

/// Prints them.
pub fn main() -> anyhow::Result<()> {
    std::io::stdout().write_all(yaml()?.as_bytes())?;
    Ok(())
}
