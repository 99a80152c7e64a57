//! Rings of requests and responses (`xen/io/ring.h`).
//!
//! A ring is a page (or several) that begins with four indices and then holds entries, each large enough for a request or a
//! response. The frontend puts requests, the backend takes them and puts responses *into the same entries*, the
//! frontend takes those. Indices run freely; their low bits are the place. Each side keeps its own indices private and
//! publishes them.
//!
//! ```text
//! 0          4          8          12         16        20        64
//! | req_prod | req_event| rsp_prod | rsp_event| private | padding | entry | entry | ...
//! ```
//!
//! `req_event` and `rsp_event` save notifications: a side that is about to sleep writes the index at which it wants to
//! be woken, and a side that publishes notifies only if it passed that index.
//!
//! [`Front`] and [`Back`] are the two ends over any [`SharedMemory`]. They copy every message once before anyone looks at
//! it, and check every index that the other end wrote: one that makes no sense is [`Broken`], and the device should be
//! closed.
//!
//! # Examples
//!
//! A disk's ring, both ends on one page:
//!
//! ```
//! use core::sync::atomic::AtomicU32;
//! use paravane_abi::io::block::{BLKIF_OP_READ, BLKIF_RSP_OKAY, BlkifRequest, BlkifResponse};
//! use paravane_abi::io::ring::{Back, Front};
//!
//! let page = [const { AtomicU32::new(0) }; 1024];
//! let mut front = Front::<_, BlkifRequest, BlkifResponse>::init(&page).expect("a page is large enough");
//! let mut back = Back::<_, BlkifRequest, BlkifResponse>::attach(&page).expect("a page is large enough");
//! assert_eq!(front.capacity(), 32);
//!
//! let request = BlkifRequest { operation: BLKIF_OP_READ, id: 7, ..Default::default() };
//! front.push(&request).expect("the ring has room");
//! assert!(front.publish(), "the backend wants to be notified");
//!
//! while let Some(request) = back.pop().expect("the frontend is sane") {
//!     let (id, operation) = (request.id, request.operation);
//!     back.push(&BlkifResponse { id, operation, status: BLKIF_RSP_OKAY, ..Default::default() }).expect("it has room");
//! }
//! assert!(back.publish() && !back.arm().expect("the frontend is sane"));
//!
//! let response = front.pop().expect("the backend is sane").expect("there is a response");
//! assert_eq!((response.id, response.status), (7, BLKIF_RSP_OKAY));
//! assert!(!front.arm().expect("the backend is sane"), "nothing came meanwhile: wait for the event");
//! ```

use super::shared::SharedMemory;
use core::marker::PhantomData;
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A ring's shared part, with its first entry: what `DEFINE_RING_TYPES(name, ...)` calls `struct name_sring`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SharedRing<Entry> {
    /// How many requests the frontend has published.
    pub req_prod: u32,
    /// At which count of requests the backend wants an event.
    pub req_event: u32,
    /// How many responses the backend has published.
    pub rsp_prod: u32,
    /// At which count of responses the frontend wants an event.
    pub rsp_event: u32,
    /// A protocol's own.
    pub pvt: [u8; 4],
    /// Zero.
    pub pad: Padding,
    /// The first entry; others follow.
    pub ring: [Entry; 1],
}

/// Bytes between a ring's indices and its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Padding(pub [u8; 44]);

impl Default for Padding {
    /// Zeros.
    fn default() -> Self {
        Self([0; 44])
    }
}

/// Offset of the entries, in bytes.
pub const ENTRIES_OFFSET: usize = 64;

const REQ_PROD: usize = offset_of!(SharedRing<u64>, req_prod);
const REQ_EVENT: usize = offset_of!(SharedRing<u64>, req_event);
const RSP_PROD: usize = offset_of!(SharedRing<u64>, rsp_prod);
const RSP_EVENT: usize = offset_of!(SharedRing<u64>, rsp_event);

static_assertions::const_assert_eq!(offset_of!(SharedRing<u64>, ring), ENTRIES_OFFSET);

