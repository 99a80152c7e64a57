//! Xenstore (`xen/io/xs_wire.h`): a tree of small texts that domains share, and the messages by which it is used.
//!
//! The start-info page names the ring's page (`store_mfn`, an [`XenstoreDomainInterface`]) and its event channel
//! (`store_evtchn`). The guest writes requests to one [stream](super::stream), xenstore answers on the other. A message
//! is a [header](XsdSockmsg) and at most [`XENSTORE_PAYLOAD_MAX`] bytes; a reply has its request's `type`, `req_id` and
//! `tx_id`, except that a refusal has type [`XS_ERROR`] and the error's name as its payload. Watch events come between
//! replies, with `req_id` and `tx_id` 0.
//!
//! Payloads, `|` for a NUL byte, `<...>` for a text; replies of which nothing is said are `OK|`:
//!
//! | request | payload | reply |
//! |---|---|---|
//! | [`XS_DIRECTORY`] | `<path>\|` | `<child>\|<child>\|...` |
//! | [`XS_DIRECTORY_PART`] | `<path>\|<offset>\|` | `<generation>\|<child>\|...`, ending in an extra NUL at the last part |
//! | [`XS_READ`] | `<path>\|` | the value, no NUL added |
//! | [`XS_WRITE`] | `<path>\|` and the value | |
//! | [`XS_MKDIR`], [`XS_RM`] | `<path>\|` | |
//! | [`XS_GET_PERMS`] | `<path>\|` | `<letter><domain>\|...`: `w`, `r`, `b` (both), `n` (none); the first is the owner |
//! | [`XS_SET_PERMS`] | `<path>\|` and the same list | |
//! | [`XS_WATCH`], [`XS_UNWATCH`] | `<path>\|<token>\|` | |
//! | [`XS_WATCH_EVENT`] (from xenstore) | `<path>\|<token>\|` | none |
//! | [`XS_RESET_WATCHES`] | `\|` | |
//! | [`XS_TRANSACTION_START`] | `\|` | `<tx_id>\|`, decimal |
//! | [`XS_TRANSACTION_END`] | `T\|` commits, `F\|` drops | `EAGAIN` as an error: do it all again |
//! | [`XS_GET_DOMAIN_PATH`] | `<domain>\|` | `<path>\|` |
//! | [`XS_IS_DOMAIN_INTRODUCED`] | `<domain>\|` | `T\|` or `F\|` |
//!
//! Paths that do not begin with `/` are relative to the domain's own folder, `/local/domain/<domain>`.
//!
//! # Examples
//!
//! A guest asks for its name:
//!
//! ```
//! use paravane_abi::io::xenstore::{Header, MessageType, Outgoing, XS_READ, strings};
//!
//! let mut bytes = [0; 64];
//! let request = Outgoing::new(MessageType::Read, 1, 0, &[b"name\0"]).expect("it is short");
//! let len = request.copy_to(&mut bytes).expect("the buffer is long enough");
//! assert_eq!((len, &bytes[16..len]), (21, b"name\0".as_slice()));
//!
//! // What xenstore sees, and a guest of a reply:
//! let header = Header::parse(&bytes).expect("16 bytes are there").expect("the length is allowed");
//! assert_eq!((header.kind, header.len), (XS_READ, 5));
//! assert_eq!(strings(&bytes[16..len]).collect::<Vec<_>>(), [b"name"]);
//! ```

use crate::errno::Errno;
use crate::macros::{xen_constants, xen_structs, zeroed_default};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

