//! Messages and expressions of nftables, as the kernel takes them (linux/netfilter/nf_tables.h).
//!
//! All numbers are in network byte order but for what expressions compare with what the kernel keeps itself. Registers are
//! of 4 bytes; what is longer takes the next ones.

use std::net::IpAddr;

use holm_sys::netlink::{Answer, Attributes, Netlink, Request, flags};
use rustix::io::Errno;

use super::Chain;

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_GENERATION: u16 = 16;
const GET_CHAIN: u16 = 4;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const DELETE_SET: u16 = 11;
const NEW_ELEMENTS: u16 = 12;
const GET_ELEMENTS: u16 = 13;
const DELETE_ELEMENTS: u16 = 14;
/// Types of messages about a table, a chain, a rule and a set that was removed.
pub const REMOVALS: [u16; 4] = [
    SUBSYSTEM << 8 | DELETE_TABLE,
    SUBSYSTEM << 8 | DELETE_CHAIN,
    SUBSYSTEM << 8 | DELETE_RULE,
    SUBSYSTEM << 8 | DELETE_SET,
];
pub(super) const FAMILY_INET: u8 = 1;
/// Flag: after the rules that are there.
const APPEND: u16 = 0x800;
/// Attributes of a rule.
pub(super) const RULE_HANDLE: u16 = 3;
pub(super) const RULE_USER_DATA: u16 = 7;
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const SET_IS_MAP: u32 = 8;
/// `NFT_REG32_00`.
const FIRST_REGISTER: u32 = 8;
const VERDICT_REGISTER: u32 = 0;
/// Of a set's user data, nft's own: `NFTNL_UDATA_SET_KEYBYTEORDER`, 4 bytes, the machine's order.
const HOST_ORDER: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

/// Type of what a set holds, as nft(8) numbers them; they tell people what the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Type {
    Address4 = 7,
    Address6 = 8,
    Protocol = 12,
    Service = 13,
    InterfaceName = 41,
}

impl Type {
    /// Bytes in registers.
    fn length(self) -> u32 {
        match self {
            Self::Address6 | Self::InterfaceName => 16,
            Self::Address4 | Self::Protocol | Self::Service => 4,
        }
    }
}

fn number_of(types: &[Type]) -> u32 {
    types.iter().fold(0, |number, part| number << 6 | *part as u32)
}

fn length_of(types: &[Type]) -> u32 {
    types.iter().map(|part| part.length()).sum()
}

/// Where packets meet a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    pub(super) kind: &'static str,
    /// `NF_INET_*`.
    pub(super) number: u32,
    pub(super) priority: i32,
}

pub(super) const PRE_ROUTING: u32 = 0;
pub(super) const FORWARD: u32 = 2;
pub(super) const OUTPUT: u32 = 3;
pub(super) const POST_ROUTING: u32 = 4;

/// Orders that are carried out together.
#[derive(Debug)]
pub(super) struct Batch {
    family: u8,
    table: String,
    orders: Vec<Request>,
}

impl Batch {
    /// About a table of ours.
    pub(super) fn new(table: &str) -> Self {
        Self::of_family(FAMILY_INET, table)
    }

    /// About anybody's table.
    pub(super) fn of_family(family: u8, table: &str) -> Self {
        Self { family, table: table.to_owned(), orders: vec![boundary(BATCH_BEGIN)] }
    }

    fn add(&mut self, kind: u16, flags: u16, attributes: impl FnOnce(Request) -> Request) {
        let request =
            Request::new(kind | SUBSYSTEM << 8, flags | flags::ACKNOWLEDGE, &[self.family, 0, 0, 0]);
        self.orders.push(attributes(request));
    }

    /// Begins with an empty table, whatever there was.
    pub(super) fn replace_table(&mut self) {
        let name = text(&self.table);
        self.add(NEW_TABLE, flags::CREATE, |order| order.attribute(1, &name));
        self.add(DELETE_TABLE, 0, |order| order.attribute(1, &name));
        self.add(NEW_TABLE, flags::CREATE, |order| order.attribute(1, &name));
    }

    pub(super) fn remove_table(&mut self) {
        let name = text(&self.table);
        self.add(DELETE_TABLE, 0, |order| order.attribute(1, &name));
    }

