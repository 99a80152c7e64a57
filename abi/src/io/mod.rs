//! Split device drivers (`xen/io/*.h`): shared memory, rings, xenstore, and the protocols spoken over them.
//!
//! A PV guest has no devices of its own. The *frontend* in the guest and the *backend* in another domain find each other
//! through [xenstore], step through the [states of a device](xenbus), share pages by grants, signal by event
//! channels, and then exchange requests and responses on a [ring], or bytes on a [stream].
//!
//! | what | module |
//! |---|---|
//! | memory that both ends change | [`shared`] |
//! | rings of requests and responses, both ends | [`ring`] |
//! | streams of bytes: the console's and xenstore's pages | [`stream`] |
//! | xenstore: messages, errors, the ring page | [`xenstore`] |
//! | the life of a device | [`xenbus`] |
//! | disks | [`block`] |
//! | network interfaces | [`net`] |
//! | consoles | [`console`](crate::console) |
//!
//! How a frontend comes up, whatever the device:
//!
//! 1. Read `device/KIND/NUMBER/backend` and `backend-id` in xenstore; watch the backend's `state`.
//! 2. Wait for [`XenbusState::InitWait`](xenbus::XenbusState::InitWait); read what the backend offers.
//! 3. Allocate a page, initialise the ring in it by [`ring::Front::init`], grant it to `backend-id`, and allocate an
//!    unbound port for that domain.
//! 4. In one transaction write `ring-ref`, `event-channel` and [`PROTOCOL_KEY`], then `state` =
//!    [`XenbusState::Initialised`](xenbus::XenbusState::Initialised) (disks) or
//!    [`XenbusState::Connected`](xenbus::XenbusState::Connected) (networks).
//! 5. When the backend says [`XenbusState::Connected`](xenbus::XenbusState::Connected), put requests on the ring.
//!
//! The other end is another domain. It may be broken or hostile, so every index it writes is checked and every message is
//! copied before it is looked at; the types here do both.

pub mod block;
pub mod net;
pub mod ring;
pub mod shared;
pub mod stream;
pub mod xenbus;
pub mod xenstore;

/// Key in a frontend's xenstore folder that names the ABI its ring has.
pub const PROTOCOL_KEY: &str = "protocol";
/// Value of [`PROTOCOL_KEY`]: structs laid out as a 32-bit x86 compiler does. Xen: `XEN_IO_PROTO_ABI_X86_32`.
pub const PROTOCOL_X86_32: &str = "x86_32-abi";
/// Value of [`PROTOCOL_KEY`]: structs laid out as in this crate. Xen: `XEN_IO_PROTO_ABI_X86_64`.
pub const PROTOCOL_X86_64: &str = "x86_64-abi";
/// Value of [`PROTOCOL_KEY`]: structs laid out as an Arm compiler does. Xen: `XEN_IO_PROTO_ABI_ARM`.
pub const PROTOCOL_ARM: &str = "arm-abi";
