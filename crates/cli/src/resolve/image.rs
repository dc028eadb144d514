//! Names of images and registries, and changes to what is run in images.

use holm_engine::images::Change;
use holm_spec::Reference;

use crate::command_error::CommandError;

/// The name of an image.
pub fn reference(text: &str) -> Result<Reference, CommandError> {
    text.parse().map_err(|error| CommandError::new(format!("{error}")))
}

/// Whether a name of an image says which of its repository it is.
pub fn has_tag(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    last.contains([':', '@'])
}

/// The image with this tag in the same repository.
pub fn with_tag(reference: &Reference, tag: &str) -> Result<Reference, CommandError> {
    self::reference(&format!("{}/{}:{tag}", reference.domain(), reference.path()))
}

/// The name of a registry, from what people type for it: nothing for docker.io, perhaps an address.
pub fn registry(text: &str) -> Result<String, CommandError> {
    let name = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let name = name.split('/').next().unwrap_or_default();
    match name {
        "" => Ok("docker.io".to_owned()),
        // Docker's own is known under several names.
        name if name == "docker.io" || name.ends_with(".docker.io") => Ok("docker.io".to_owned()),
        name => {
            let sound = reference(&format!("{name}/x")).is_ok_and(|reference| reference.domain() == name);
            let reason = || CommandError::new(format!("`{text}` is no name of a registry"));
            if sound { Ok(name.to_owned()) } else { Err(reason()) }
        }
    }
}

/// The values of `--change`.
pub fn changes(texts: &[String]) -> Result<Vec<Change>, CommandError> {
    texts.iter().map(|text| text.parse().map_err(|reason| CommandError::flag("change", reason))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_typed_in_many_ways() {
        for (text, name) in [
            ("", "docker.io"),
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("https://registry.example/", "registry.example"),
        ] {
            assert_eq!(registry(text).expect("a registry"), name);
        }
        for text in ["registry", "UPPER CASE", "a.example:x"] {
            assert!(registry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tags_are_told_from_ports() {
        for (name, has) in [("a:1", true), ("localhost:5000/a", false), ("a@sha256:0", true), ("a", false)] {
            assert_eq!(has_tag(name), has, "{name}");
        }
    }
}
