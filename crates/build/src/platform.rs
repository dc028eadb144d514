//! Platforms as people write them: `linux/arm64`, `arm64`, `linux/arm/v7`.

use std::fmt;

/// Operating system, processor and its variant, in Go's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// For example `linux`.
    pub os: String,
    /// The version of the operating system, which only Windows has; empty otherwise.
    pub os_version: String,
    /// For example `amd64`.
    pub architecture: String,
    /// For example `v7` of `arm`; empty for the usual one.
    pub variant: String,
}

/// Operating systems and architectures that may stand alone: which of both a single word is.
const SYSTEMS: [&str; 15] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
];
const ARCHITECTURES: [&str; 13] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64le", "riscv64",
    "s390x", "wasm",
];

impl Platform {
    /// The platform that this program was built for.
    pub fn host() -> Self {
        let host = holm_spec::platform::Platform::host();
        Self {
            os: host.os,
            os_version: String::new(),
            architecture: host.architecture,
            variant: String::new(),
        }
    }

    /// As images are told apart.
    pub fn without_variant(&self) -> holm_spec::platform::Platform {
        holm_spec::platform::Platform { os: self.os.clone(), architecture: self.architecture.clone() }
    }

    /// Reads `[os[(version)]/]architecture[/variant]`, or an operating system alone.
    ///
    /// # Errors
    /// A text of another form, or a single word that is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let bad = || format!("`{text}` is no platform: write `os/architecture` or `os/architecture/variant`");
        let (first, rest) = parts.split_first().ok_or_else(bad)?;
        let (os, os_version) = split_version(first).ok_or_else(bad)?;
        if rest.len() > 2
            || !is_component(os)
            || os.contains('.')
            || !rest.iter().all(|part| is_component(part))
        {
            return Err(bad());
        }
        let host = Self::host();
        let (os, os_version) = (normal_os(os), os_version.to_owned());
        let (architecture, variant) = match rest {
            [] if SYSTEMS.contains(&os.as_str()) => (host.architecture, String::new()),
            [] => {
                let (architecture, variant) = normal_architecture(first, "");
                if !ARCHITECTURES.contains(&architecture.as_str()) {
                    return Err(format!("`{text}` is no operating system and no architecture that is known"));
                }
                return Ok(Self { os: host.os, os_version: String::new(), architecture, variant });
            }
            [architecture] => normal_architecture(architecture, ""),
            [architecture, variant, ..] => normal_architecture(architecture, variant),
        };
        Ok(Self { os, os_version, architecture, variant })
    }
}

/// `windows(10.0.17763)`: both parts.
fn split_version(text: &str) -> Option<(&str, &str)> {
    match text.split_once('(') {
        None => Some((text, "")),
        Some((os, rest)) => {
            rest.strip_suffix(')').filter(|version| !version.contains('(')).map(|version| (os, version))
        }
    }
}

fn is_component(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn normal_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        os => os.to_owned(),
    }
}

/// Names that other tools have, and variants that are the usual ones.
fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", ""),
        ("armel", _) => ("arm", "v6"),
        // The usual one.
        ("arm", "7" | "v7") => ("arm", ""),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if !self.os_version.is_empty() {
            write!(f, "({})", self.os_version)?;
        }
        write!(f, "/{}", self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_in_their_usual_names() {
        let host = Platform::host();
        for (text, expected) in [
            ("linux/amd64", "linux/amd64".to_owned()),
            ("Linux/X86_64", "linux/amd64".to_owned()),
            ("linux/arm64/v8", "linux/arm64".to_owned()),
            ("linux/aarch64", "linux/arm64".to_owned()),
            ("linux/arm/v6", "linux/arm/v6".to_owned()),
            ("linux/armhf", "linux/arm".to_owned()),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64".to_owned()),
            ("arm64", format!("{}/arm64", host.os)),
            ("linux", format!("linux/{}", host.architecture)),
        ] {
            let platform = Platform::parse(text).unwrap_or_else(|reason| panic!("{reason}"));
            assert_eq!(platform.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_platform() {
        for text in [
            "",
            "linux/",
            "/amd64",
            "pdp11",
            "linux/a b",
            "linux/arm/v7/x",
            "windows(1/amd64",
            "./linux/amd64",
        ] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }
}
