//! The one table of hypercalls. Its rows are in three files, by number.

mod from_0;
mod from_16;
mod from_29;

/// Calls back a macro with a row for every hypercall and sub-operation a PV guest uses.
///
/// `hypercall_table!(cb)` expands to `cb! { rows }`, `hypercall_table!(cb, tokens)` to `cb! { { tokens } rows }`; in item,
/// statement and expression position. A row is
///
/// ```text
/// NUMBER snake_name CamelName CONSTANT [XenName] (argument: type, ...) callers [ERRORS] "doc"
///     { sub-operations }
/// ```
///
/// where `callers` is `any` (every guest kernel), `control` (a privileged domain) or `hardware` (the domain that owns the
/// machine's devices), and the braces are empty for a call without sub-operations or hold
/// `EnumName type: rows`, each row being
///
/// ```text
/// NUMBER snake_name CamelName CONSTANT [XenName] direction(type) callers [ERRORS] "doc";
/// ```
///
/// `direction(type)` is what the call's argument points to: `none()`, `read(T)` (the hypervisor reads a `T`),
/// `write(T)` (it writes one), `both(T)`, or `value(T)` when the argument is no pointer. `[XenName]` is `[]` for what Xen
/// does not have. `[ERRORS]` are the errors the call itself gives; besides, any call gives `EFAULT` for a pointer that
/// cannot be used and an unknown number gives `ENOSYS`, and both are listed where they apply.
///
/// # Examples
///
/// The name of every call:
///
/// ```
/// macro_rules! names {
///     ($(
///         $number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] ($($arg:ident: $ty:ty),*)
///         $callers:ident [$($error:ident)*] $doc:literal { $($subs:tt)* }
///     )*) => {
///         &[$(($number, stringify!($name))),*]
///     };
/// }
/// let names: &[(u64, &str)] = paravane_abi::hypercall_table!(names);
/// assert!(names.contains(&(13, "multicall")));
/// ```
#[macro_export]
macro_rules! hypercall_table {
    ($cb:ident) => { $crate::__hypercall_rows_from_0! { $cb {} } };
    ($cb:ident, $($extra:tt)*) => { $crate::__hypercall_rows_from_0! { $cb { { $($extra)* } } } };
}

/// Calls back a macro with a row `NUMBER snake_name CamelName CONSTANT [XenName] "doc"` for every hypercall of Xen's that
/// [`hypercall_table!`](crate::hypercall_table) leaves out, because a PV guest has no use for it.
#[macro_export]
macro_rules! other_hypercall_table {
    ($cb:ident) => { $cb! {
        31 xenoprof_op XenoprofOp HYPERVISOR_XENOPROF_OP [__HYPERVISOR_xenoprof_op]
            "Profiling. Xen 4.17 gives `EPERM` to what only the profiling domain may do; later releases have no such call.";
        38 tmem_op TmemOp HYPERVISOR_TMEM_OP [__HYPERVISOR_tmem_op] "Transcendent memory; gone from Xen since 4.13.";
        39 argo_op ArgoOp HYPERVISOR_ARGO_OP [__HYPERVISOR_argo_op]
            "Messages between domains; left out of Xen unless it is built with them.";
        50 arch_2 Arch2 HYPERVISOR_ARCH_2 [__HYPERVISOR_arch_2] "Architecture's own; unused.";
        51 arch_3 Arch3 HYPERVISOR_ARCH_3 [__HYPERVISOR_arch_3] "Architecture's own; unused.";
        52 arch_4 Arch4 HYPERVISOR_ARCH_4 [__HYPERVISOR_arch_4] "Architecture's own; unused.";
        53 arch_5 Arch5 HYPERVISOR_ARCH_5 [__HYPERVISOR_arch_5] "Architecture's own; unused.";
        54 arch_6 Arch6 HYPERVISOR_ARCH_6 [__HYPERVISOR_arch_6] "Architecture's own; unused.";
        55 arch_7 Arch7 HYPERVISOR_ARCH_7 [__HYPERVISOR_arch_7] "Architecture's own; unused.";
    } };
}
