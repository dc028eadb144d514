//! `--memory` and `--pids-limit`: limits where 0 or -1 mean none.

use crate::size;

/// Least memory that a workload starts with, Docker's number.
const LEAST: u64 = 6 << 20;

/// A memory limit in bytes; 0 is no limit.
///
/// # Errors
/// Not a size, or less than 6 MiB.
pub fn parse(text: &str) -> Result<Option<u64>, String> {
    match size::parse(text)? {
        0 => Ok(None),
        bytes if bytes < LEAST => {
            Err(format!("`{text}` is less than 6m, the least that a workload can start with"))
        }
        bytes => Ok(Some(bytes)),
    }
}

/// A limit of processes and threads; 0 and -1 are no limit.
///
/// # Errors
/// A number below -1.
pub fn parse_pids(number: i64) -> Result<Option<u64>, String> {
    match number {
        -1 | 0 => Ok(None),
        number => {
            u64::try_from(number).map(Some).map_err(|_| format!("`{number}` is negative; -1 is no limit"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(parse("6m"), Ok(Some(6 << 20)));
        assert_eq!(parse("0"), Ok(None));
        assert!(parse("5m").is_err_and(|error| error.contains("6m")));
        assert!(parse("lots").is_err());
        assert_eq!(parse_pids(-1), Ok(None));
        assert_eq!(parse_pids(100), Ok(Some(100)));
        assert!(parse_pids(-2).is_err());
    }
}
