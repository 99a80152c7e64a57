//! Who may do what to a node.

use alloc::format;
use alloc::vec::Vec;

use paravane_abi::errno::Errno;
use paravane_abi::io::xenstore::strings;

use crate::addr::DomainId;

/// Most entries of a list (xenstored's quota).
const ENTRIES_MAX: usize = 5;

/// A right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To read it, and what is directly below.
    Read,
    /// To write it, and to make nodes below.
    Write,
    /// To change its rights.
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    domain: DomainId,
    read: bool,
    write: bool,
}

/// A node's list. The first entry names the owner, who may do everything; its letters are for those who are not
/// named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Perms(Vec<Entry>);

impl Perms {
    /// What only its owner may touch.
    pub fn private(owner: DomainId) -> Self {
        Self(Vec::from([Entry { domain: owner, read: false, write: false }]))
    }

    /// What one other domain may read besides.
    pub fn readable_by(owner: DomainId, reader: DomainId) -> Self {
        let mut perms = Self::private(owner);
        perms.0.push(Entry { domain: reader, read: true, write: false });
        perms
    }

    /// A list as a message has it.
    ///
    /// # Errors
    /// EINVAL where it is none; ENOSPC when it is too long.
    pub fn parse(payload: &[u8]) -> Result<Self, Errno> {
        let entries: Vec<Entry> = strings(payload).map(entry).collect::<Option<_>>().ok_or(Errno::EINVAL)?;
        match entries.len() {
            0 => Err(Errno::EINVAL),
            count if count > ENTRIES_MAX => Err(Errno::ENOSPC),
            _ => Ok(Self(entries)),
        }
    }

    /// As [`Self::parse`] takes it.
    pub fn text(&self) -> Vec<u8> {
        let letter = |entry: &Entry| match (entry.read, entry.write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        };
        let texts = self.0.iter().map(|entry| format!("{}{}\0", letter(entry), entry.domain.0));
        texts.flat_map(alloc::string::String::into_bytes).collect()
    }

    /// Who may do everything.
    pub fn owner(&self) -> DomainId {
        self.0[0].domain
    }

    /// The same list under another owner: for what a domain makes below a node of another's.
    pub fn owned_by(&self, owner: DomainId) -> Self {
        let mut perms = self.clone();
        perms.0[0].domain = owner;
        perms
    }

    /// Whether a domain has a right.
    pub fn allow(&self, domain: DomainId, right: Right) -> bool {
        if self.owner() == domain {
            return true;
        }
        let named = self.0[1..].iter().find(|entry| entry.domain == domain);
        let entry = named.unwrap_or(&self.0[0]);
        match right {
            Right::Read => entry.read,
            Right::Write => entry.write,
            Right::Own => false,
        }
    }
}

fn entry(text: &[u8]) -> Option<Entry> {
    let (letter, number) = text.split_first()?;
    let (read, write) = match letter {
        b'n' => (false, false),
        b'r' => (true, false),
        b'w' => (false, true),
        b'b' => (true, true),
        _ => return None,
    };
    let domain = core::str::from_utf8(number).ok()?.parse().ok()?;
    Some(Entry { domain: DomainId(domain), read, write })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(perms: &Perms, domain: u16) -> [bool; 3] {
        [Right::Read, Right::Write, Right::Own].map(|right| perms.allow(DomainId(domain), right))
    }

    #[test]
    fn the_owner_may_all_the_named_what_is_said_and_others_what_the_first_says() {
        let perms = Perms::parse(b"r1\0w2\0n3\0b4\0").unwrap();
        assert_eq!(rights(&perms, 1), [true; 3]);
        assert_eq!(rights(&perms, 2), [false, true, false]);
        assert_eq!(rights(&perms, 3), [false; 3]);
        assert_eq!(rights(&perms, 4), [true, true, false]);
        assert_eq!(rights(&perms, 5), [true, false, false]);
        assert_eq!(perms.text(), b"r1\0w2\0n3\0b4\0");
        assert_eq!(rights(&perms.owned_by(DomainId(9)), 9), [true; 3]);
        assert_eq!(Perms::readable_by(DomainId(0), DomainId(3)).text(), b"n0\0r3\0");
    }

    #[test]
    fn other_lists_are_refused() {
        for bad in [&b""[..], b"\0", b"r\0", b"x1\0", b"r-1\0", b"r65536\0", b"r1\0\0"] {
            assert_eq!(Perms::parse(bad), Err(Errno::EINVAL), "{bad:?}");
        }
        assert_eq!(Perms::parse(b"n1\0n1\0n1\0n1\0n1\0n1\0"), Err(Errno::ENOSPC));
    }
}
