//! `--isolation` and `--vm`: what separates a sandbox from its host.

use holm_spec::workload::Isolation;

/// Brings the two flags together; `default` is Docker's word for the usual one.
///
/// # Errors
/// An unknown word, or two that contradict each other.
pub fn parse(isolation: Option<&str>, vm: bool) -> Result<Isolation, String> {
    match (isolation, vm) {
        (None, true) => Ok(Isolation::Vm),
        (None | Some("" | "default"), false) => Ok(Isolation::Container),
        (Some(text), vm) => match text.parse()? {
            Isolation::Container if vm => Err(format!("`{text}` contradicts --vm")),
            isolation => Ok(isolation),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_flags_one_answer() {
        assert_eq!(parse(None, false), Ok(Isolation::Container));
        assert_eq!(parse(None, true), Ok(Isolation::Vm));
        assert_eq!(parse(Some("vm"), true), Ok(Isolation::Vm));
        assert_eq!(parse(Some("vm"), false), Ok(Isolation::Vm));
        assert_eq!(parse(Some("default"), false), Ok(Isolation::Container));
        assert!(parse(Some("container"), true).is_err());
        assert!(parse(Some("hyperv"), false).is_err());
    }
}