xen_constants! {
    /// Controls xenstore itself; control domain.
    pub const XS_CONTROL: u32 = 0;
    /// Lists a node's children.
    pub const XS_DIRECTORY: u32 = 1;
    /// Reads a node.
    pub const XS_READ: u32 = 2;
    /// Reads a node's permissions.
    pub const XS_GET_PERMS: u32 = 3;
    /// Asks for an event when a node or something below it changes; one comes at once.
    pub const XS_WATCH: u32 = 4;
    /// Ends a watch.
    pub const XS_UNWATCH: u32 = 5;
    /// Starts a transaction.
    pub const XS_TRANSACTION_START: u32 = 6;
    /// Ends a transaction.
    pub const XS_TRANSACTION_END: u32 = 7;
    /// Tells xenstore of a new domain; control domain.
    pub const XS_INTRODUCE: u32 = 8;
    /// Tells xenstore that a domain is gone; control domain.
    pub const XS_RELEASE: u32 = 9;
    /// Gives a domain's folder.
    pub const XS_GET_DOMAIN_PATH: u32 = 10;
    /// Writes a node, and makes it and those above it where they are missing.
    pub const XS_WRITE: u32 = 11;
    /// Makes a node, if it is missing.
    pub const XS_MKDIR: u32 = 12;
    /// Removes a node and all below it.
    pub const XS_RM: u32 = 13;
    /// Writes a node's permissions.
    pub const XS_SET_PERMS: u32 = 14;
    /// From xenstore: something watched has changed.
    pub const XS_WATCH_EVENT: u32 = 15;
    /// From xenstore: the request was refused.
    pub const XS_ERROR: u32 = 16;
    /// Tells whether xenstore knows a domain.
    pub const XS_IS_DOMAIN_INTRODUCED: u32 = 17;
    /// Tells xenstore that a domain runs on after a suspend; control domain.
    pub const XS_RESUME: u32 = 18;
    /// Gives a domain the rights of another; control domain.
    pub const XS_SET_TARGET: u32 = 19;
    /// Ends all of a domain's watches and transactions.
    pub const XS_RESET_WATCHES: u32 = 21;
    /// Lists a part of a node's children, when they are too many for one message.
    pub const XS_DIRECTORY_PART: u32 = 22;
    /// One past the last type.
    pub const XS_TYPE_COUNT: u32 = 23;
    /// Never a type.
    pub const XS_INVALID: u32 = 0xffff;
    /// Place of the path in a watch event's payload.
    pub const XS_WATCH_PATH: u32 = 0;
    /// Place of the token in a watch event's payload.
    pub const XS_WATCH_TOKEN: u32 = 1;
    /// Bytes of each of the page's two buffers.
    pub const XENSTORE_RING_SIZE: usize = 1024;
    /// Most bytes of a payload; a longer one makes xenstore drop the connection.
    pub const XENSTORE_PAYLOAD_MAX: usize = 4096;
    /// Most bytes of a path from the root, the NUL left out.
    pub const XENSTORE_ABS_PATH_MAX: usize = 3072;
    /// Most bytes of a path relative to the domain's folder, the NUL left out.
    pub const XENSTORE_REL_PATH_MAX: usize = 2048;
    /// In [`XenstoreDomainInterface::server_features`]: `connection` is looked at.
    pub const XENSTORE_SERVER_FEATURE_RECONNECTION: u32 = 1;
    /// In [`XenstoreDomainInterface::server_features`]: `error` is written.
    pub const XENSTORE_SERVER_FEATURE_ERROR: u32 = 2;
    /// In [`XenstoreDomainInterface::connection`]: in use.
    pub const XENSTORE_CONNECTED: u32 = 0;
    /// In [`XenstoreDomainInterface::connection`]: the guest asks for a fresh start and waits for
    /// [`XENSTORE_CONNECTED`].
    pub const XENSTORE_RECONNECT: u32 = 1;
    /// In [`XenstoreDomainInterface::error`]: none.
    pub const XENSTORE_ERROR_NONE: u32 = 0;
    /// In [`XenstoreDomainInterface::error`]: the server could not reach the page or the port.
    pub const XENSTORE_ERROR_COMM: u32 = 1;
    /// In [`XenstoreDomainInterface::error`]: an index made no sense.
    pub const XENSTORE_ERROR_RINGIDX: u32 = 2;
    /// In [`XenstoreDomainInterface::error`]: a payload was too long.
    pub const XENSTORE_ERROR_PROTO: u32 = 3;
}

