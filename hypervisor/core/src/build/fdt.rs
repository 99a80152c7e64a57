//! Flattened device tree, as the Devicetree Specification 0.4, chapter 5, lays it out: reading without recursion
//! and without trusting one offset, and writing.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
/// Oldest version whose structure block this reader understands (section 5.2).
const COMPATIBLE: u32 = 16;
const HEADER: usize = 40;

const TOKEN_BEGIN_NODE: u32 = 1;
const TOKEN_END_NODE: u32 = 2;
const TOKEN_PROP: u32 = 3;
const TOKEN_NOP: u32 = 4;
const TOKEN_END: u32 = 9;

/// Deepest nesting accepted. Hyperlaunch needs five levels; the bound keeps a hostile tree from growing state.
pub const DEPTH_MAX: usize = 64;

/// Why a device tree blob was refused; offsets are into the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdtError {
    /// No device tree: wrong magic, or shorter than a header.
    Magic,
    /// A version this reader does not understand.
    Version(u32),
    /// A block named by the header lies outside the blob.
    Header,
    /// The structure block ends early or a length runs past it.
    Truncated(usize),
    /// An unknown or misplaced token.
    Token(usize),
    /// A name is not terminated or not UTF-8.
    Name(usize),
    /// Nesting deeper than [`DEPTH_MAX`].
    Depth(usize),
}

impl fmt::Display for FdtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => write!(f, "not a flattened device tree"),
            Self::Version(version) => write!(f, "device tree: version {version} is not understood"),
            Self::Header => write!(f, "device tree: the header names a block outside the blob"),
            Self::Truncated(at) => write!(f, "device tree: ends in the middle of an item at byte {at}"),
            Self::Token(at) => write!(f, "device tree: unknown or misplaced token at byte {at}"),
            Self::Name(at) => write!(f, "device tree: bad name at byte {at}"),
            Self::Depth(at) => write!(f, "device tree: more than {DEPTH_MAX} levels at byte {at}"),
        }
    }
}

impl core::error::Error for FdtError {}

/// One step through the structure block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A node begins; the root's name is empty.
    Begin {
        /// Node name with its unit address.
        name: &'a str,
    },
    /// A property of the innermost open node.
    Property {
        /// Property name.
        name: &'a str,
        /// Raw value.
        value: &'a [u8],
    },
    /// The innermost open node ends.
    End,
}

/// A blob whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Fdt<'a> {
    structure: &'a [u8],
    structure_at: usize,
    strings: &'a [u8],
}

impl<'a> Fdt<'a> {
    /// Checks the header. The blob may be longer than its own size field says, never shorter.
    pub fn new(blob: &'a [u8]) -> Result<Self, FdtError> {
        if be32(blob, 0) != Some(MAGIC) || blob.len() < HEADER {
            return Err(FdtError::Magic);
        }
        let word = |index: usize| be32(blob, index * 4).ok_or(FdtError::Header);
        let total = word(1)? as usize;
        let (version, compatible) = (word(5)?, word(6)?);
        if version < VERSION || !(COMPATIBLE..=VERSION).contains(&compatible) {
            return Err(FdtError::Version(version));
        }
        let blob = blob.get(..total).ok_or(FdtError::Header)?;
        let block = |offset: u32, size: u32| {
            blob.get(offset as usize..).and_then(|rest| rest.get(..size as usize)).ok_or(FdtError::Header)
        };
        let structure_at = word(2)?;
        if structure_at % 4 != 0 {
            return Err(FdtError::Header);
        }
        Ok(Self {
            structure: block(structure_at, word(9)?)?,
            structure_at: structure_at as usize,
            strings: block(word(3)?, word(8)?)?,
        })
    }

    /// Walks the structure block from its start.
    pub fn events(&self) -> Events<'a> {
        Events { fdt: *self, at: 0, depth: 0, root_closed: false, done: false }
    }
}

/// Iterator over the structure block. After an error, or after the end token, it yields nothing more.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    fdt: Fdt<'a>,
    at: usize,
    depth: usize,
    root_closed: bool,
    done: bool,
}

