//! What a process has taken so far, as Linux counts it.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// `USER_HZ`, which is 100 wherever Linux tells programs of ticks.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of all threads, user and system.
pub(crate) fn cpu(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the gateway runs");
    // The name, in parentheses, may hold anything; utime and stime are the 14th and 15th field.
    let (_, after_name) = stat.rsplit_once(')').expect("a name in parentheses");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |field: usize| fields[field - 3].parse::<u32>().expect("a number of ticks");
    TICK * (ticks(14) + ticks(15))
}

/// CPU time of the children that have ended and were waited for.
pub(crate) fn children_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("this process runs");
    let (_, after_name) = stat.rsplit_once(')').expect("a name in parentheses");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |field: usize| fields[field - 3].parse::<u32>().expect("a number of ticks");
    TICK * (ticks(16) + ticks(17))
}

/// Memory in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    /// The most that it ever was.
    pub(crate) peak: f64,
}

pub(crate) fn memory(process: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the gateway runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of the status");
        line.trim_start_matches(':').trim_end_matches("kB").trim().parse().expect("a number of KiB")
    };
    Memory { resident: field("VmRSS"), peak: field("VmHWM") }
}

/// What was taken between two looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    cpu: Duration,
    at: std::time::Instant,
}

impl Look {
    pub(crate) fn at(process: u32) -> Self {
        Self { cpu: cpu(process), at: std::time::Instant::now() }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) cpu_s: f64,
    pub(crate) elapsed_s: f64,
}

impl Sub for Look {
    type Output = Taken;

    fn sub(self, earlier: Self) -> Taken {
        Taken { cpu_s: (self.cpu - earlier.cpu).as_secs_f64(), elapsed_s: (self.at - earlier.at).as_secs_f64() }
    }
}
