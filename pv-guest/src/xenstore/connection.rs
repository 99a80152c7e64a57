//! The guest's end of its connection to xenstore: requests out, replies and events in, in whatever pieces the ring has room
//! for.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use paravane_abi::io::ring::Broken;
use paravane_abi::io::shared::SharedMemory;
use paravane_abi::io::stream::{Consumer, Producer, XENSTORE_REPLIES, XENSTORE_REQUESTS};
use paravane_abi::io::xenstore::{Header, MessageType, Outgoing, TooLong, XsdSockmsg, error_named, strings};

use crate::errno::{Errno, Result};

/// What comes from xenstore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The answer to a request, by its number.
    Reply(u32, Result<Vec<u8>>),
    /// Something watched has changed: its path, and the watch's token.
    Event(Vec<u8>, Vec<u8>),
}

/// A connection over a page.
#[derive(Debug)]
pub struct Connection<M> {
    requests: Producer<M>,
    replies: Consumer<M>,
    output: VecDeque<u8>,
    input: Vec<u8>,
    asked: u32,
}

impl<M: SharedMemory + Clone> Connection<M> {
    /// Over this page, which nothing was sent through yet.
    pub fn new(page: M) -> Self {
        Self {
            requests: Producer::new(page.clone(), XENSTORE_REQUESTS),
            replies: Consumer::new(page, XENSTORE_REPLIES),
            output: VecDeque::new(),
            input: Vec::new(),
            asked: 0,
        }
    }

    /// Queues a request whose payload is `parts`, which carry their own NULs; gives its number. Transaction 0 is none.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn ask(
        &mut self,
        kind: MessageType,
        transaction: u32,
        parts: &[&[u8]],
    ) -> core::result::Result<u32, TooLong> {
        self.asked = self.asked.wrapping_add(1);
        let message = Outgoing::new(kind, self.asked, transaction, parts)?;
        message.pieces().for_each(|piece| self.output.extend(piece));
        Ok(self.asked)
    }

    /// Moves what can be moved, both ways. Whether anything was: then the other end is to be told.
    ///
    /// # Errors
    /// [`Broken`] when the other end's indices make no sense.
    pub fn exchange(&mut self) -> core::result::Result<bool, Broken> {
        let sent = self.requests.write(self.output.make_contiguous())?;
        self.output.drain(..sent);
        let mut piece = [0; 256];
        let mut received = 0;
        loop {
            let count = self.replies.read(&mut piece)?;
            if count == 0 {
                return Ok(sent + received > 0);
            }
            self.input.extend_from_slice(&piece[..count]);
            received += count;
        }
    }

    /// The next message that has come whole. One of an unknown kind is skipped; after one that is too long nothing comes.
    pub fn message(&mut self) -> Option<Message> {
        loop {
            let header = Header::parse(&self.input)?.ok()?;
            let end = XsdSockmsg::SIZE + header.len as usize;
            let payload = self.input.get(XsdSockmsg::SIZE..end)?.to_vec();
            self.input.drain(..end);
            match MessageType::from_number(header.kind) {
                Some(MessageType::WatchEvent) => {
                    let mut texts = strings(&payload);
                    if let (Some(path), Some(token)) = (texts.next(), texts.next()) {
                        return Some(Message::Event(path.to_vec(), token.to_vec()));
                    }
                }
                Some(MessageType::Error) => {
                    let error = error_named(&payload).map_or(Errno::EIO, Errno::from);
                    return Some(Message::Reply(header.req_id, Err(error)));
                }
                Some(_) => return Some(Message::Reply(header.req_id, Ok(payload))),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;

    type Page = [AtomicU32; 1024];

    fn page() -> Page {
        [const { AtomicU32::new(0) }; 1024]
    }

    /// The other end: takes all requests, and gives these bytes as there is room.
    fn serve(page: &Page, replies: &mut Vec<u8>) -> Vec<u8> {
        let mut taken = [0; 2048];
        let count = Consumer::new(page, XENSTORE_REQUESTS).read(&mut taken).unwrap();
        let given = Producer::new(page, XENSTORE_REPLIES).write(replies).unwrap();
        replies.drain(..given);
        taken[..count].to_vec()
    }

    fn sent(kind: MessageType, id: u32, payload: &[u8]) -> Vec<u8> {
        let parts = [payload];
        Outgoing::new(kind, id, 0, &parts).unwrap().pieces().flatten().copied().collect()
    }

    #[test]
    fn requests_longer_than_the_ring_go_out_in_pieces() {
        let page = page();
        let mut connection = Connection::new(&page);
        let value = alloc::vec![b'v'; 3000];
        assert_eq!(connection.ask(MessageType::Write, 7, &[b"data/x\0", &value]), Ok(1));
        assert_eq!(connection.ask(MessageType::Read, 0, &[b"name\0"]), Ok(2));
        let mut seen = Vec::new();
        while connection.exchange().unwrap() {
            seen.extend(serve(&page, &mut Vec::new()));
        }
        let first = XsdSockmsg { kind: 11, req_id: 1, tx_id: 7, len: 3007 };
        assert_eq!(Header::parse(&seen), Some(Ok(first)));
        let second = XsdSockmsg { kind: 2, req_id: 2, tx_id: 0, len: 5 };
        assert_eq!(Header::parse(&seen[16 + 3007..]), Some(Ok(second)));
        assert_eq!(seen.len(), 16 + 3007 + 16 + 5);
        assert_eq!(connection.ask(MessageType::Write, 0, &[&[0; 4097]]), Err(TooLong));
    }

    #[test]
    fn replies_events_and_errors_come_whole_and_in_order() {
        let page = page();
        let mut connection = Connection::new(&page);
        let long = alloc::vec![b'x'; 2500];
        let mut replies = [
            sent(MessageType::Read, 1, &long),
            sent(MessageType::WatchEvent, 0, b"a/b\0token\0"),
            // No message that this kernel knows.
            Outgoing::new(MessageType::Read, 9, 0, &[b"z"])
                .unwrap()
                .pieces()
                .flatten()
                .copied()
                .enumerate()
                .map(|(at, byte)| if at == 0 { 77 } else { byte })
                .collect(),
            sent(MessageType::Error, 2, b"EAGAIN\0"),
            sent(MessageType::Error, 3, b"what\0"),
        ]
        .concat();
        let mut messages = Vec::new();
        for _ in 0..20 {
            serve(&page, &mut replies);
            connection.exchange().unwrap();
            messages.extend(core::iter::from_fn(|| connection.message()));
        }
        assert_eq!(
            messages,
            [
                Message::Reply(1, Ok(long)),
                Message::Event(b"a/b".to_vec(), b"token".to_vec()),
                Message::Reply(2, Err(Errno::EAGAIN)),
                Message::Reply(3, Err(Errno::EIO)),
            ]
        );
        assert_eq!(connection.exchange(), Ok(false));
    }

    #[test]
    fn indices_without_sense_are_an_error() {
        let page = page();
        let mut connection = Connection::new(&page);
        // `rsp_prod`.
        page[2060 / 4].store(1025, core::sync::atomic::Ordering::SeqCst);
        assert_eq!(connection.exchange(), Err(Broken));
    }
}