impl<'a> Events<'a> {
    fn token(&mut self) -> Result<Option<Event<'a>>, FdtError> {
        loop {
            let here = self.fdt.structure_at + self.at;
            let token = be32(self.fdt.structure, self.at).ok_or(FdtError::Truncated(here))?;
            self.at += 4;
            match token {
                TOKEN_NOP => {}
                // Section 5.4.2: one root node.
                TOKEN_BEGIN_NODE if !self.root_closed => {
                    let rest = self.fdt.structure.get(self.at..).ok_or(FdtError::Truncated(here))?;
                    let name = c_str(rest).ok_or(FdtError::Name(here))?;
                    if self.depth == DEPTH_MAX {
                        return Err(FdtError::Depth(here));
                    }
                    self.depth += 1;
                    self.at = align4(self.at + name.len() + 1);
                    return Ok(Some(Event::Begin { name }));
                }
                TOKEN_END_NODE => {
                    self.depth = self.depth.checked_sub(1).ok_or(FdtError::Token(here))?;
                    self.root_closed = self.depth == 0;
                    return Ok(Some(Event::End));
                }
                TOKEN_PROP if self.depth > 0 => {
                    let structure = self.fdt.structure;
                    let len = be32(structure, self.at).ok_or(FdtError::Truncated(here))? as usize;
                    let name_at = be32(structure, self.at + 4).ok_or(FdtError::Truncated(here))? as usize;
                    let value = structure
                        .get(self.at + 8..)
                        .and_then(|rest| rest.get(..len))
                        .ok_or(FdtError::Truncated(here))?;
                    let name = self.fdt.strings.get(name_at..).and_then(c_str).ok_or(FdtError::Name(here))?;
                    self.at = align4(self.at + 8 + len);
                    return Ok(Some(Event::Property { name, value }));
                }
                TOKEN_END if self.root_closed => return Ok(None),
                _ => return Err(FdtError::Token(here)),
            }
        }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, FdtError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.token().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Builds a blob node by node.
#[derive(Debug, Default)]
pub struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
    names: Vec<(String, u32)>,
    depth: usize,
}

impl Writer {
    /// An empty tree; begin with the root, whose name is empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a node.
    pub fn begin(&mut self, name: &str) -> &mut Self {
        self.depth += 1;
        self.token(TOKEN_BEGIN_NODE);
        self.structure.extend_from_slice(name.as_bytes());
        self.structure.push(0);
        self.pad();
        self
    }

    /// Closes the innermost node.
    ///
    /// # Panics
    /// When no node is open.
    pub fn end(&mut self) -> &mut Self {
        assert!(self.depth > 0, "end of a node that was never begun");
        self.depth -= 1;
        self.token(TOKEN_END_NODE);
        self
    }

    /// Adds a property to the innermost node; properties come before child nodes.
    pub fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let name_at = self.name_offset(name);
        self.token(TOKEN_PROP);
        self.token(value.len() as u32);
        self.token(name_at);
        self.structure.extend_from_slice(value);
        self.pad();
        self
    }

    /// Adds a property of 32-bit cells.
    pub fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &value)
    }

    /// Adds a property of NUL-terminated strings.
    pub fn strings(&mut self, name: &str, strings: &[&str]) -> &mut Self {
        let value: Vec<u8> = strings.iter().flat_map(|string| string.bytes().chain([0])).collect();
        self.bytes(name, &value)
    }

    /// The finished blob.
    ///
    /// # Panics
    /// When a node is still open.
    pub fn finish(mut self) -> Vec<u8> {
        assert!(self.depth == 0, "a node is still open");
        self.token(TOKEN_END);
        // The memory reservation block is one all-zero entry: its terminator (section 5.3).
        let reservations_at = HEADER as u32;
        let structure_at = reservations_at + 16;
        let strings_at = structure_at + self.structure.len() as u32;
        let total = strings_at + self.strings.len() as u32;
        let header = [
            MAGIC,
            total,
            structure_at,
            strings_at,
            reservations_at,
            VERSION,
            COMPATIBLE,
            0,
            self.strings.len() as u32,
            self.structure.len() as u32,
        ];
        let mut blob: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
        blob.resize(structure_at as usize, 0);
        blob.extend_from_slice(&self.structure);
        blob.extend_from_slice(&self.strings);
        blob
    }

    fn token(&mut self, word: u32) {
        self.structure.extend_from_slice(&word.to_be_bytes());
    }

    fn pad(&mut self) {
        self.structure.resize(align4(self.structure.len()), 0);
    }

    fn name_offset(&mut self, name: &str) -> u32 {
        if let Some((_, at)) = self.names.iter().find(|(known, _)| known == name) {
            return *at;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.names.push((String::from(name), at));
        at
    }
}

/// A property of one or two cells as a number, most significant cell first; `None` for any other length.
pub fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => be32(value, 0).map(u64::from),
        8 => Some((u64::from(be32(value, 0)?) << 32) | u64::from(be32(value, 4)?)),
        _ => None,
    }
}

/// A property that is one NUL-terminated UTF-8 string.
pub fn string(value: &[u8]) -> Option<&str> {
    let text = c_str(value)?;
    (text.len() + 1 == value.len()).then_some(text)
}

/// Whether a string list property names `wanted`.
pub fn string_list_contains(value: &[u8], wanted: &str) -> bool {
    value.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes())
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.get(..4)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}

fn c_str(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    core::str::from_utf8(&bytes[..end]).ok()
}