    pub(super) fn chain(&mut self, name: &str, hook: Hook) {
        let table = text(&self.table);
        let place = Attributes::new()
            .attribute(1, &hook.number.to_be_bytes())
            .attribute(2, &hook.priority.to_be_bytes());
        self.add(NEW_CHAIN, flags::CREATE, |order| {
            order
                .attribute(1, &table)
                .attribute(3, &text(name))
                .nested(4, &place)
                .attribute(5, &1_u32.to_be_bytes())
                .attribute(7, &text(hook.kind))
        });
    }

    pub(super) fn rule(&mut self, chain: &str, rule: Rule) {
        self.append(chain, rule, |order| order);
    }

    /// A rule with a word of whose it is.
    pub(super) fn append_rule(&mut self, chain: &str, rule: Rule, user_data: &[u8]) {
        self.append(chain, rule, |order| order.attribute(RULE_USER_DATA, user_data));
    }

    fn append(&mut self, chain: &str, rule: Rule, further: impl FnOnce(Request) -> Request) {
        let table = text(&self.table);
        self.add(NEW_RULE, flags::CREATE | APPEND, |order| {
            let order = order.attribute(1, &table).attribute(2, &text(chain)).nested(4, &rule.expressions);
            further(match rule.protocol {
                Some(protocol) => {
                    let compatible = Attributes::new()
                        .attribute(1, &u32::from(protocol).to_be_bytes())
                        .attribute(2, &[0; 4]);
                    order.nested(5, &compatible)
                }
                None => order,
            })
        });
    }

    pub(super) fn remove_rule(&mut self, chain: &str, handle: &[u8]) {
        let table = text(&self.table);
        self.add(DELETE_RULE, 0, |order| {
            order.attribute(1, &table).attribute(2, &text(chain)).attribute(RULE_HANDLE, handle)
        });
    }

    /// A set, or a map if it has data.
    pub(super) fn set(&mut self, name: &str, number: u32, key: &[Type], data: &[Type]) {
        let table = text(&self.table);
        let is_map = if data.is_empty() { 0 } else { SET_IS_MAP };
        self.add(NEW_SET, flags::CREATE, |order| {
            let order = order
                .attribute(1, &table)
                .attribute(2, &text(name))
                .attribute(3, &is_map.to_be_bytes())
                .attribute(4, &number_of(key).to_be_bytes())
                .attribute(5, &length_of(key).to_be_bytes())
                .attribute(10, &number.to_be_bytes());
            // What nft(8) shows of the keys depends on it.
            let order = match key {
                [Type::InterfaceName] => order.attribute(13, &HOST_ORDER),
                _ => order,
            };
            match data {
                [] => order,
                data => order
                    .attribute(6, &number_of(data).to_be_bytes())
                    .attribute(7, &length_of(data).to_be_bytes()),
            }
        });
    }

    /// Elements of a set, each a key, with data if it is a map.
    pub(super) fn add_elements(&mut self, set: &str, elements: &[(Vec<u8>, Vec<u8>)]) {
        self.elements(NEW_ELEMENTS, flags::CREATE, set, elements);
    }

    pub(super) fn remove_elements(&mut self, set: &str, elements: &[(Vec<u8>, Vec<u8>)]) {
        self.elements(DELETE_ELEMENTS, 0, set, elements);
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &str, elements: &[(Vec<u8>, Vec<u8>)]) {
        /// An attribute has at most 64 KiB.
        const AT_ONCE: usize = 500;
        let table = text(&self.table);
        for elements in elements.chunks(AT_ONCE) {
            let list = elements.iter().fold(Attributes::new(), |list, (key, value)| {
                let element = Attributes::new().nested(1, &data(key));
                let element = if value.is_empty() { element } else { element.nested(2, &data(value)) };
                list.nested(LIST_ELEMENT, &element)
            });
            self.add(kind, flags, |order| {
                order.attribute(1, &table).attribute(2, &text(set)).nested(3, &list)
            });
        }
    }

    /// # Errors
    /// The kernel's, for the first order that it refuses; nothing is changed then.
    pub(super) fn commit(mut self, netlink: &mut Netlink) -> Result<(), Errno> {
        self.orders.push(boundary(BATCH_END));
        netlink.transact(self.orders).map_err(|(_, errno)| errno)
    }
}

/// How many rules a table of ours has; `None` if there is none of that name.
pub(super) fn count_rules(netlink: &mut Netlink, table: &str) -> Result<Option<usize>, Errno> {
    if !has_table(netlink, FAMILY_INET, table)? {
        return Ok(None);
    }
    Ok(Some(netlink.ask(about(GET_RULE, flags::DUMP, FAMILY_INET, table))?.len()))
}

