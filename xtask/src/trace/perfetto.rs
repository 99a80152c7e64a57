//! A timeline as a file of Chrome's trace event format, which Perfetto (<https://ui.perfetto.dev>) and `chrome://tracing` show.
//!
//! The format counts in microseconds. Here a microsecond stands for an instruction; each process's name says so.

use anyhow::{Context, Result};
use paravane_tests::compare::operations::Machine;
use paravane_tests::trace::timeline::{Lane, Segment, Timeline};
use serde_json::{Value, json};

/// All of them in one file: a process for each timeline, a thread for each lane, a complete event for each stretch, and an
/// arrow for each crossing from a lane to another.
pub fn of(timelines: &[Timeline]) -> Result<String> {
    let mut events = Vec::new();
    for (process, timeline) in (1u64..).zip(timelines) {
        names(&mut events, process, timeline);
        stretches(&mut events, process, &timeline.segments);
    }
    let file = json!({
        "displayTimeUnit": "ms",
        "otherData": {"unit": "1 us stands for 1 instruction", "source": "cargo xtask trace"},
        "traceEvents": events,
    });
    let mut text = serde_json::to_string(&file).context("writing JSON")?;
    text.push('\n');
    Ok(text)
}

fn names(events: &mut Vec<Value>, process: u64, timeline: &Timeline) {
    let name = format!("{} on {} (1 us = 1 instruction)", timeline.operation, timeline.machine.name());
    let machine = Machine::ALL.iter().position(|machine| *machine == timeline.machine).unwrap_or_default();
    let mut tell = |kind: &str, thread: u64, args: Value| {
        events.push(json!({"ph": "M", "name": kind, "pid": process, "tid": thread, "args": args}));
    };
    tell("process_name", 0, json!({"name": name}));
    tell("process_sort_index", 0, json!({"sort_index": machine}));
    for lane in Lane::ALL {
        tell("thread_name", thread(lane), json!({"name": lane.name()}));
        tell("thread_sort_index", thread(lane), json!({"sort_index": thread(lane)}));
    }
}

const fn thread(lane: Lane) -> u64 {
    lane as u64 + 1
}

fn stretches(events: &mut Vec<Value>, process: u64, segments: &[Segment]) {
    let mut now = 0u64;
    let mut before: Option<&Segment> = None;
    for (number, segment) in segments.iter().enumerate() {
        if let Some(before) = before.filter(|before| before.lane != segment.lane) {
            // An arrow is bound to the stretches that enclose its ends, so it begins within the one before.
            let id = process << 32 | number as u64;
            let leaves = now.saturating_sub(u64::from(before.instructions > 0));
            for (kind, lane, at) in [("s", before.lane, leaves), ("f", segment.lane, now)] {
                events.push(json!({
                    "ph": kind, "bp": "e", "cat": "crossing", "name": segment.reason, "id": id,
                    "pid": process, "tid": thread(lane), "ts": at,
                }));
            }
        }
        let name = if segment.function.is_empty() { &segment.reason } else { &segment.function };
        events.push(json!({
            "ph": "X", "cat": segment.lane.name(), "name": name,
            "pid": process, "tid": thread(segment.lane), "ts": now, "dur": segment.instructions,
            "args": {
                "cause": segment.reason, "detail": segment.detail, "function": segment.function,
                "address": format!("{:#x}", segment.address), "instructions": segment.instructions,
                "cr3_loads": segment.cr3_loads, "flushes": segment.flushes,
            },
        }));
        now += segment.instructions;
        before = Some(segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::samples::{many_faults, system_call};

    fn events(timelines: &[Timeline]) -> Vec<Value> {
        let file: Value = serde_json::from_str(&of(timelines).unwrap()).unwrap();
        file["traceEvents"].as_array().unwrap().clone()
    }

    #[test]
    fn each_stretch_is_an_event_behind_the_one_before() {
        let timelines = [system_call(), many_faults(2)];
        let events = events(&timelines);
        for (process, timeline) in (1..).zip(&timelines) {
            let complete: Vec<&Value> =
                events.iter().filter(|event| event["ph"] == "X" && event["pid"] == process).collect();
            assert_eq!(complete.len(), timeline.segments.len());
            let mut now = 0;
            for (event, segment) in complete.iter().zip(&timeline.segments) {
                assert_eq!(
                    (event["ts"].as_u64(), event["dur"].as_u64()),
                    (Some(now), Some(segment.instructions))
                );
                assert_eq!(event["tid"], segment.lane as u64 + 1);
                assert_eq!(event["args"]["cause"], segment.reason);
                now += segment.instructions;
            }
            assert_eq!(now, timeline.instructions());
        }
        let syscall = events.iter().find(|event| event["args"]["cause"] == "syscall").unwrap();
        assert_eq!(syscall["name"], "bounce");
        assert_eq!(syscall["args"]["detail"], "from 0x40_1000");
        assert_eq!(syscall["args"]["cr3_loads"], 2);
    }

    #[test]
    fn each_crossing_is_an_arrow_with_two_ends() {
        let events = events(&[system_call()]);
        let ends = |kind: &str| -> Vec<u64> {
            events
                .iter()
                .filter(|event| event["ph"] == kind)
                .map(|event| event["id"].as_u64().unwrap())
                .collect()
        };
        assert_eq!(ends("s").len(), 4);
        assert_eq!(ends("s"), ends("f"));
        let named = |name: &str| events.iter().filter(|event| event["name"] == name).count();
        assert_eq!((named("process_name"), named("thread_name")), (1, 3));
    }
}
