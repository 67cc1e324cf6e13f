//! The report of an error on the mutation that it ended.

/// The end of the CONTEXT's line about the mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reported {
    /// No mutation was in progress.
    Silent,
    NotSent,
    Unknown,
    Applied,
}

impl Reported {
    pub fn of(context: &str) -> Reported {
        let Some(line) = line(context) else { return Reported::Silent };
        // Behind it stands how many records were applied before.
        match line.split_once("\": ").map(|(_, known)| known.split(", after ").next().unwrap_or(known)) {
            Some(
                "the request was not sent, nothing was applied" | "the request was not sent, nothing of it was applied",
            ) => Reported::NotSent,
            Some("the request had been sent, whether it was applied is unknown") => Reported::Unknown,
            Some("it was applied") => Reported::Applied,
            _ => panic!("nothing is said of the mutation: {context}"),
        }
    }

    /// How many of `records` may have been applied.
    pub fn allows(self, applied: i64, records: i64) -> bool {
        match self {
            Reported::NotSent => applied == 0,
            Reported::Applied => applied == records,
            Reported::Unknown | Reported::Silent => applied == 0 || applied == records,
        }
    }
}

/// How many records the mutation in progress has.
pub fn records(context: &str) -> i64 {
    line(context).map_or(0, |line| number_after(line, "create of "))
}

/// How many records earlier requests of the statement have applied, if the error comes from within its trigger.
pub fn applied_before(context: &str) -> Option<i64> {
    let line = context.lines().find(|line| line.contains("INSERT on public.people"))?;
    Some(if line.contains(", after ") { number_after(line, ", after ") } else { 0 })
}

fn line(context: &str) -> Option<&str> {
    context.lines().find(|line| line.contains(" in salesforce:contact through server \""))
}

fn number_after(line: &str, words: &str) -> i64 {
    let number = line.split_once(words).and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no number after {words:?}: {line}"))
}