/// Payload of an early form of [`XS_WRITE`]: the node must exist. Xen: `XS_WRITE_NONE`.
pub const XS_WRITE_NONE: &[u8] = b"NONE";
/// Payload of an early form of [`XS_WRITE`]: make the node where it is missing. Xen: `XS_WRITE_CREATE`.
pub const XS_WRITE_CREATE: &[u8] = b"CREATE";
/// Payload of an early form of [`XS_WRITE`]: the node must be missing. Xen: `XS_WRITE_CREATE_EXCL`.
pub const XS_WRITE_CREATE_EXCL: &[u8] = b"CREATE|EXCL";

macro_rules! message_types {
    ($( $name:ident = $constant:ident, $doc:literal; )*) => {
        /// What a message is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum MessageType {
            $( #[doc = $doc] $name = $constant, )*
        }

        impl MessageType {
            /// All of them, in order of number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The one with this number.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $( $constant => Some(Self::$name), )*
                    _ => None,
                }
            }

            /// Its number, for [`XsdSockmsg::kind`].
            pub const fn number(self) -> u32 {
                self as u32
            }
        }
    };
}

message_types! {
    Control = XS_CONTROL, "Controls xenstore itself.";
    Directory = XS_DIRECTORY, "Lists a node's children.";
    Read = XS_READ, "Reads a node.";
    GetPerms = XS_GET_PERMS, "Reads a node's permissions.";
    Watch = XS_WATCH, "Asks for events of changes.";
    Unwatch = XS_UNWATCH, "Ends a watch.";
    TransactionStart = XS_TRANSACTION_START, "Starts a transaction.";
    TransactionEnd = XS_TRANSACTION_END, "Ends a transaction.";
    Introduce = XS_INTRODUCE, "Tells of a new domain.";
    Release = XS_RELEASE, "Tells that a domain is gone.";
    GetDomainPath = XS_GET_DOMAIN_PATH, "Gives a domain's folder.";
    Write = XS_WRITE, "Writes a node.";
    Mkdir = XS_MKDIR, "Makes a node.";
    Rm = XS_RM, "Removes a node and all below it.";
    SetPerms = XS_SET_PERMS, "Writes a node's permissions.";
    WatchEvent = XS_WATCH_EVENT, "Something watched has changed.";
    Error = XS_ERROR, "The request was refused.";
    IsDomainIntroduced = XS_IS_DOMAIN_INTRODUCED, "Tells whether xenstore knows a domain.";
    Resume = XS_RESUME, "Tells that a domain runs on.";
    SetTarget = XS_SET_TARGET, "Gives a domain the rights of another.";
    ResetWatches = XS_RESET_WATCHES, "Ends watches and transactions.";
    DirectoryPart = XS_DIRECTORY_PART, "Lists a part of a node's children.";
}

/// A message's header: 16 bytes, Xen's `struct xsd_sockmsg`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XsdSockmsg {
    /// `XS_*`.
    pub kind: u32,
    /// The requester's number, repeated in the reply.
    pub req_id: u32,
    /// Transaction; 0 for none.
    pub tx_id: u32,
    /// Bytes that follow.
    pub len: u32,
}

/// The header under its short name.
pub type Header = XsdSockmsg;

/// The ring's page: 2076 bytes, Xen's `struct xenstore_domain_interface`.
///
/// Live memory is shared with the other side: reach it by [`stream`](super::stream).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct XenstoreDomainInterface {
    /// Requests: bytes.
    pub req: [u8; XENSTORE_RING_SIZE],
    /// Replies and watch events: bytes.
    pub rsp: [u8; XENSTORE_RING_SIZE],
    /// Requests: how many bytes xenstore has taken.
    pub req_cons: u32,
    /// Requests: how many bytes the guest has put.
    pub req_prod: u32,
    /// Replies: how many bytes the guest has taken.
    pub rsp_cons: u32,
    /// Replies: how many bytes xenstore has put.
    pub rsp_prod: u32,
    /// `XENSTORE_SERVER_FEATURE_*` bits.
    pub server_features: u32,
    /// [`XENSTORE_CONNECTED`] or [`XENSTORE_RECONNECT`].
    pub connection: u32,
    /// `XENSTORE_ERROR_*`.
    pub error: u32,
}