/// Something that stands in a ring's entry.
///
/// Implemented by every type that may be copied from and to bytes.
pub trait Message: Copy + FromBytes + IntoBytes + Immutable {}

impl<T: Copy + FromBytes + IntoBytes + Immutable> Message for T {}

/// The memory is too small for a single entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall;

/// There is no free entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The other end wrote an index that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl core::fmt::Display for TooSmall {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the memory is too small for a ring")
    }
}

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the ring is full")
    }
}

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the ring's other end wrote an index that makes no sense")
    }
}

impl core::error::Error for TooSmall {}
impl core::error::Error for Full {}
impl core::error::Error for Broken {}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Bytes of a ring's entry: those of the larger message, rounded up to the stricter alignment.
pub const fn entry_size<Request, Response>() -> usize {
    max(size_of::<Request>(), size_of::<Response>())
        .next_multiple_of(max(align_of::<Request>(), align_of::<Response>()))
}

/// Entries that a ring has in `bytes` of memory: the largest power of two that fits, or 0.
pub const fn entries<Request, Response>(bytes: usize) -> u32 {
    let fit = bytes.saturating_sub(ENTRIES_OFFSET) / max(entry_size::<Request, Response>(), 1);
    if fit == 0 || fit > 1 << 31 { 0 } else { 1 << fit.ilog2() }
}

/// Entries of a ring, reached through the memory.
#[derive(Clone, Debug)]
struct Entries<M, Request, Response> {
    memory: M,
    count: u32,
    messages: PhantomData<fn(Request) -> Response>,
}

impl<M: SharedMemory, Request: Message, Response: Message> Entries<M, Request, Response> {
    fn new(memory: M) -> Result<Self, TooSmall> {
        match entries::<Request, Response>(memory.len()) {
            0 => Err(TooSmall),
            count => Ok(Self { memory, count, messages: PhantomData }),
        }
    }

    fn offset(&self, index: u32) -> usize {
        ENTRIES_OFFSET + (index & (self.count - 1)) as usize * entry_size::<Request, Response>()
    }

    fn put(&self, index: u32, message: &impl Message) {
        self.memory.write(self.offset(index), message.as_bytes());
    }

    fn get<T: Message>(&self, index: u32) -> T {
        let mut message = T::new_zeroed();
        self.memory.read(self.offset(index), message.as_mut_bytes());
        message
    }

    /// Publishes an index and tells whether the other end wants an event.
    fn publish(&self, (index_at, event_at): (usize, usize), old: u32, new: u32) -> bool {
        self.memory.store(index_at, new);
        // The index must be seen before the other end's wish is read: it writes its wish and then reads the index.
        self.memory.barrier();
        new.wrapping_sub(self.memory.load(event_at)) < new.wrapping_sub(old)
    }
}

/// The frontend's end: puts requests, takes responses.
#[derive(Clone, Debug)]
pub struct Front<M, Request, Response> {
    entries: Entries<M, Request, Response>,
    /// Requests put.
    req_prod: u32,
    /// Requests published.
    req_published: u32,
    /// Responses taken.
    rsp_cons: u32,
}

impl<M: SharedMemory, Request: Message, Response: Message> Front<M, Request, Response> {
    /// Makes the memory an empty ring and takes its front end. The backend must not be attached yet.
    ///
    /// # Errors
    ///
    /// [`TooSmall`] when no entry fits.
    pub fn init(memory: M) -> Result<Self, TooSmall> {
        let entries = Entries::new(memory)?;
        entries.memory.write(0, &[0; ENTRIES_OFFSET]);
        entries.memory.store(REQ_EVENT, 1);
        entries.memory.store(RSP_EVENT, 1);
        Ok(Self { entries, req_prod: 0, req_published: 0, rsp_cons: 0 })
    }

    /// Entries in all.
    pub fn capacity(&self) -> u32 {
        self.entries.count
    }

