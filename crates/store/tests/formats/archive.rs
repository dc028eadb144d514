//! A builder of tar archives, byte by byte, for what real tools would not write.

/// One header and its data.
#[derive(Clone)]
pub struct Item {
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub flag: u8,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: u64,
    pub device: (u32, u32),
    pub data: Vec<u8>,
    pub size: Option<u64>,
}

impl Item {
    pub fn new(flag: u8, name: &str) -> Self {
        Self {
            name: name.into(),
            link: Vec::new(),
            flag,
            mode: if flag == b'5' { 0o755 } else { 0o644 },
            owner: (0, 0),
            mtime: 1_700_000_000,
            device: (0, 0),
            data: Vec::new(),
            size: None,
        }
    }

    pub fn file(name: &str, data: &[u8]) -> Self {
        Self { data: data.to_vec(), ..Self::new(b'0', name) }
    }

    pub fn directory(name: &str) -> Self {
        Self::new(b'5', name)
    }

    pub fn symlink(name: &str, target: &str) -> Self {
        Self { link: target.into(), ..Self::new(b'2', name) }
    }

    pub fn hard_link(name: &str, target: &str) -> Self {
        Self { link: target.into(), ..Self::new(b'1', name) }
    }

    pub fn character(name: &str, device: (u32, u32)) -> Self {
        Self { device, ..Self::new(b'3', name) }
    }

    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub fn owner(self, uid: u32, gid: u32) -> Self {
        Self { owner: (uid, gid), ..self }
    }

    /// The header block, ustar, with a valid checksum.
    pub fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, format!("{:07o}\0", self.owner.0).as_bytes());
        put(116, format!("{:07o}\0", self.owner.1).as_bytes());
        put(124, format!("{:011o}\0", self.size.unwrap_or(self.data.len() as u64)).as_bytes());
        put(136, format!("{:011o}\0", self.mtime).as_bytes());
        put(156, &[self.flag]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0{:07o}\0", self.device.0, self.device.1).as_bytes());
        seal(&mut block);
        block
    }
}

/// Writes a header's checksum.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// An archive that grows.
#[derive(Default, Clone)]
pub struct Archive(pub Vec<u8>);

impl Archive {
    pub fn of(items: &[Item]) -> Vec<u8> {
        items.iter().fold(Self::default(), |archive, item| archive.item(item)).end()
    }

    pub fn item(self, item: &Item) -> Self {
        self.raw(&item.header()).padded(&item.data)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn padded(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// An extended header (flag `x` or `g`) with these records.
    pub fn pax(self, flag: u8, records: &[(&str, &[u8])]) -> Self {
        let data = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.item(&Item { data, ..Item::new(flag, "PaxHeaders/x") })
    }

    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }
}

/// A pax record, whose length counts itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = body.len() + 1;
    while length.to_string().len() + body.len() != length {
        length += 1;
    }
    [length.to_string().as_bytes(), &body].concat()
}
