//! Linux signals by number and by name.

/// Names of the standard signals, from number 1 (generic ABI of x86, ARM and RISC-V).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const REALTIME_MIN: i32 = 34;
const REALTIME_MAX: i32 = 64;

/// SIGINT.
pub const INT: i32 = 2;
/// SIGQUIT.
pub const QUIT: i32 = 3;
/// SIGKILL.
pub const KILL: i32 = 9;
/// SIGTERM.
pub const TERM: i32 = 15;

/// The number of a signal written as a number, `TERM`, `SIGTERM`, `RTMIN`, `RTMIN+3` or `RTMAX-1`,
/// in any case; `None` where there is no such signal.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=REALTIME_MAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(at + 1).ok();
    }
    match name {
        "IOT" => return Some(6),
        "CLD" => return Some(17),
        "POLL" => return Some(29),
        _ => {}
    }
    realtime(name)
}

fn realtime(name: &str) -> Option<i32> {
    let number = match name.strip_prefix("RTMIN") {
        Some(rest) => REALTIME_MIN.checked_add(distance(rest, '+')?)?,
        None => REALTIME_MAX.checked_sub(distance(name.strip_prefix("RTMAX")?, '-')?)?,
    };
    (REALTIME_MIN..=REALTIME_MAX).contains(&number).then_some(number)
}

/// What stands behind `RTMIN` or `RTMAX`: nothing, or the sign and digits.
fn distance(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// `SIGTERM` for 15; the bare number for a signal without a name.
pub fn name(number: i32) -> String {
    let known = usize::try_from(number - 1).ok().and_then(|at| NAMES.get(at));
    known.map_or_else(|| number.to_string(), |name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_signal() {
        for (text, number) in [
            ("15", 15),
            ("TERM", 15),
            ("sigterm", 15),
            ("SIGKILL", 9),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("RTMAX", 64),
            ("SIGRTMAX-1", 63),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for text in [
            "", "0", "-1", "65", "SIGNOPE", "RTMIN+99", "RTMIN+", "RTMIN30", "RTMIN-1", "RTMIN++3", "RTMAX+0",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(40), "40");
    }
}
