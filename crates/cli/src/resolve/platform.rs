//! `--platform OS[/ARCHITECTURE[/VARIANT]]`.

use holm_spec::platform::Platform;

/// Parses a platform; a word alone is an operating system or an architecture.
///
/// # Errors
/// Another form, or a variant other than arm64's `v8`.
pub fn parse(text: &str) -> Result<Platform, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let valid = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    if !parts.iter().all(valid) {
        return Err(format!("`{text}` is no platform, such as linux/amd64"));
    }
    let host = Platform::host();
    match parts.as_slice() {
        [os @ ("linux" | "windows" | "freebsd" | "darwin")] => {
            Ok(Platform { os: (*os).to_owned(), architecture: host.architecture })
        }
        [architecture] => Ok(Platform { os: host.os, architecture: normalised(architecture) }),
        [os, architecture] => Ok(Platform { os: os.to_lowercase(), architecture: normalised(architecture) }),
        [os, architecture, variant] if normalised(architecture) == "arm64" && *variant == "v8" => {
            Ok(Platform { os: os.to_lowercase(), architecture: "arm64".into() })
        }
        [_, _, variant] => Err(format!("variant `{variant}` of a platform is not supported yet")),
        _ => Err(format!("`{text}` is no platform, such as linux/amd64")),
    }
}

/// The names that the kernel and compilers use, in those that images use.
fn normalised(architecture: &str) -> String {
    let lower = architecture.to_lowercase();
    match lower.as_str() {
        "x86_64" | "x86-64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        _ => lower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms() {
        let shown = |text: &str| parse(text).map(|platform| platform.to_string());
        let host = Platform::host();
        assert_eq!(shown("linux/amd64"), Ok("linux/amd64".into()));
        assert_eq!(shown("linux/x86_64"), Ok("linux/amd64".into()));
        assert_eq!(shown("linux/arm64/v8"), Ok("linux/arm64".into()));
        assert_eq!(shown("windows"), Ok(format!("windows/{}", host.architecture)));
        assert_eq!(shown("riscv64"), Ok(format!("{}/riscv64", host.os)));
        for text in ["", "/", "linux/", "linux/arm/v7", "a/b/c/d", "li nux/amd64"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