zeroed_default!(XenstoreDomainInterface);

/// A payload is longer than [`XENSTORE_PAYLOAD_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl core::fmt::Display for TooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a xenstore payload is too long")
    }
}

impl core::error::Error for TooLong {}

impl XsdSockmsg {
    /// Bytes of a header.
    pub const SIZE: usize = size_of::<Self>();

    /// The header at the start of `bytes`; `None` when they are too few.
    ///
    /// # Errors
    ///
    /// [`TooLong`] when it announces a payload longer than allowed: the connection is of no more use.
    pub fn parse(bytes: &[u8]) -> Option<Result<Self, TooLong>> {
        let (header, _) = Self::read_from_prefix(bytes).ok()?;
        Some(if header.len as usize <= XENSTORE_PAYLOAD_MAX { Ok(header) } else { Err(TooLong) })
    }
}

/// A message to send: a header, and a payload in parts.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'p> {
    header: XsdSockmsg,
    parts: &'p [&'p [u8]],
}

impl<'p> Outgoing<'p> {
    /// A message whose payload is `parts` one after the other. Texts carry their own NULs.
    ///
    /// # Errors
    ///
    /// [`TooLong`].
    pub fn new(kind: MessageType, req_id: u32, tx_id: u32, parts: &'p [&'p [u8]]) -> Result<Self, TooLong> {
        let len = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        if len > XENSTORE_PAYLOAD_MAX {
            return Err(TooLong);
        }
        Ok(Self { header: XsdSockmsg { kind: kind.number(), req_id, tx_id, len: len as u32 }, parts })
    }

    /// Its bytes, part by part, the header first; for a [`Producer`](super::stream::Producer).
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        core::iter::once(self.header.as_bytes()).chain(self.parts.iter().copied())
    }

    /// Bytes in all.
    pub fn size(&self) -> usize {
        XsdSockmsg::SIZE + self.header.len as usize
    }

    /// Copies it to the start of a buffer; gives its size, or `None` when the buffer is too short.
    pub fn copy_to(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut rest = buffer.get_mut(..self.size())?;
        for piece in self.pieces() {
            let (to, after) = rest.split_at_mut_checked(piece.len())?;
            to.copy_from_slice(piece);
            rest = after;
        }
        Some(self.size())
    }
}

/// The texts of a payload, without their NULs; a text at the end may lack its NUL.
pub fn strings(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    payload
        .strip_suffix(&[0])
        .unwrap_or(payload)
        .split(|&byte| byte == 0)
        .filter(move |_| !payload.is_empty())
}

/// The errors xenstore may answer with, in the order of Xen's `xsd_errors`.
pub const ERRORS: [(Errno, &str); 16] = [
    (Errno::EINVAL, "EINVAL"),
    (Errno::EACCES, "EACCES"),
    (Errno::EEXIST, "EEXIST"),
    (Errno::EISDIR, "EISDIR"),
    (Errno::ENOENT, "ENOENT"),
    (Errno::ENOMEM, "ENOMEM"),
    (Errno::ENOSPC, "ENOSPC"),
    (Errno::EIO, "EIO"),
    (Errno::ENOTEMPTY, "ENOTEMPTY"),
    (Errno::ENOSYS, "ENOSYS"),
    (Errno::EROFS, "EROFS"),
    (Errno::EBUSY, "EBUSY"),
    (Errno::EAGAIN, "EAGAIN"),
    (Errno::EISCONN, "EISCONN"),
    (Errno::E2BIG, "E2BIG"),
    (Errno::EPERM, "EPERM"),
];

/// The error that the payload of an [`XS_ERROR`] message names.
pub fn error_named(payload: &[u8]) -> Option<Errno> {
    let name = strings(payload).next()?;
    ERRORS.iter().find(|(_, known)| known.as_bytes() == name).map(|&(errno, _)| errno)
}

/// The name under which xenstore answers with an error; `None` for one it does not use.
pub fn error_name(errno: Errno) -> Option<&'static str> {
    ERRORS.iter().find(|(known, _)| *known == errno).map(|&(_, name)| name)
}