/// Whether there is a table.
pub(super) fn has_table(netlink: &mut Netlink, family: u8, table: &str) -> Result<bool, Errno> {
    is_there(netlink, about(GET_TABLE, 0, family, table))
}

/// A number that is another one after each change of anybody's.
pub(super) fn generation(netlink: &mut Netlink) -> Result<Vec<u8>, Errno> {
    const NUMBER: u16 = 1;
    let answer = netlink.ask_one(Request::new(GET_GENERATION | SUBSYSTEM << 8, 0, &[0; 4]))?;
    Ok(answer.and_then(|answer| answer.attribute(4, NUMBER).map(<[u8]>::to_vec)).unwrap_or_default())
}

/// Whether there is a chain.
pub(super) fn has_chain(netlink: &mut Netlink, family: u8, table: &str, chain: &str) -> Result<bool, Errno> {
    is_there(netlink, about(GET_CHAIN, 0, family, table).attribute(3, &text(chain)))
}

fn is_there(netlink: &mut Netlink, question: Request) -> Result<bool, Errno> {
    match netlink.ask_one(question) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The rules of a chain; none if there is none of that name.
pub(super) fn chain_rules(
    netlink: &mut Netlink,
    family: u8,
    table: &str,
    chain: &str,
) -> Result<Vec<Answer>, Errno> {
    if !has_chain(netlink, family, table, chain)? {
        return Ok(Vec::new());
    }
    netlink.ask(about(GET_RULE, flags::DUMP, family, table).attribute(2, &text(chain)))
}

fn about(kind: u16, flags: u16, family: u8, table: &str) -> Request {
    Request::new(kind | SUBSYSTEM << 8, flags, &[family, 0, 0, 0]).attribute(1, &text(table))
}

/// How many elements a set has.
pub(super) fn count_elements(netlink: &mut Netlink, table: &str, set: &str) -> Result<usize, Errno> {
    let question = Request::new(GET_ELEMENTS | SUBSYSTEM << 8, flags::DUMP, &[FAMILY_INET, 0, 0, 0])
        .attribute(1, &text(table))
        .attribute(2, &text(set));
    let answers = netlink.ask(question)?;
    let lists = answers.iter().filter_map(|answer| answer.attribute(4, 3));
    Ok(lists.map(|list| holm_sys::netlink::attributes(list).count()).sum())
}

/// The chains of other tables that drop what passes unless a rule of theirs says otherwise: table and chain.
pub(super) fn dropping_chains(netlink: &mut Netlink, own: &str) -> Result<Vec<Chain>, Errno> {
    const ANY_FAMILY: u8 = 0;
    const DROP: [u8; 4] = 0_u32.to_be_bytes();
    let question = Request::new(GET_CHAIN | SUBSYSTEM << 8, flags::DUMP, &[ANY_FAMILY, 0, 0, 0]);
    let chains = netlink.ask(question)?;
    let dropping = chains.iter().filter_map(|chain| {
        let hook = chain.attribute(4, 4)?;
        let (_, number) = holm_sys::netlink::attributes(hook).find(|(kind, _)| *kind == 1)?;
        let drops = chain.attribute(4, 5)? == DROP && number == FORWARD.to_be_bytes();
        let name = |kind| String::from_utf8_lossy(chain.attribute(4, kind).unwrap_or_default()).into_owned();
        let [table, name] = [name(1), name(3)].map(|name| name.trim_end_matches('\0').to_owned());
        let [family] = chain.header();
        (drops && table != own).then(|| Chain { family: family_name(family), table, name })
    });
    Ok(dropping.collect())
}

/// As nft(8) has it.
pub(super) fn family_name(family: u8) -> &'static str {
    match family {
        FAMILY_INET => "inet",
        2 => "ip",
        10 => "ip6",
        _ => "other",
    }
}

