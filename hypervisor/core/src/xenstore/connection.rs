//! A domain's connection: bytes in, messages out, and what the domain watches.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use paravane_abi::errno::Errno;
use paravane_abi::io::xenstore::{
    Header, MessageType, Outgoing, XENSTORE_PAYLOAD_MAX, XsdSockmsg, error_name,
};
use zerocopy::IntoBytes;

use super::path::Path;
use super::transaction::Transaction;
use crate::addr::DomainId;

/// Replies that wait to be taken before no more requests are (xenstored's quota for requests under way).
const OUTSTANDING_MAX: usize = 20;
/// Events that wait to be taken; what a domain lets pile up beyond is lost to it.
const EVENTS_MAX: usize = 1024;

/// Something watched.
#[derive(Debug, PartialEq, Eq)]
pub struct Watch {
    /// Where.
    pub path: Path,
    /// What the domain calls it.
    pub token: Vec<u8>,
    /// It gave the path from its own folder, and is told paths like that.
    pub relative: bool,
    /// Its first event has not been sent.
    pub new: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// Whose.
    pub domain: DomainId,
    /// A message as far as it has come.
    input: Vec<u8>,
    /// Messages that wait; of the first, `sent` bytes have been taken.
    output: VecDeque<Vec<u8>>,
    sent: usize,
    /// In the order in which they were made.
    pub watches: Vec<Watch>,
    /// Under way.
    pub transactions: Vec<Transaction>,
    /// The number of the latest one.
    pub last_transaction: u32,
    broken: bool,
}

impl Connection {
    /// One on which nothing was said.
    pub fn new(domain: DomainId) -> Self {
        Self {
            domain,
            input: Vec::new(),
            output: VecDeque::new(),
            sent: 0,
            watches: Vec::new(),
            transactions: Vec::new(),
            last_transaction: 0,
            broken: false,
        }
    }

    /// Bytes that it takes now: no more than make its message whole, none while its replies are not taken.
    ///
    /// All that a domain has written of a message is taken at once, since Linux waits in the middle of one for room.
    pub fn wants(&self) -> usize {
        if self.broken || self.output.len() > OUTSTANDING_MAX && self.input.is_empty() {
            return 0;
        }
        match Header::parse(&self.input) {
            None => XsdSockmsg::SIZE - self.input.len(),
            Some(Ok(header)) => XsdSockmsg::SIZE + header.len as usize - self.input.len(),
            Some(Err(_)) => 0,
        }
    }

    /// Takes bytes, at most as many as it [wants](Self::wants).
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.broken |= matches!(Header::parse(&self.input), Some(Err(_)));
    }

    /// The request that has come, if it is whole.
    pub fn request(&mut self) -> Option<(Header, Vec<u8>)> {
        let header = Header::parse(&self.input)?.ok()?;
        if self.input.len() < XsdSockmsg::SIZE + header.len as usize {
            return None;
        }
        let payload = self.input.split_off(XsdSockmsg::SIZE);
        self.input.clear();
        Some((header, payload))
    }

    /// Whether it has sent what is no message: nothing is taken from it any more.
    pub const fn broken(&self) -> bool {
        self.broken
    }

    /// Answers a request.
    pub fn reply(&mut self, request: Header, answer: Result<Vec<u8>, Errno>) {
        let answer = answer.and_then(|payload| {
            if payload.len() > XENSTORE_PAYLOAD_MAX { Err(Errno::E2BIG) } else { Ok(payload) }
        });
        let (kind, payload) = match answer {
            Ok(payload) => (request.kind, payload),
            Err(error) => {
                let mut name = Vec::from(error_name(error).unwrap_or("EINVAL"));
                name.push(0);
                (MessageType::Error.number(), name)
            }
        };
        let header = XsdSockmsg { kind, len: payload.len() as u32, ..request };
        self.output.push_back([header.as_bytes(), &payload].concat());
    }

    /// Tells of a change. One that waits to be taken is not told again.
    pub fn event(&mut self, path: &[u8], token: &[u8]) {
        let parts = [path, &[0], token, &[0]];
        let Ok(message) = Outgoing::new(MessageType::WatchEvent, 0, 0, &parts) else { return };
        let message = message.pieces().flatten().copied().collect::<Vec<u8>>();
        // The first may be under way already: the domain then has not seen the change that follows.
        let waits = self.output.iter().skip(usize::from(self.sent > 0)).any(|known| *known == message);
        if !waits && self.output.len() < EVENTS_MAX {
            self.output.push_back(message);
        }
    }

    /// Bytes to be taken next; empty when there are none.
    pub fn pending(&self) -> &[u8] {
        self.output.front().map_or(&[], |message| &message[self.sent..])
    }

    /// So many of the [pending](Self::pending) bytes were taken.
    pub fn taken(&mut self, count: usize) {
        self.sent += count;
        if self.output.front().is_some_and(|message| self.sent >= message.len()) {
            self.output.pop_front();
            self.sent = 0;
        }
    }

    /// Starts afresh, as the domain asks by its page: what was under way is forgotten, watches and transactions too.
    pub fn reset(&mut self) {
        *self = Self { last_transaction: self.last_transaction, ..Self::new(self.domain) };
    }
}