    /// Requests that can be put now.
    pub fn free(&self) -> u32 {
        self.entries.count - self.outstanding()
    }

    /// Requests put whose responses were not taken.
    pub fn outstanding(&self) -> u32 {
        self.req_prod.wrapping_sub(self.rsp_cons)
    }

    /// Puts a request; gives its index. The backend sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`Full`] when every entry waits for its response.
    pub fn push(&mut self, request: &Request) -> Result<u32, Full> {
        if self.free() == 0 {
            return Err(Full);
        }
        let index = self.req_prod;
        self.entries.put(index, request);
        self.req_prod = index.wrapping_add(1);
        Ok(index)
    }

    /// Publishes what was put; gives whether the backend wants an event for it.
    #[must_use = "a backend that sleeps must be notified"]
    pub fn publish(&mut self) -> bool {
        let old = core::mem::replace(&mut self.req_published, self.req_prod);
        self.entries.publish((REQ_PROD, REQ_EVENT), old, self.req_prod)
    }

    /// Responses that wait to be taken.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the backend says it answered more than was asked.
    pub fn waiting(&self) -> Result<u32, Broken> {
        let waiting = self.entries.memory.load(RSP_PROD).wrapping_sub(self.rsp_cons);
        if waiting <= self.req_published.wrapping_sub(self.rsp_cons) { Ok(waiting) } else { Err(Broken) }
    }

    /// Takes a response, copied.
    ///
    /// # Errors
    ///
    /// As [`waiting`](Self::waiting).
    pub fn pop(&mut self) -> Result<Option<Response>, Broken> {
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let response = self.entries.get(self.rsp_cons);
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        Ok(Some(response))
    }

    /// Asks for an event at the next response; gives whether one has come meanwhile, so that waiting would miss it.
    ///
    /// # Errors
    ///
    /// As [`waiting`](Self::waiting).
    pub fn arm(&mut self) -> Result<bool, Broken> {
        if self.waiting()? == 0 {
            self.entries.memory.store(RSP_EVENT, self.rsp_cons.wrapping_add(1));
            self.entries.memory.barrier();
        }
        Ok(self.waiting()? != 0)
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.entries.memory
    }
}

/// The backend's end: takes requests, puts responses.
#[derive(Clone, Debug)]
pub struct Back<M, Request, Response> {
    entries: Entries<M, Request, Response>,
    /// Responses put.
    rsp_prod: u32,
    /// Responses published.
    rsp_published: u32,
    /// Requests taken.
    req_cons: u32,
}

impl<M: SharedMemory, Request: Message, Response: Message> Back<M, Request, Response> {
    /// Takes the back end of a ring whose front end was just made.
    ///
    /// # Errors
    ///
    /// [`TooSmall`] when no entry fits.
    pub fn attach(memory: M) -> Result<Self, TooSmall> {
        Ok(Self { entries: Entries::new(memory)?, rsp_prod: 0, rsp_published: 0, req_cons: 0 })
    }

    /// Takes the back end of a ring in use, going on after the last published response: requests that an earlier backend
    /// took and did not answer come again.
    ///
    /// # Errors
    ///
    /// [`TooSmall`] when no entry fits.
    pub fn resume(memory: M) -> Result<Self, TooSmall> {
        let entries = Entries::new(memory)?;
        let at = entries.memory.load(RSP_PROD);
        Ok(Self { entries, rsp_prod: at, rsp_published: at, req_cons: at })
    }

    /// Entries in all.
    pub fn capacity(&self) -> u32 {
        self.entries.count
    }

    /// Requests taken and not answered: as many responses can be put now.
    pub fn unanswered(&self) -> u32 {
        self.req_cons.wrapping_sub(self.rsp_prod)
    }

    /// Requests that wait to be taken.
    ///
    /// # Errors
    ///
    /// [`Broken`] when the frontend says it put more than the ring holds, or took some back.
    pub fn waiting(&self) -> Result<u32, Broken> {
        let waiting = self.entries.memory.load(REQ_PROD).wrapping_sub(self.req_cons);
        if waiting <= self.entries.count - self.unanswered() { Ok(waiting) } else { Err(Broken) }
    }