fn boundary(kind: u16) -> Request {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Request::new(kind, 0, &[0, 0, high, low])
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn data(bytes: &[u8]) -> Attributes {
    Attributes::new().attribute(DATA_VALUE, bytes)
}

/// A key or a value that is put together as registers hold it.
#[derive(Clone, Debug, Default)]
pub(super) struct Concatenation(pub(super) Vec<u8>);

impl Concatenation {
    #[must_use]
    pub(super) fn part(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

/// An interface's name, as the kernel compares it.
pub(super) fn interface_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// What a packet, or the kernel's knowledge of it, has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fact {
    /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10), one byte.
    Family,
    /// TCP, UDP and so on, one byte.
    Protocol,
    InputName,
    OutputName,
    Source(bool),
    Destination(bool),
    DestinationPort,
    /// `NF_CT_STATE_BIT`s.
    ConnectionState,
    /// `IPS_*` bits.
    ConnectionStatus,
    /// What the destination is to this host: `RTN_*`.
    DestinationType,
}

/// Bits of [`Fact::ConnectionState`].
pub(super) const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
/// Bit of [`Fact::ConnectionStatus`]: the destination was changed.
pub(super) const DESTINATION_CHANGED: u32 = 1 << 5;
/// [`Fact::DestinationType`]: an address of this host.
pub(super) const LOCAL: u32 = 2;

/// Expressions, carried out in order until one does not match.
#[derive(Clone, Debug, Default)]
pub(super) struct Rule {
    expressions: Attributes,
    /// What the matches of iptables in it are told that the packet is.
    protocol: Option<u8>,
}

impl Rule {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn expression(self, name: &str, attributes: &Attributes) -> Self {
        let expression = Attributes::new().attribute(1, &text(name)).nested(2, attributes);
        Self { expressions: self.expressions.nested(LIST_ELEMENT, &expression), ..self }
    }

    /// Loads a fact into registers from this one on.
    fn load(self, fact: Fact, register: u32) -> Self {
        let register = (FIRST_REGISTER + register).to_be_bytes();
        let be = |number: u32| number.to_be_bytes();
        let meta = |key: u32| Attributes::new().attribute(1, &register).attribute(2, &be(key));
        let connection = |key: u32| Attributes::new().attribute(1, &register).attribute(2, &be(key));
        let payload = |base: u32, offset: u32, length: u32| {
            Attributes::new()
                .attribute(1, &register)
                .attribute(2, &be(base))
                .attribute(3, &be(offset))
                .attribute(4, &be(length))
        };
        match fact {
            Fact::InputName => self.expression("meta", &meta(6)),
            Fact::OutputName => self.expression("meta", &meta(7)),
            Fact::Family => self.expression("meta", &meta(15)),
            Fact::Protocol => self.expression("meta", &meta(16)),
            Fact::Source(true) => self.expression("payload", &payload(1, 12, 4)),
            Fact::Source(false) => self.expression("payload", &payload(1, 8, 16)),
            Fact::Destination(true) => self.expression("payload", &payload(1, 16, 4)),
            Fact::Destination(false) => self.expression("payload", &payload(1, 24, 16)),
            Fact::DestinationPort => self.expression("payload", &payload(2, 2, 2)),
            Fact::ConnectionState => self.expression("ct", &connection(0)),
            Fact::ConnectionStatus => self.expression("ct", &connection(2)),
            // NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR.
            Fact::DestinationType => {
                let fib = Attributes::new().attribute(1, &register).attribute(2, &be(3)).attribute(3, &be(2));
                self.expression("fib", &fib)
            }
        }
    }

    /// Goes on if a fact is this, or is not.
    pub(super) fn compare(self, fact: Fact, equal: bool, value: &[u8]) -> Self {
        self.load(fact, 0).compare_register(equal, value)
    }

    fn compare_register(self, equal: bool, value: &[u8]) -> Self {
        let compare = Attributes::new()
            .attribute(1, &FIRST_REGISTER.to_be_bytes())
            .attribute(2, &u32::from(!equal).to_be_bytes())
            .nested(3, &data(value));
        self.expression("cmp", &compare)
    }

    /// Goes on if the packet is of a protocol and for a port, in the words of iptables: `-p udp -m udp --dport 53`.
    pub(super) fn port_as_iptables(self, protocol: u8, port: u16) -> Self {
        /// Of `struct xt_tcp` and `struct xt_udp`, rounded up.
        const LENGTH: usize = 16;
        const TCP: u8 = 6;
        let name = if protocol == TCP { "tcp" } else { "udp" };
        let mut ports = [0; LENGTH];
        for (place, number) in [0, u16::MAX, port, port].into_iter().enumerate() {
            ports[2 * place..][..2].copy_from_slice(&number.to_ne_bytes());
        }
        let matches = Attributes::new().attribute(1, &text(name)).attribute(2, &[0; 4]).attribute(3, &ports);
        let rule = self.compare(Fact::Protocol, true, &[protocol]).expression("match", &matches);
        Self { protocol: Some(protocol), ..rule }
    }

    /// Counts packets and bytes, as every rule of iptables does.
    pub(super) fn count(self) -> Self {
        self.expression("counter", &Attributes::new().attribute(1, &[0; 8]).attribute(2, &[0; 8]))
    }

    /// Goes on if a fact has one of these bits.
    pub(super) fn any_bit(self, fact: Fact, bits: u32) -> Self {
        let register = FIRST_REGISTER.to_be_bytes();
        let mask = Attributes::new()
            .attribute(1, &register)
            .attribute(2, &register)
            .attribute(3, &4_u32.to_be_bytes())
            .nested(4, &data(&bits.to_ne_bytes()))
            .nested(5, &data(&[0; 4]));
        self.load(fact, 0).expression("bitwise", &mask).compare_register(false, &[0; 4])
    }

    /// Goes on if an address is in a block, or is not.
    pub(super) fn in_block(self, fact: Fact, inside: bool, block: &holm_spec::network::Subnet) -> Self {
        let block = block.network();
        let address = octets(block.address);
        let mask: Vec<u8> = (0..address.len())
            .map(|byte| {
                let ones = u32::from(block.prefix).saturating_sub(8 * byte as u32).min(8);
                (0xff00_u16 >> ones) as u8
            })
            .collect();
        let (register, length) = (FIRST_REGISTER.to_be_bytes(), address.len() as u32);
        let bitwise = Attributes::new()
            .attribute(1, &register)
            .attribute(2, &register)
            .attribute(3, &length.to_be_bytes())
            .nested(4, &data(&mask))
            .nested(5, &data(&vec![0; address.len()]));
        self.load(fact, 0).expression("bitwise", &bitwise).compare_register(inside, &address)
    }

    /// Goes on if a fact is in a set, or is not.
    pub(super) fn in_set(self, fact: Fact, inside: bool, (set, number): (&str, u32)) -> Self {
        let lookup = Attributes::new()
            .attribute(1, &text(set))
            .attribute(2, &FIRST_REGISTER.to_be_bytes())
            .attribute(4, &number.to_be_bytes())
            .attribute(5, &u32::from(!inside).to_be_bytes());
        self.load(fact, 0).expression("lookup", &lookup)
    }

    /// Goes on if facts together are a key of a map, with its data in the first registers.
    pub(super) fn map(mut self, facts: &[Fact], map: &str, number: u32) -> Self {
        let mut register = 0;
        for fact in facts {
            self = self.load(*fact, register);
            register += match fact {
                Fact::Source(false) | Fact::Destination(false) | Fact::InputName | Fact::OutputName => 4,
                _ => 1,
            };
        }
        let first = FIRST_REGISTER.to_be_bytes();
        let lookup = Attributes::new()
            .attribute(1, &text(map))
            .attribute(2, &first)
            .attribute(3, &first)
            .attribute(4, &number.to_be_bytes());
        self.expression("lookup", &lookup)
    }

    /// Changes the destination to the address and port in the first registers.
    pub(super) fn change_destination(self, v4: bool) -> Self {
        let family: u32 = if v4 { 2 } else { 10 };
        let port = FIRST_REGISTER + if v4 { 1 } else { 4 };
        let nat = Attributes::new()
            .attribute(1, &1_u32.to_be_bytes())
            .attribute(2, &family.to_be_bytes())
            .attribute(3, &FIRST_REGISTER.to_be_bytes())
            .attribute(5, &port.to_be_bytes());
        self.expression("nat", &nat)
    }

    /// Changes the source to the address of the device that the packet leaves by.
    pub(super) fn masquerade(self) -> Self {
        self.expression("masq", &Attributes::new())
    }

    pub(super) fn accept(self) -> Self {
        self.verdict(1)
    }

    pub(super) fn drop(self) -> Self {
        self.verdict(0)
    }

    fn verdict(self, code: u32) -> Self {
        let verdict = Attributes::new().attribute(VERDICT_CODE, &code.to_be_bytes());
        let immediate = Attributes::new()
            .attribute(1, &VERDICT_REGISTER.to_be_bytes())
            .nested(2, &Attributes::new().nested(DATA_VERDICT, &verdict));
        self.expression("immediate", &immediate)
    }
}