/// Offsets are bounded by a blob of at most 4 GiB (32-bit size field): no overflow of a 64-bit `usize`.
fn align4(at: usize) -> usize {
    (at + 3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.begin("").strings("compatible", &["a", "bc"]);
        writer.begin("chosen").cells("memory", &[1, 0x8000_0000]).bytes("odd", b"xyz").end();
        writer.end();
        writer.finish()
    }

    #[test]
    fn what_is_written_is_read() {
        let blob = sample();
        let events: Vec<_> = Fdt::new(&blob).unwrap().events().map(Result::unwrap).collect();
        assert_eq!(
            events,
            vec![
                Event::Begin { name: "" },
                Event::Property { name: "compatible", value: b"a\0bc\0" },
                Event::Begin { name: "chosen" },
                Event::Property { name: "memory", value: &[0, 0, 0, 1, 0x80, 0, 0, 0] },
                Event::Property { name: "odd", value: b"xyz" },
                Event::End,
                Event::End,
            ]
        );
    }

    #[test]
    fn a_name_is_stored_once() {
        let mut writer = Writer::new();
        writer.begin("").cells("domid", &[1]);
        writer.begin("x").cells("domid", &[2]).end().end();
        let blob = writer.finish();
        let hits = blob.windows(6).filter(|window| window == b"domid\0").count();
        assert_eq!(hits, 1);
    }

    #[test]
    fn headers_are_checked() {
        let blob = sample();
        assert_eq!(Fdt::new(b"").unwrap_err(), FdtError::Magic);
        assert_eq!(Fdt::new(&blob[..39]).unwrap_err(), FdtError::Magic);
        let with_word = |index: usize, value: u32| {
            let mut bad = blob.clone();
            bad[index * 4..index * 4 + 4].copy_from_slice(&value.to_be_bytes());
            Fdt::new(&bad).map(|_| ())
        };
        assert_eq!(with_word(1, blob.len() as u32 + 1), Err(FdtError::Header));
        assert_eq!(with_word(2, !3), Err(FdtError::Header));
        assert_eq!(with_word(2, 0x3a), Err(FdtError::Header));
        assert_eq!(with_word(3, u32::MAX), Err(FdtError::Header));
        assert_eq!(with_word(5, 3), Err(FdtError::Version(3)));
        assert_eq!(with_word(6, 18), Err(FdtError::Version(17)));
        assert_eq!(with_word(8, u32::MAX), Err(FdtError::Header));
        assert_eq!(with_word(9, u32::MAX), Err(FdtError::Header));
        assert_eq!(with_word(7, 5), Ok(()));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            let mut writer = Writer::new();
            for _ in 0..depth {
                writer.begin("");
            }
            for _ in 0..depth {
                writer.end();
            }
            let blob = writer.finish();
            Fdt::new(&blob).unwrap().events().collect::<Result<Vec<_>, _>>().map(|events| events.len())
        };
        assert_eq!(nested(DEPTH_MAX), Ok(2 * DEPTH_MAX));
        assert!(matches!(nested(DEPTH_MAX + 1), Err(FdtError::Depth(_))));
    }

    #[test]
    fn misplaced_tokens_end_the_walk() {
        let walk = |tokens: &[u32]| {
            let mut writer = Writer::new();
            tokens.iter().for_each(|&token| writer.token(token));
            let blob = writer.finish();
            let mut events = Fdt::new(&blob).unwrap().events();
            let last = events.by_ref().last();
            assert!(events.next().is_none());
            last.map(|item| item.map(|event| event == Event::End))
        };
        assert!(matches!(walk(&[TOKEN_END_NODE]), Some(Err(FdtError::Token(_)))));
        assert!(matches!(walk(&[TOKEN_PROP, 0, 0]), Some(Err(FdtError::Token(_)))));
        assert!(matches!(walk(&[TOKEN_BEGIN_NODE, 0, TOKEN_END]), Some(Err(FdtError::Token(_)))));
        assert!(matches!(walk(&[7]), Some(Err(FdtError::Token(_)))));
        // A second root.
        let two = [TOKEN_BEGIN_NODE, 0, TOKEN_END_NODE, TOKEN_BEGIN_NODE, 0, TOKEN_END_NODE];
        assert!(matches!(walk(&two), Some(Err(FdtError::Token(_)))));
        let nop = [TOKEN_NOP, TOKEN_BEGIN_NODE, 0, TOKEN_NOP, TOKEN_END_NODE];
        assert_eq!(walk(&nop), Some(Ok(true)));
        assert!(matches!(
            walk(&[TOKEN_BEGIN_NODE, 0, TOKEN_PROP, 1 << 31, 0]),
            Some(Err(FdtError::Truncated(_)))
        ));
        assert!(matches!(
            walk(&[TOKEN_BEGIN_NODE, 0, TOKEN_PROP, 0, 99, TOKEN_END_NODE]),
            Some(Err(FdtError::Name(_)))
        ));
    }

    #[test]
    fn values_are_typed() {
        assert_eq!(number(&[0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0, 0, 0, 1, 0, 0, 0, 2]), Some(0x1_0000_0002));
        assert_eq!(number(&[1, 2, 3]), None);
        assert_eq!(string(b"hvc0\0"), Some("hvc0"));
        assert_eq!(string(b"hvc0"), None);
        assert_eq!(string(b"a\0b\0"), None);
        assert!(string_list_contains(b"module,kernel\0multiboot,module\0", "multiboot,module"));
        assert!(!string_list_contains(b"module,kernel\0", "module"));
    }
}