xen_structs! {
    "struct xsd_sockmsg" = XsdSockmsg { kind = "type", req_id, tx_id, len }
    "struct xenstore_domain_interface" = XenstoreDomainInterface {
        req, rsp, req_cons, req_prod, rsp_cons, rsp_prod, server_features, connection, error,
    }
}

#[cfg(test)]
mod tests {
    use super::super::shared::SharedMemory;
    use super::super::stream::{Consumer, Producer, XENSTORE_REQUESTS};
    use super::*;
    use core::sync::atomic::AtomicU32;

    #[test]
    fn a_request_crosses_the_page() {
        let page = [const { AtomicU32::new(0) }; 1024];
        let request =
            Outgoing::new(MessageType::Write, 9, 3, &[b"device/state\0", b"4"]).expect("it is short");
        let mut producer = Producer::new(&page, XENSTORE_REQUESTS);
        for piece in request.pieces() {
            assert_eq!(producer.write(piece), Ok(piece.len()));
        }
        let mut bytes = [0; 100];
        let count = Consumer::new(&page, XENSTORE_REQUESTS).read(&mut bytes).expect("the page is sane");
        assert_eq!(count, request.size());
        let header = Header::parse(&bytes).expect("it is whole").expect("it is short");
        assert_eq!(header, XsdSockmsg { kind: XS_WRITE, req_id: 9, tx_id: 3, len: 14 });
        assert_eq!(MessageType::from_number(header.kind), Some(MessageType::Write));
        assert_eq!(&bytes[XsdSockmsg::SIZE..count], b"device/state\x004");
        assert_eq!(SharedMemory::load(&page, 2048), count as u32, "taken");
    }

    #[test]
    fn lengths_are_checked() {
        let long = [b'x'; XENSTORE_PAYLOAD_MAX];
        assert!(Outgoing::new(MessageType::Write, 0, 0, &[&long]).is_ok());
        assert_eq!(Outgoing::new(MessageType::Write, 0, 0, &[&long, b"y"]).err(), Some(TooLong));
        let short = Outgoing::new(MessageType::Read, 0, 0, &[b"a\0"]).expect("it is short");
        assert_eq!((short.copy_to(&mut [0; 17]), short.copy_to(&mut [0; 18])), (None, Some(18)));
        let header = XsdSockmsg { len: 4097, ..Default::default() };
        assert_eq!(Header::parse(header.as_bytes()), Some(Err(TooLong)));
        assert_eq!(Header::parse(&header.as_bytes()[1..]), None);
    }

    #[test]
    fn payloads_are_texts() {
        let texts = |payload| strings(payload).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(texts(b"path\0token\0"), [b"path".to_vec(), b"token".to_vec()]);
        assert_eq!(texts(b"path\0token"), [b"path".to_vec(), b"token".to_vec()]);
        assert_eq!(texts(b""), Vec::<Vec<u8>>::new());
        assert_eq!(texts(b"\0"), [b"".to_vec()]);
        assert_eq!(texts(b"a\0\0b\0"), [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]);
    }

    #[test]
    fn errors_have_names() {
        assert_eq!(error_named(b"EAGAIN\0"), Some(Errno::EAGAIN));
        assert_eq!(error_named(b"EAGAIN?\0"), None);
        assert_eq!(error_named(b""), None);
        for (errno, name) in ERRORS {
            assert_eq!((error_name(errno), error_named(name.as_bytes())), (Some(name), Some(errno)));
            assert_eq!(format!("{errno:?}"), name);
        }
        assert_eq!(error_name(Errno::ESRCH), None);
    }

    #[test]
    fn two_numbers_are_no_type() {
        let missing: Vec<u32> =
            (0..XS_TYPE_COUNT).filter(|&n| MessageType::from_number(n).is_none()).collect();
        assert_eq!(missing, [20]);
        assert!(MessageType::ALL.iter().all(|kind| MessageType::from_number(kind.number()) == Some(*kind)));
    }
}
