//! What a registry sends: challenges, manifests and indexes, configurations; and names of images, which anybody gives.

#![no_main]

use holm_registry::{document, parse_challenges};
use holm_spec::Reference;
use holm_spec::platform::Platform;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        for challenge in parse_challenges(text) {
            assert!(!format!("{challenge:?}").is_empty());
        }
        if let Ok(reference) = text.parse::<Reference>() {
            // What is read is written so that it is read again as the same.
            assert_eq!(reference.to_string().parse::<Reference>().ok(), Some(reference));
        }
    }
    // A manifest, and behind a zero byte a configuration.
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match document::parse(first) {
        Ok(document::Document::Manifest(manifest)) => {
            if let Ok(config) = document::parse_configuration(second) {
                let _ = document::layers(&manifest, &config);
            }
        }
        Ok(document::Document::Index(index)) => {
            let _ = document::choose(&index, &Platform::host()).map(document::digest_of);
        }
        Err(_) => {}
    }
});