    /// Takes a request, copied.
    ///
    /// # Errors
    ///
    /// As [`waiting`](Self::waiting).
    pub fn pop(&mut self) -> Result<Option<Request>, Broken> {
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let request = self.entries.get(self.req_cons);
        self.req_cons = self.req_cons.wrapping_add(1);
        Ok(Some(request))
    }

    /// Puts a response into the next entry; gives its index. The frontend sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`Full`] when every request taken has been answered.
    pub fn push(&mut self, response: &Response) -> Result<u32, Full> {
        if self.unanswered() == 0 {
            return Err(Full);
        }
        let index = self.rsp_prod;
        self.entries.put(index, response);
        self.rsp_prod = index.wrapping_add(1);
        Ok(index)
    }

    /// Publishes what was put; gives whether the frontend wants an event for it.
    #[must_use = "a frontend that sleeps must be notified"]
    pub fn publish(&mut self) -> bool {
        let old = core::mem::replace(&mut self.rsp_published, self.rsp_prod);
        self.entries.publish((RSP_PROD, RSP_EVENT), old, self.rsp_prod)
    }

    /// Asks for an event at the next request; gives whether one has come meanwhile, so that waiting would miss it.
    ///
    /// # Errors
    ///
    /// As [`waiting`](Self::waiting).
    pub fn arm(&mut self) -> Result<bool, Broken> {
        if self.waiting()? == 0 {
            self.entries.memory.store(REQ_EVENT, self.req_cons.wrapping_add(1));
            self.entries.memory.barrier();
        }
        Ok(self.waiting()? != 0)
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.entries.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;

    type Page = [AtomicU32; 1024];
    type Ends<'p> = (Front<&'p Page, [u32; 3], [u8; 5]>, Back<&'p Page, [u32; 3], [u8; 5]>);

    fn page() -> Page {
        [const { AtomicU32::new(0xdead_beef) }; 1024]
    }

    fn ends(page: &Page) -> Ends<'_> {
        (Front::init(page).expect("a page holds a ring"), Back::attach(page).expect("a page holds a ring"))
    }

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(entry_size::<[u32; 3], [u8; 5]>(), 12);
        assert_eq!(entry_size::<u64, [u8; 9]>(), 16);
        assert_eq!(entries::<[u32; 3], [u8; 5]>(4096), 256);
        assert_eq!(entries::<[u32; 3], [u8; 5]>(64 + 12), 1);
        assert_eq!(entries::<[u32; 3], [u8; 5]>(64 + 11), 0);
        let short = [const { AtomicU32::new(0) }; 16];
        assert_eq!(Front::<_, u32, u32>::init(&short).err(), Some(TooSmall));
    }

    #[test]
    fn messages_cross_and_come_back_in_order_around_the_ring() {
        let page = page();
        let (mut front, mut back) = ends(&page);
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let (mut sent, mut served, mut got) = (0u32, 0u32, 0u32);
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 4 {
                0 | 1 => {
                    let full = front.free() == 0;
                    assert_eq!(front.push(&[sent, !sent, 7]), if full { Err(Full) } else { Ok(sent) });
                    sent += u32::from(!full);
                }
                2 => {
                    let _ = front.publish();
                    while let Some(request) = back.pop().expect("the frontend is sane") {
                        assert_eq!(request, [served, !served, 7]);
                        let [a, b, c, d] = served.to_le_bytes();
                        assert_eq!(back.push(&[a, b, c, d, 9]), Ok(served));
                        served += 1;
                    }
                    assert_eq!(back.push(&[0; 5]), Err(Full));
                    let _ = back.publish();
                }
                _ => {
                    while let Some([a, b, c, d, nine]) = front.pop().expect("the backend is sane") {
                        assert_eq!((u32::from_le_bytes([a, b, c, d]), nine), (got, 9));
                        got += 1;
                    }
                }
            }
        }
        assert!(got > 3 * front.capacity() && served >= got && sent >= served, "{sent} {served} {got}");
    }

    #[test]
    fn indices_wrap() {
        let page = page();
        let (mut front, mut back) = ends(&page);
        (front.req_prod, front.req_published, front.rsp_cons) = (u32::MAX, u32::MAX, u32::MAX);
        (back.rsp_prod, back.rsp_published, back.req_cons) = (u32::MAX, u32::MAX, u32::MAX);
        page.store(REQ_PROD, u32::MAX);
        page.store(RSP_PROD, u32::MAX);
        for index in 0..3 {
            assert_eq!(front.push(&[index; 3]), Ok(index.wrapping_sub(1)));
        }
        let _ = front.publish();
        let taken: Vec<_> = core::iter::from_fn(|| back.pop().expect("the frontend is sane")).collect();
        assert_eq!(taken, [[0; 3], [1; 3], [2; 3]]);
        assert_eq!((front.outstanding(), back.unanswered()), (3, 3));
    }

    #[test]
    fn events_are_asked_for_and_given() {
        let page = page();
        let (mut front, mut back) = ends(&page);
        assert_eq!(front.push(&[1; 3]), Ok(0));
        assert!(front.publish(), "the first request notifies");
        assert_eq!(front.push(&[2; 3]), Ok(1));
        assert!(!front.publish(), "the backend has not asked since");
        assert_eq!(back.arm(), Ok(true), "two requests wait");
        assert!(matches!((back.pop(), back.pop(), back.pop()), (Ok(Some(_)), Ok(Some(_)), Ok(None))));
        assert_eq!(back.arm(), Ok(false));
        assert_eq!(front.push(&[3; 3]), Ok(2));
        assert!(front.publish());
        assert!(!front.publish(), "nothing new");
        assert_eq!((back.push(&[0; 5]), back.publish()), (Ok(0), true));
        assert_eq!(front.arm(), Ok(true));
        assert_eq!(front.pop(), Ok(Some([0; 5])));
        assert_eq!(front.arm(), Ok(false));
        assert_eq!((back.push(&[1; 5]), back.publish()), (Ok(1), true));
    }

    #[test]
    fn indices_that_make_no_sense_are_refused() {
        let page = page();
        let (mut front, mut back) = ends(&page);
        assert_eq!(front.push(&[1; 3]), Ok(0));
        page.store(RSP_PROD, 1);
        assert_eq!(front.pop(), Err(Broken), "an answer to what was not published");
        assert!(front.publish());
        assert_eq!(front.pop(), Ok(Some([1, 0, 0, 0, 1])), "the request's own bytes");
        for wrong in [0, 3, u32::MAX] {
            page.store(RSP_PROD, wrong);
            assert_eq!((front.pop(), front.arm()), (Err(Broken), Err(Broken)), "{wrong}");
        }
        for wrong in [257, u32::MAX] {
            page.store(REQ_PROD, wrong);
            assert_eq!((back.pop(), back.arm()), (Err(Broken), Err(Broken)), "{wrong}");
        }
        page.store(REQ_PROD, 256);
        assert_eq!(back.waiting(), Ok(256));
        assert!(back.pop().is_ok());
        page.store(REQ_PROD, 0);
        assert_eq!(back.pop(), Err(Broken), "requests were taken back");
    }

    #[test]
    fn a_new_backend_goes_on_where_the_answers_end() {
        let page = page();
        let (mut front, mut back) = ends(&page);
        for index in 0..4 {
            assert_eq!(front.push(&[index; 3]), Ok(index));
        }
        let _ = front.publish();
        assert!(back.pop().is_ok() && back.pop().is_ok() && back.push(&[0; 5]).is_ok());
        let _ = back.publish();
        let mut next = Back::<_, [u32; 3], [u8; 5]>::resume(&page).expect("a page holds a ring");
        assert_eq!(next.pop(), Ok(Some([1; 3])), "taken before, not answered");
    }
}
