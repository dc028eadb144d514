//! Rules of ours in the chains that others offer for such: an accept in our table overrides no drop in theirs.
//!
//! ```text
//! ip, ip6 filter  DOCKER-USER                           Docker's: what comes from a bridge of Holm's, or goes to one, passes
//! ip, ip6 filter  ufw-user-forward, ufw6-user-forward   ufw's: the same
//! ip, ip6 filter  ufw-user-input, ufw6-user-input       ufw's: questions for names from there pass
//! ```
//! What may pass is still ours to say: whatever our own table drops stays dropped. Those are chains of iptables in its form for
//! nftables, and the rules are such as iptables(8) makes itself, so that it goes on to read them. Each bears the name of our table
//! as its comment; by that it is found again.

use holm_sys::netlink::{Answer, Netlink};
use rustix::io::Errno;

use super::nftables::{Batch, Fact, RULE_HANDLE, RULE_USER_DATA, Rule, chain_rules, has_table};

const TABLE: &str = "filter";
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// What the names of all bridges of Holm's begin with.
const BRIDGES: &[u8] = b"holm";
const NAMES: u16 = 53;

/// What a chain of somebody else's is asked to let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// What goes through the host.
    Through,
    /// Questions for names.
    Questions,
}

const SEAMS: [(u8, &str, Passing); 6] = [
    (FAMILY_IPV4, "DOCKER-USER", Passing::Through),
    (FAMILY_IPV6, "DOCKER-USER", Passing::Through),
    (FAMILY_IPV4, "ufw-user-forward", Passing::Through),
    (FAMILY_IPV6, "ufw6-user-forward", Passing::Through),
    (FAMILY_IPV4, "ufw-user-input", Passing::Questions),
    (FAMILY_IPV6, "ufw6-user-input", Passing::Questions),
];

/// The chains for what goes through the host that others offer here.
///
/// # Errors
/// The kernel's.
pub fn offered(netlink: &mut Netlink) -> Result<Vec<&'static str>, Errno> {
    let mut offered = Vec::new();
    for (family, chain, passing) in SEAMS {
        if passing == Passing::Through && has_table(netlink, family, TABLE)? {
            match chain_rules(netlink, family, TABLE, chain) {
                Ok(_) => offered.push(chain),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(offered)
}

/// Sees to it that every seam has the rules of the table `owner`, or, if they are not wanted, that none has. Says which chains it
/// changed.
///
/// # Errors
/// The kernel's.
pub fn keep(netlink: &mut Netlink, owner: &str, wanted: bool) -> Result<Vec<&'static str>, Errno> {
    let mut changed = Vec::new();
    for family in [FAMILY_IPV4, FAMILY_IPV6] {
        // Most hosts have none.
        if !has_table(netlink, family, TABLE)? {
            continue;
        }
        for (_, chain, passing) in SEAMS.iter().filter(|seam| seam.0 == family) {
            if keep_in(netlink, owner, (family, chain), if wanted { passing.rules() } else { Vec::new() })? {
                changed.push(*chain);
            }
        }
    }
    Ok(changed)
}

/// Whether the chain had to be changed.
fn keep_in(
    netlink: &mut Netlink,
    owner: &str,
    (family, chain): (u8, &str),
    wanted: Vec<Rule>,
) -> Result<bool, Errno> {
    let there = match chain_rules(netlink, family, TABLE, chain) {
        Err(Errno::NOENT) => return Ok(false),
        rules => rules?,
    };
    let own: Vec<&Answer> = there.iter().filter(|rule| comment(rule) == Some(owner.as_bytes())).collect();
    if own.len() == wanted.len() {
        return Ok(false);
    }
    let mut batch = Batch::of_family(family, TABLE);
    for handle in own.iter().filter_map(|rule| rule.attribute(4, RULE_HANDLE)) {
        batch.remove_rule(chain, handle);
    }
    for rule in wanted {
        batch.insert_rule(chain, rule, &user_data(owner));
    }
    match batch.commit(netlink) {
        // It was taken down meanwhile.
        Err(Errno::NOENT) => Ok(false),
        done => done.map(|()| true),
    }
}

impl Passing {
    fn rules(self) -> Vec<Rule> {
        match self {
            Self::Through => [Fact::InputName, Fact::OutputName]
                .map(|device| Rule::new().compare(device, true, BRIDGES).count().accept())
                .into(),
            Self::Questions => [TCP, UDP]
                .map(|protocol| {
                    let rule = Rule::new().compare(Fact::InputName, true, BRIDGES);
                    rule.port_as_iptables(protocol, NAMES).count().accept()
                })
                .into(),
        }
    }
}

/// Of user data the comment is the part of type 0, as nft(8) writes it, with its end mark.
fn user_data(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len() + 1).expect("the names of our tables are short");
    [&[0, length], comment.as_bytes(), &[0]].concat()
}

fn comment(rule: &Answer) -> Option<&[u8]> {
    let mut data = rule.attribute(4, RULE_USER_DATA)?;
    while let [kind, length, rest @ ..] = data {
        let (value, others) = rest.split_at_checked(usize::from(*length))?;
        if *kind == 0 {
            return value.strip_suffix(&[0]);
        }
        data = others;
    }
    None
}
