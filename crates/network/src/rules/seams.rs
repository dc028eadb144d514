//! Rules of ours among those of others: an accept in our table overrides no drop in theirs.
//!
//! ```text
//! ip, ip6 filter  FORWARD, beside DOCKER-USER           where Docker is: behind its rules, before its policy, which drops
//! ip, ip6 filter  ufw-user-forward, ufw6-user-forward   ufw's own: behind what the user has said
//! ip, ip6 filter  ufw-user-input, ufw6-user-input       the same: questions for names
//! ```
//! What comes from a bridge of Holm's, or goes to one, passes there if nothing before it was against that: nobody's deliberate drop
//! is overridden, only what happens to the rest. (In `DOCKER-USER` itself the rules would come before Docker's own, and open
//! the ports of its containers that are not published.) What may pass is still ours to say as well: whatever our own table
//! drops stays dropped. Those are chains of iptables in its form for nftables, and the rules are such as iptables(8) makes
//! itself, so that it goes on to read them. Each bears the name of our table as its comment; by that it is found again.

use std::time::{Duration, Instant};

use holm_sys::netlink::{Answer, Netlink};
use rustix::io::Errno;

use super::Chain;
use super::nftables::{
    Batch, Fact, RULE_HANDLE, RULE_USER_DATA, Rule, chain_rules, family_name, generation, has_chain,
    has_table,
};

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

/// A chain of somebody else's.
#[derive(Clone, Copy, Debug)]
struct Seam {
    family: u8,
    /// There if its owner is.
    sign: &'static str,
    chain: &'static str,
    passing: Passing,
}

const SEAMS: [Seam; 6] = [
    Seam { family: FAMILY_IPV4, sign: "DOCKER-USER", chain: "FORWARD", passing: Passing::Through },
    Seam { family: FAMILY_IPV6, sign: "DOCKER-USER", chain: "FORWARD", passing: Passing::Through },
    Seam::own(FAMILY_IPV4, "ufw-user-forward", Passing::Through),
    Seam::own(FAMILY_IPV6, "ufw6-user-forward", Passing::Through),
    Seam::own(FAMILY_IPV4, "ufw-user-input", Passing::Questions),
    Seam::own(FAMILY_IPV6, "ufw6-user-input", Passing::Questions),
];

/// The chains for what goes through the host that others offer here.
///
/// # Errors
/// The kernel's.
pub fn offered(netlink: &mut Netlink) -> Result<Vec<Chain>, Errno> {
    let through = |seam: &Seam| seam.passing == Passing::Through;
    let chain = |seam: Seam| Chain {
        family: family_name(seam.family),
        table: TABLE.to_owned(),
        name: seam.chain.to_owned(),
    };
    Ok(present(netlink)?.into_iter().filter(through).map(chain).collect())
}

/// When rules are added among those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once: they have come to rest.
    Now,
    /// Once nobody has changed any rule for a while. ufw begins anew by dozens of programs, one after the other, and stays off if
    /// it finds a rule in a chain that it has just emptied.
    AtRest,
}

/// How long nothing has to change.
const REST: Duration = Duration::from_millis(500);
/// How long is waited for that: somebody may change rules all the time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether every seam has the rules of the table `owner`.
///
/// # Errors
/// The kernel's.
pub fn are_kept(netlink: &mut Netlink, owner: &str) -> Result<bool, Errno> {
    for seam in present(netlink)? {
        if seam.own_rules(netlink, owner)?.len() != seam.passing.rules().len() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sees to it that every seam has the rules of the table `owner`. Says which chains it changed.
///
/// # Errors
/// The kernel's.
pub fn keep(netlink: &mut Netlink, owner: &str, when: When) -> Result<Vec<&'static str>, Errno> {
    if are_kept(netlink, owner)? {
        return Ok(Vec::new());
    }
    if when == When::AtRest {
        await_rest(netlink)?;
    }
    make(netlink, owner, true)
}

/// Takes them away.
///
/// # Errors
/// The kernel's.
pub fn remove(netlink: &mut Netlink, owner: &str) -> Result<(), Errno> {
    make(netlink, owner, false).map(drop)
}

fn await_rest(netlink: &mut Netlink) -> Result<(), Errno> {
    let deadline = Instant::now() + PATIENCE;
    let (mut seen, mut since) = (generation(netlink)?, Instant::now());
    while since.elapsed() < REST && Instant::now() < deadline {
        std::thread::sleep(REST / 10);
        let now = generation(netlink)?;
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok(())
}

fn make(netlink: &mut Netlink, owner: &str, wanted: bool) -> Result<Vec<&'static str>, Errno> {
    let mut changed = Vec::new();
    for seam in present(netlink)? {
        if seam.make(netlink, owner, wanted)? {
            changed.push(seam.chain);
        }
    }
    Ok(changed)
}

/// Those whose owner is there. Most hosts have none.
fn present(netlink: &mut Netlink) -> Result<Vec<Seam>, Errno> {
    let mut present = Vec::new();
    for family in [FAMILY_IPV4, FAMILY_IPV6] {
        if !has_table(netlink, family, TABLE)? {
            continue;
        }
        for seam in SEAMS.iter().filter(|seam| seam.family == family) {
            if has_chain(netlink, family, TABLE, seam.sign)? {
                present.push(*seam);
            }
        }
    }
    Ok(present)
}

impl Seam {
    /// One that its owner has for this alone.
    const fn own(family: u8, chain: &'static str, passing: Passing) -> Self {
        Self { family, sign: chain, chain, passing }
    }

    fn own_rules(self, netlink: &mut Netlink, owner: &str) -> Result<Vec<Answer>, Errno> {
        let mut rules = chain_rules(netlink, self.family, TABLE, self.chain)?;
        rules.retain(|rule| comment(rule) == Some(owner.as_bytes()));
        Ok(rules)
    }

    /// Whether the chain had to be changed.
    fn make(self, netlink: &mut Netlink, owner: &str, wanted: bool) -> Result<bool, Errno> {
        let own = self.own_rules(netlink, owner)?;
        let wanted = if wanted { self.passing.rules() } else { Vec::new() };
        if own.len() == wanted.len() {
            return Ok(false);
        }
        let mut batch = Batch::of_family(self.family, TABLE);
        for handle in own.iter().filter_map(|rule| rule.attribute(4, RULE_HANDLE)) {
            batch.remove_rule(self.chain, handle);
        }
        for rule in wanted {
            batch.append_rule(self.chain, rule, &user_data(owner));
        }
        match batch.commit(netlink) {
            // It was taken down meanwhile.
            Err(Errno::NOENT) => Ok(false),
            done => done.map(|()| true),
        }
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
